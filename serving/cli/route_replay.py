# SPDX-License-Identifier: Apache-2.0
"""`sgreen route-replay`: a request trace over sites whose power varies, under several policies."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.output import check_outputs, emit_json, emit_rows
from slurm_green.cli.params import POSITIVE, Number, as_json, names_of
from slurm_green.cli.progress import progress_bar
from slurm_green.threads import one_thread
from slurm_green.words import number

if TYPE_CHECKING:
    from serving.replay.route.compare import Told

_FILE = click.Path(dir_okay=False, path_type=Path)
_DEFAULT = "per-site,power-cap,reactive,heron,prices"


@click.command(name="route-replay", short_help="Replay requests over sites with varying power.")
@click.option(
    "--sites", "sites_file", type=_FILE, required=True,
    help="TOML: [[site]] with name, gpus, rtt_ms, power_column and tp.",
)  # fmt: skip
@click.option(
    "--power", "power_file", type=_FILE, required=True,
    help="CSV: start_s and a column of watts for each site.",
)  # fmt: skip
@click.option(
    "--requests", "requests_file", type=_FILE, required=True,
    help="CSV: arrival_s,prompt_tokens,output_tokens.",
)  # fmt: skip
@click.option(
    "--profile", "profile_dir", type=click.Path(path_type=Path), required=True,
    help="Profile of the GPUs and the model: its directory.",
)  # fmt: skip
@click.option(
    "--slo-ttft-ms", type=POSITIVE, required=True,
    help="Time to the first token that a request should meet, round trip included.",
)  # fmt: skip
@click.option(
    "--slo-tpot-ms", type=POSITIVE, required=True,
    help="Mean time per further token that it should meet.",
)  # fmt: skip
@click.option(
    "--policy", default=_DEFAULT, show_default=True,
    help="Names with commas: per-site, per-site-admit, wrr-power, power-cap, greedy-latency, "
    "heron, reactive, prices, oracle.",
)  # fmt: skip
@click.option(
    "--forecast", "forecast_file", type=_FILE,
    help="CSV: issued_s,start_s, the columns of power, and their _p10; default: as it is now.",
)  # fmt: skip
@click.option(
    "--patience-s", type=POSITIVE, default=60.0, show_default=True,
    help="A client that has no first token by then has gone.",
)  # fmt: skip
@click.option(
    "--wake-s", type=Number(min=0), default=2.0, show_default=True,
    help="Until a parked replica serves; assumed.",
)  # fmt: skip
@click.option(
    "--restart-s", type=Number(min=0), default=60.0, show_default=True,
    help="Until one that had no power is parked; assumed.",
)  # fmt: skip
@click.option("--no-bound", is_flag=True, help="Leave out the bound on goodput.")
@click.option("--report", "report_file", type=_FILE, help="Write an HTML page of it, too.")
@as_json
def command(
    sites_file: Path,
    power_file: Path,
    requests_file: Path,
    profile_dir: Path,
    slo_ttft_ms: float,
    slo_tpot_ms: float,
    policy: str,
    forecast_file: Path | None,
    patience_s: float,
    wake_s: float,
    restart_s: float,
    no_bound: bool,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Say how many requests keep their SLO under each routing policy, and what becomes of the rest.

    No site draws more than it has: clocks fall, then replicas park, then requests move. Without
    --forecast policies know the past of the power, never its future. Nothing is measured here.
    """
    one_thread()
    from profiling.files import profile_files
    from serving.cli.engine import engine_of
    from serving.governor.protocol import Slo
    from serving.replay.route.bound import bound_rps
    from serving.replay.route.compare import Scene, compare
    from serving.replay.route.files import read_forecast, read_power, read_sites
    from serving.replay.route.sites import Times
    from serving.replay.route.trace import read_trace

    inputs = {
        "--sites": sites_file, "--power": power_file, "--requests": requests_file,
        "--forecast": forecast_file,
    }  # fmt: skip
    inputs |= {f"--profile {one.name}": one for one in profile_files(profile_dir)}
    check_outputs({"--report": report_file}, inputs)
    names = names_of(policy, "per-site,prices")
    sites, columns = read_sites(sites_file)
    supply = read_power(power_file, columns)
    scene = Scene(
        trace=read_trace(requests_file),
        sites=sites,
        supply=supply,
        engine=engine_of(profile_dir, sites[0].tp),
        slo=Slo(ttft_s=slo_ttft_ms / 1e3, tpot_s=slo_tpot_ms / 1e3),
        forecast=None if forecast_file is None else read_forecast(forecast_file, columns, supply),
        patience_s=patience_s,
        times=Times(wake_s=wake_s, restart_s=restart_s),
    )
    with progress_bar() as shown, _solver_quiet():
        found = compare(scene, names, shown)
    bound = None if no_bound else bound_rps(scene)
    if report_file is not None:
        from serving.cli.route_page import write_page

        write_page(report_file, scene, found, bound)
    if as_json:
        emit_json(
            {"policies": {name: _values(one) for name, one in found.items()}, "bound_rps": bound}
        )
        return
    _print(found, len(scene.trace), bound)


@contextmanager
def _solver_quiet() -> Iterator[None]:
    """HiGHS says things on the process's own stdout that tell a user nothing."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _values(told: "Told") -> dict[str, Any]:
    return {**vars(told.figures), "wall_s": told.wall_s}


def _print(found: "dict[str, Told]", requests: int, bound: float | None) -> None:
    rows = []
    for name, told in found.items():
        one = told.figures
        rows.append(
            [
                name,
                f"{one.goodput_rps:.4g}",
                number(one.attainment, ".2%"),
                number(one.e2e_p50_s, ".3g"),
                number(one.e2e_p99_s, ".3g"),
                number(one.ttft_p99_s, ".3g"),
                str(one.dropped),
                str(one.rerouted),
                f"{one.energy_j / 3.6e6:.4g}",
                f"{one.unused_wh / 1e3:.4g}",
            ]
        )
    header = [
        "POLICY", "GOOD/S", "ATTAINED", "E2E50S", "E2E99S", "TTFT99S", "DROPPED", "REROUTED",
        "KWH", "UNUSEDKWH",
    ]  # fmt: skip
    emit_rows(header, rows)
    click.echo(f"{requests} requests, simulated; times are of answered requests")
    if bound is not None:
        click.echo(f"no policy can have more than {bound:.4g} good requests a second")
