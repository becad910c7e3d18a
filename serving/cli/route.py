# SPDX-License-Identifier: Apache-2.0
"""`sgreen route`: one front door for replicas at many sites."""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slurm_green.cli.output import emit_json
from slurm_green.cli.params import Whole, as_json
from slurm_green.errors import BadInputError

if TYPE_CHECKING:
    from serving.router.settings import Settings

_NEEDED = ("httptools", "orjson", "uvloop")


@click.command(name="route", short_help="Route requests to vLLM replicas at many sites.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="TOML: where to listen, sites, replicas, models, tenants.",
)
@click.option(
    "--workers",
    type=Whole(1, 256),
    help="Processes on the port; the file's [listen] workers otherwise.",
)
@click.option("--check", is_flag=True, help="Only read the configuration and say what it holds.")
@as_json
def command(config_file: Path, workers: int | None, check: bool, as_json: bool) -> None:
    """Answer OpenAI's requests with replicas at many sites, until SIGTERM.

    SIGHUP reads the configuration again. A stream whose replica dies goes on at another one where
    its model says `resume = true`. --json goes with --check.
    """
    from dataclasses import replace

    from serving.router.config import check_ports, load

    def read() -> "Settings":
        settings = load(config_file)
        if workers is None:
            return settings
        settings = replace(settings, listen=replace(settings.listen, workers=workers))
        check_ports(settings, str(config_file))
        return settings

    settings = read()
    if check:
        from serving.router.policies import make_policy, prefill_cost
        from serving.router.tls import tls_context

        make_policy(settings.policy)
        prefill_cost(settings.policy)
        tls_context(settings)
        log = settings.listen.access_log
        if log is not None and not log.parent.is_dir():
            raise BadInputError(f"{config_file}: [listen] access_log: {log.parent}: no directory")
        counts = {
            name: len(getattr(settings, name)) for name in ("site", "replica", "model", "tenant")
        }
        if as_json:
            emit_json({"policy": settings.policy.name, **counts})
        else:
            told = ", ".join(f"{count} [[{name}]]" for name, count in counts.items())
            click.echo(f"{config_file}: good: policy {settings.policy.name}, {told}")
        return
    if as_json:
        raise click.UsageError("--json goes with --check")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise BadInputError(
            f"sgreen route needs {', '.join(missing)}: pip install 'slurm-green[route]'"
        )
    from serving.router.workers import run
    from slurm_green.logs import set_up_logging

    set_up_logging("route")
    # It would log each look at a supply_url, every second, with a key that may be in it.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # HiGHS says things on the process's own stdout, where nothing of ours belongs from here on.
    sys.stdout.flush()
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    if not settings.tenant:
        click.echo("sgreen route: no [[tenant]]: everybody who can connect may use it", err=True)
    run(settings, read)
