# SPDX-License-Identifier: Apache-2.0
"""`sgreen site`: what a site with varying power should look like."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import click

from profiling.number import number_of
from slurm_green.cli.output import check_outputs, emit_json, emit_rows
from slurm_green.cli.params import POSITIVE, Number, Whole, as_json
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread
from slurm_green.words import number

if TYPE_CHECKING:
    from serving.replay.route.sizing import Size

_FILE = click.Path(dir_okay=False, path_type=Path)
_DEFAULT = "5,10,20,30,50,70,90"


@click.group(name="site", short_help="Size sites whose power varies.")
def command() -> None:
    """Size sites whose power varies."""


@command.command(name="size", short_help="GPUs against a percentile of the power.")
@click.option(
    "--power", "power_file", type=_FILE, required=True,
    help="CSV: start_s and a column of watts for each site.",
)  # fmt: skip
@click.option(
    "--profile", "profile_dir", type=click.Path(path_type=Path), required=True,
    help="Profile of the GPUs and the model: its directory.",
)  # fmt: skip
@click.option(
    "--percentiles", default=_DEFAULT, show_default=True, help="Of the power, with commas."
)
@click.option("--tp", type=Whole(min=1), default=1, show_default=True, help="GPUs of a replica.")
@click.option(
    "--load", type=Number(min=0, min_open=True, max=1), default=0.8,
    show_default=True, help="Demand, as a share of what all GPUs serve at full power.",
)  # fmt: skip
@click.option(
    "--prompt-tokens", type=POSITIVE, default=1024.0, show_default=True,
    help="Of a mean request.",
)  # fmt: skip
@click.option(
    "--output-tokens", type=POSITIVE, default=200.0, show_default=True,
    help="Of a mean answer.",
)  # fmt: skip
@click.option(
    "--slo-ttft-ms", type=POSITIVE, default=1000.0, show_default=True,
    help="Time to the first token that a request should meet.",
)  # fmt: skip
@click.option(
    "--slo-tpot-ms", type=POSITIVE, default=60.0, show_default=True,
    help="Mean time per further token that it should meet.",
)  # fmt: skip
@click.option(
    "--price", type=Number(min=0), default=0.03, show_default=True,
    help="Of a kWh at the sites, in any currency.",
)  # fmt: skip
@click.option(
    "--grid-price", type=Number(min=0), default=0.08, show_default=True,
    help="Of a kWh where there is always power.",
)  # fmt: skip
@click.option(
    "--gpu-price", type=POSITIVE, default=30_000.0, show_default=True,
    help="Of a GPU with its share of everything around it.",
)  # fmt: skip
@click.option(
    "--life-years", type=POSITIVE, default=5.0, show_default=True,
    help="Over which it is paid for.",
)  # fmt: skip
@click.option("--plot", "plot_file", type=_FILE, help="Write a picture of it, too.")
@as_json
def size(
    power_file: Path,
    profile_dir: Path,
    percentiles: str,
    tp: int,
    load: float,
    prompt_tokens: float,
    output_tokens: float,
    slo_ttft_ms: float,
    slo_tpot_ms: float,
    price: float,
    grid_price: float,
    gpu_price: float,
    life_years: float,
    plot_file: Path | None,
    as_json: bool,
) -> None:
    """Say how many GPUs sites should have, by the percentile of their power that feeds them all.

    More GPUs stand still more often; fewer leave power unused. A fluid model: no single requests.
    Prices are assumed until you give yours.
    """
    one_thread()
    from profiling.files import profile_files
    from serving.cli.engine import engine_of
    from serving.governor.engine import Batch
    from serving.governor.protocol import Slo
    from serving.replay.route.files import read_power
    from serving.replay.route.sizing import Costs, sizes
    from serving.router.policy.capacity import Capacity

    inputs = {f"--profile {one.name}": one for one in profile_files(profile_dir)}
    check_outputs({"--plot": plot_file}, {"--power": power_file, **inputs})
    wanted = _percentiles(percentiles)
    columns = _columns(power_file)
    engine = engine_of(profile_dir, tp)
    high = len(engine.clocks_mhz) - 1
    for option, slo_ms, least_s in (
        ("--slo-ttft-ms", slo_ttft_ms, engine.prompt_s(round(prompt_tokens), high)),
        ("--slo-tpot-ms", slo_tpot_ms, engine.time_s(Batch(1, 0.0), high)),
    ):
        if slo_ms < 1e3 * least_s:
            raise BadInputError(
                f"{option} {slo_ms:g}: at its highest clock an idle GPU takes {1e3 * least_s:.3g}"
                " ms; wanted no less"
            )
    capacity = Capacity(engine, Slo(ttft_s=slo_ttft_ms / 1e3, tpot_s=slo_tpot_ms / 1e3))
    capacity.learn(prompt_tokens, output_tokens)
    found = sizes(
        read_power(power_file, columns), capacity, wanted, tp=tp, load=load, tokens=output_tokens,
        costs=Costs(
            per_kwh=price, grid_per_kwh=grid_price, per_gpu=gpu_price, life_years=life_years
        ),
    )  # fmt: skip
    if plot_file is not None:
        _plot(plot_file, found)
    if as_json:
        emit_json({"sites": columns, "sizes": [vars(one) for one in found]})
        return
    _print(found, columns)


def _percentiles(text: str) -> list[float]:
    try:
        found = [number_of(one) for one in text.split(",") if one.strip()]
    except ValueError:
        found = []
    if not found or not all(0 <= one <= 100 for one in found):
        raise BadInputError(f"--percentiles {text}: wanted numbers from 0 to 100 with commas")
    return found


def _columns(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8"
        raise BadInputError(f"{path}: cannot be read: {why}") from None
    found = [one.strip() for one in header if one.strip() and one.strip() != "start_s"]
    if not found:
        raise BadInputError(f"{path}: line 1: no column of watts beside start_s")
    return found


def _print(found: "list[Size]", columns: list[str]) -> None:
    header = [
        "PERCENTILE", "GPUS", "UTILISATION", "WORST1%", "GOOD/S", "ALONE/S", "ROUTER", "POWERUSED",
        "COST/MTOKEN", "PAYBACKYEARS",
    ]  # fmt: skip
    rows = []
    for one in found:
        gain = one.goodput_rps / one.goodput_alone_rps - 1 if one.goodput_alone_rps else None
        rows.append(
            [
                f"p{one.percentile:g}",
                str(sum(one.gpus)),
                number(one.utilisation, ".1%"),
                number(one.worst_hours, ".1%"),
                f"{one.goodput_rps:.4g}",
                f"{one.goodput_alone_rps:.4g}",
                number(gain, "+.1%"),
                f"{one.used_share:.1%}",
                number(one.cost_per_mtoken, ".4g"),
                number(one.payback_years, ".3g"),
            ]
        )
    emit_rows(header, rows)
    click.echo(f"{len(columns)} sites, modelled; ROUTER is what it adds to the sites alone")
    click.echo("COST counts GPUs over their life and energy; PAYBACK is against a grid price")


def _plot(path: Path, found: "list[Size]") -> None:
    try:
        import matplotlib
    except ImportError:
        raise BadInputError("--plot: needs matplotlib; pip install 'slurm-green[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    from profiling.whole import whole_file

    at = [one.percentile for one in found]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    left.plot(at, [one.goodput_rps for one in found], label="with the router")
    left.plot(at, [one.goodput_alone_rps for one in found], label="each site alone")
    left.set(xlabel="percentile of power", ylabel="requests a second", ylim=(0, None))
    left.legend()
    right.plot(at, [100 * (one.utilisation or 0.0) for one in found], label="utilisation")
    right.plot(at, [100 * one.used_share for one in found], label="power used")
    right.set(xlabel="percentile of power", ylabel="%", ylim=(0, 100))
    right.legend()
    figure.tight_layout()
    try:
        with whole_file(path, binary=True) as out:
            figure.savefig(out, format=path.suffix.lstrip(".").lower() or "png")
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: cannot be written: {error}") from error
    finally:
        pyplot.close(figure)
