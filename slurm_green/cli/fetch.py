# SPDX-License-Identifier: Apache-2.0
"""`sgreen fetch`: the one verb that meets the internet; run by a timer or as a service."""

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import Number, as_json
from slurm_green.errors import BadInputError
from slurm_green.threads import one_thread
from slurm_green.words import clean


@click.command(name="fetch", short_help="Fetch signals, make forecasts, write the signal files.")
@click.option(
    "--every",
    "every_s",
    type=Number(min=60),
    help="Repeat, in seconds.",
)
@as_json
@click.pass_context
@pass_app
def command(app: App, ctx: click.Context, every_s: float | None, as_json: bool) -> None:
    """Ask the providers that [signal] names, and write the files that sgreend reads.

    Where a provider fails, the next one, its last good forecast, the built-in forecast and what
    is usual take its place, and the file says so (`sgreen signal check`). Proxies are taken from
    the environment. Exit status 1 when there is no signal at all of one of the quantities.
    """
    one_thread()
    from slurm_green.config.chains import signal_path
    from slurm_green.fetch.run import Fetch, new_client
    from slurm_green.signals.forecast import forecast

    if every_s is not None and as_json:
        raise BadInputError("--every does not end, so it prints no --json")
    config = app.config
    with new_client() as client:
        fetch = Fetch(config=config, client=client, forecaster=forecast, now=app.now)
        if every_s is not None:
            fetch.forever(every_s=every_s, sleep=app.sleep)
        found = fetch.once()
    if as_json:
        emit_json(
            {
                quantity: {
                    "file": signal_path(config, quantity),
                    "provider": bundle.series.provider if bundle.series else None,
                    "region": bundle.series.region if bundle.series else None,
                    "start_utc": bundle.series.start_utc if bundle.series else None,
                    "end_utc": bundle.series.end_utc if bundle.series else None,
                    "links": [
                        {"name": one.name, "kind": one.kind, "status": one.status, "said": one.said}
                        for one in bundle.links
                    ],
                }
                for quantity, bundle in found.items()
            }
        )
    else:
        for quantity, bundle in found.items():
            click.echo(f"{quantity}: {signal_path(config, quantity)}")
            for one in bundle.links:
                click.echo(f"  {one.status:7} {one.kind:11} {clean(one.name)}: {clean(one.said)}")
    if any(bundle.series is None for bundle in found.values()):
        ctx.exit(1)
