# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve-replay`: a request trace through vLLM replicas under several clock policies."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slurm_green.cli.output import check_outputs, emit_json, emit_rows
from slurm_green.cli.params import POSITIVE, Whole, as_json, names_of
from slurm_green.cli.progress import progress_bar
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread
from slurm_green.words import number

if TYPE_CHECKING:
    from serving.governor.ceiling import Ceiling
    from serving.governor.engine import EngineModel
    from serving.replay.compare import Result

_FILE = click.Path(dir_okay=False, path_type=Path)
_DEFAULT = "max,two-level,feedback,governor"
_OBJECTIVES = ("performance-constrained", "carbon-constrained", "ppc")
_KEYS = (
    "energy_j", "j_per_token", "ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms",
    "attainment", "clock_changes", "carbon_g", "performance", "ppc", "refused", "evictions",
    "wall_s",
)  # fmt: skip


@click.command(name="serve-replay", short_help="Replay requests under several clock policies.")
@click.option(
    "--requests",
    "requests_file",
    type=_FILE,
    required=True,
    help="CSV: arrival_s,prompt_tokens,output_tokens.",
)
@click.option(
    "--profile",
    "profile_dir",
    type=click.Path(path_type=Path),
    required=True,
    help="Profile of the GPU and the model: its directory.",
)
@click.option("--replicas", type=Whole(min=1), default=1, show_default=True, help="vLLM replicas.")
@click.option(
    "--tp",
    type=Whole(min=1),
    default=1,
    show_default=True,
    help="GPUs of a replica; the profile must have it.",
)
@click.option(
    "--slo-ttft-ms",
    type=POSITIVE,
    required=True,
    help="Time to the first token that a request should meet.",
)
@click.option(
    "--slo-tpot-ms",
    type=POSITIVE,
    required=True,
    help="Mean time per further token that it should meet.",
)
@click.option(
    "--policy",
    default=_DEFAULT,
    show_default=True,
    help="Names with commas: max, min, static:MHZ, two-level, feedback, bandit, projection, "
    "governor, governor:in-order, governor:clocks, oracle.",
)
@click.option(
    "--signal",
    type=_FILE,
    help="CSV: start_s,carbon_g_per_kwh, for carbon_g; its clock is that of the requests.",
)
@click.option(
    "--objective",
    type=click.Choice(_OBJECTIVES),
    default=_OBJECTIVES[0],
    show_default=True,
    help="What governor does with the time that the SLOs leave.",
)
@click.option(
    "--carbon-budget-g",
    type=POSITIVE,
    help="Grams for the whole trace, all replicas; with carbon-constrained.",
)
@click.option(
    "--ceiling-mhz",
    type=POSITIVE,
    help="No policy runs above this clock; no less than the profile's lowest.",
)
@click.option(
    "--ceiling-w",
    type=POSITIVE,
    help="No policy runs at a clock at which a replica may draw more.",
)
@click.option("--report", "report_file", type=_FILE, help="Write an HTML page of it, too.")
@as_json
def command(
    requests_file: Path,
    profile_dir: Path,
    replicas: int,
    tp: int,
    slo_ttft_ms: float,
    slo_tpot_ms: float,
    policy: str,
    signal: Path | None,
    objective: str,
    carbon_budget_g: float | None,
    ceiling_mhz: float | None,
    ceiling_w: float | None,
    report_file: Path | None,
    as_json: bool,
) -> None:
    """Say what each clock policy costs in energy, and which share of requests keeps its SLOs.

    Continuous batching with chunked prefill and a KV cache as vLLM has them; times and power by
    the profile, clock switches included. Energy counts idle time. Nothing is measured here.
    """
    one_thread()
    from profiling.files import profile_files
    from serving.cli.engine import engine_of
    from serving.governor.ceiling import Ceiling
    from serving.governor.protocol import Slo
    from serving.replay.compare import Aim, compare
    from serving.replay.requests import read_requests
    from slurm_green.plan.files import read_site
    from slurm_green.plan.outcome import Objective

    inputs = {"--requests": requests_file, "--signal": signal}
    inputs |= {f"--profile {one.name}": one for one in profile_files(profile_dir)}
    check_outputs({"--report": report_file}, inputs)
    names = names_of(policy, "max,governor")
    if objective != _OBJECTIVES[0] and signal is None:
        raise BadInputError(f"--objective {objective}: needs carbon; give --signal S.csv")
    if (carbon_budget_g is None) == (objective == "carbon-constrained"):
        raise BadInputError(
            "--carbon-budget-g and --objective carbon-constrained go together: give both or neither"
        )
    aim = Aim(
        objective=Objective(objective),
        budget_g=carbon_budget_g,
        ceiling=Ceiling(clock_mhz=ceiling_mhz, power_w=ceiling_w),
    )
    requests = read_requests(requests_file)
    engine = engine_of(profile_dir, tp)
    _check_ceiling(engine, aim.ceiling)
    site = None if signal is None else read_site(signal)
    slo = Slo(ttft_s=slo_ttft_ms / 1e3, tpot_s=slo_tpot_ms / 1e3)
    with progress_bar() as shown:
        results = compare(
            requests, engine, slo, names, replicas=replicas, site=site, aim=aim, progress=shown
        )
    if report_file is not None:
        from serving.cli.serve_page import write_page

        write_page(report_file, results, slo, len(requests))
    if as_json:
        emit_json({"policies": {name: _values(one) for name, one in results.items()}})
        return
    _print(results, len(requests), engine.kv_tokens)


