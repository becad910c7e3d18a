# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve`: vLLM replicas that run as slow as their SLO allows, here or as Slurm jobs."""

import logging
import math
import os
import secrets
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serving.replica.script import RUNTIMES
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import POSITIVE, Whole, as_json
from slurm_green.errors import BadInputError

if TYPE_CHECKING:
    from serving.replica.local import Local

_PATH = click.Path(path_type=Path)


@click.command(name="serve", short_help="Serve a model with vLLM, its clocks by its SLO.")
@click.argument("model")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- VLLM OPTIONS]")
@click.option(
    "--slo-ttft-ms",
    type=POSITIVE,
    required=True,
    help="Time to the first token that every request should meet.",
)
@click.option(
    "--slo-tpot-ms",
    type=POSITIVE,
    required=True,
    help="Mean time per further token that it should meet.",
)
@click.option(
    "--profile",
    type=_PATH,
    help="Profile of this GPU and model, its directory or a shipped name; without one clocks "
    "stay at their maximum.",
)
@click.option("--replicas", type=Whole(min=1), default=1, show_default=True, help="vLLM servers.")
@click.option("--site", default="local", show_default=True, help="The site's name for routers.")
@click.option(
    "--local",
    is_flag=True,
    help="On this machine, in the foreground [default: where there is no sbatch, and in a job].",
)
@click.option("--policy", help="As in serve-replay [default: governor].")
@click.option(
    "--objective",
    help="What to do with slack: performance-constrained (the default), carbon-constrained or ppc.",
)
@click.option(
    "--carbon-budget-g-per-hour",
    type=POSITIVE,
    help="Of each replica; with carbon-constrained.",
)
@click.option("--prices", type=_PATH, help="A plan's price file (sgreen plan --prices-out).")
@click.option("--ceiling", type=_PATH, help="File with the site's ceiling for each replica.")
@click.option(
    "--clocks",
    type=click.Choice(["auto", "noded", "nvml", "none"]),
    help="Who sets them [default: auto].",
)
@click.option(
    "--gpus", default="", help="GPUs to share out, as 0,1 [default: what Slurm gave, else all]."
)
@click.option("--host", help="Address to serve at [default: 127.0.0.1; in a job the node's name].")
@click.option(
    "--registrations", type=_PATH, help="Directory that routers read [default: STATE/replicas]."
)
@click.option(
    "--state",
    type=_PATH,
    help="Logs, scripts, what governors learned [default: the user's state directory].",
)
@click.option("--vllm", default="vllm serve", show_default=True, help="The server's command.")
@click.option("--container", help="Image to run the server in.")
@click.option(
    "--container-runtime",
    type=click.Choice(RUNTIMES),
    default="apptainer",
    show_default=True,
    help="What runs it.",
)
@click.option("--bind", multiple=True, help="Path that the container sees too; may be repeated.")
@click.option("--minutes", type=Whole(min=1), help="Time limit of each job [default: the site's].")
@click.option("--sbatch", "sbatch_options", multiple=True, help="Option for sbatch; repeatable.")
@click.option(
    "--drain-s",
    type=POSITIVE,
    default=120.0,
    show_default=True,
    help="Most that requests in flight are waited for.",
)
@click.option(
    "--start-s",
    type=POSITIVE,
    default=1800.0,
    show_default=True,
    help="Most that a server may take until it is warm.",
)
@click.option(
    "--lead-s",
    type=POSITIVE,
    default=1800.0,
    show_default=True,
    help="How long before its time limit a job asks for its replacement.",
)
@click.option("--replace-with", type=_PATH, hidden=True, help="The batch script of this replica.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the jobs to be ready.")
@click.option("--dry-run", is_flag=True, help="Print commands and batch script, and do nothing.")
@as_json
def command(model: str, options: tuple[str, ...], **given: Any) -> None:
    """Start vLLM replicas, register them for routers, keep them up, drain them at the end.

    What follows -- is passed on to vLLM. Each replica has a free port and a key of its own, both in
    its registration. As Slurm jobs (one a replica) it returns when all are ready; on this machine
    it stays, and SIGTERM drains: first routers are told, then requests in flight end, then vLLM.

    To end a job well: scancel --signal=TERM --batch JOB.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from serving.cli.serve_ask import local_of
    from serving.replica.registered import state_dir

    in_job = "SLURM_JOB_ID" in os.environ
    state = given["state"] or state_dir()
    registrations = given["registrations"] or state / "replicas"
    if not given["dry_run"]:
        _make("--state", state / "logs", 0o777)
        _make("--registrations", registrations, 0o700)
    if given["local"] or in_job or shutil.which("sbatch") is None:
        _run(local_of(model, options, given, state, registrations), given)
    else:
        _submit(model, options, given, state, registrations)


def _make(option: str, directory: Path, mode: int) -> None:
    try:
        directory.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(
            f"{option}: {directory} cannot be made: {error.strerror}; give a directory of yours"
        ) from error


def _run(local: "Local", given: dict[str, Any]) -> None:
    from serving.replica.command import Place, engine_argv
    from serving.replica.local import run_local

    if given["dry_run"]:
        place = Place(host=local.host, port=0, metrics_port=0, key="")
        argv = engine_argv(local.ask, place)
        if given["as_json"]:
            emit_json({"replicas": local.replicas, "command": argv, "script": None})
            return
        click.echo(f"{local.replicas} x {shlex.join(argv)}")
        return
    status = run_local(local)
    if given["as_json"]:
        emit_json({"replicas": local.replicas, "status": status})
    if status:
        click.get_current_context().exit(status)


def _submit(
    model: str, options: tuple[str, ...], given: dict[str, Any], state: Path, registrations: Path
) -> None:
    """One job for each replica."""
    from serving.cli.serve_ask import again, asked, profile_missing
    from serving.replica.command import gpus_per_replica
    from serving.replica.registered import job_stem
    from serving.replica.script import sbatch_script
    from serving.replica.submit import submit, wait_ready

    _, settings, _ = asked(model, options, given, state)  # what is wrong is told here, not in a job
    if why := profile_missing(settings):
        click.echo(f"sgreen: {why}", err=True)
    # Slurm's signal must come before the limit, and its lead be what the job reckons with.
    given["lead_s"] = min(given["lead_s"], 30.0 * (given["minutes"] or math.inf))
    named = f"{given['site']}-{Path(model).name}"
    name = "".join(one if one.isalnum() else "-" for one in named)
    script = (state / "scripts" / f"{name}-{secrets.token_hex(3)}.sh").absolute()
    logs = (state / "logs").absolute()
    if "\\" in str(logs):
        # sbatch takes nothing for a pattern then, not %j either.
        raise BadInputError(
            f"--state: {logs.parent}: sbatch cannot name logs by their job where a directory has "
            "a backslash; give one without"
        )
    text = sbatch_script(
        again(model, options, given, state, registrations, script),
        gpus=gpus_per_replica(options),
        lead_s=given["lead_s"],
        log=f"{str(logs).replace('%', '%%')}/{job_stem('%j', script)}.log",
        options=given["sbatch_options"],
        minutes=given["minutes"],
    )
    if given["dry_run"]:
        if given["as_json"]:
            emit_json({"replicas": given["replicas"], "command": None, "script": text})
        else:
            click.echo(text, nl=False)
        return
    jobs = submit(script, text, given["replicas"])
    shown = ", ".join(map(str, jobs))
    click.echo(f"submitted {shown}; registrations in {registrations}", err=True)
    if not given["no_wait"]:
        wait_ready(
            jobs,
            lambda job: registrations / f"{job_stem(job, script)}-0.json",
            lambda job: logs / f"{job_stem(job, script)}.log",
            lambda words: click.echo(words, err=True),
        )
    if given["as_json"]:
        emit_json({"jobs": jobs, "registrations": registrations, "ready": not given["no_wait"]})
    elif not given["no_wait"]:
        click.echo(f"ready: {shown}. To end one well: scancel --signal=TERM --batch JOB")