def _check_ceiling(engine: "EngineModel", ceiling: "Ceiling") -> None:
    """Refuse a ceiling below the lowest clock: what ran then would run above it."""
    from serving.governor.ceiling import worst_power_w

    lowest_mhz = engine.clocks_mhz[0]
    if ceiling.clock_mhz is not None and ceiling.clock_mhz < lowest_mhz:
        raise BadInputError(
            f"--ceiling-mhz {ceiling.clock_mhz:g}: the profile's lowest clock is {lowest_mhz:g} "
            "MHz; wanted no less"
        )
    power_w = worst_power_w(engine, 0)
    if ceiling.power_w is not None and ceiling.power_w < power_w:
        raise BadInputError(
            f"--ceiling-w {ceiling.power_w:g}: at the lowest clock, {lowest_mhz:g} MHz, a replica "
            f"may draw {math.ceil(power_w)} W; wanted no less"
        )


def _values(result: "Result") -> dict[str, Any]:
    return {key: getattr(result, key) for key in _KEYS}


def _print(results: "dict[str, Result]", requests: int, kv_tokens: int) -> None:
    base = results.get("max")
    rows = []
    for name, one in results.items():
        saved = None if base is None or not base.energy_j else 1 - one.energy_j / base.energy_j
        rows.append(
            [
                name,
                f"{one.energy_j / 3.6e6:.4g}",
                number(saved, ".1%"),
                number(one.attainment, ".2%"),
                number(one.ttft_p50_ms, ".0f"),
                number(one.ttft_p99_ms, ".0f"),
                number(one.tpot_p50_ms, ".1f"),
                number(one.tpot_p99_ms, ".1f"),
                str(one.clock_changes),
                number(one.carbon_g, ".4g"),
                number(one.performance, ".3f"),
                number(one.ppc, ".4g"),
            ]
        )
    header = [
        "POLICY", "KWH", "SAVED", "ATTAINED", "TTFT50MS", "TTFT99MS", "TPOT50MS", "TPOT99MS",
        "CLOCKS", "CARBON_G", "SPEED", "PPC",
    ]  # fmt: skip
    emit_rows(header, rows)
    click.echo(f"{requests} requests, simulated; SAVED is energy against max, SPEED against alone")
    refused = max(one.refused for one in results.values())
    if refused:
        click.echo(f"{refused} refused: longer than the KV cache of {kv_tokens} tokens")
