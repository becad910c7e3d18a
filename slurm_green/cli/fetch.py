# SPDX-License-Identifier: Apache-2.0
"""`sgreen fetch`: the one verb that meets the internet; run by a timer or as a service."""

from datetime import timedelta

import click

from slurm_green.cli.app import App, pass_app
from slurm_green.cli.output import emit_json
from slurm_green.cli.params import as_json
from slurm_green.errors import BadInputError


@click.command(name="fetch", short_help="Fetch the carbon signal into the signal file.")
@click.option("--every", "every_s", type=click.FloatRange(min=60), help="Repeat, in seconds.")
@as_json
@pass_app
def command(app: App, every_s: float | None, as_json: bool) -> None:
    """Fetch Great Britain's carbon forecast (NESO) and write the file that sgreend reads.

    Proxies are taken from the environment. A failure leaves the file as it was.
    """
    import httpx

    from slurm_green.signals.fetch import fetch_forever, fetch_to
    from slurm_green.signals.providers.neso import Neso

    if every_s is not None and as_json:
        raise BadInputError("--every does not end, so it prints no --json")
    config = app.config
    neso = config.signal.neso
    with httpx.Client(timeout=httpx.Timeout(10.0, connect=5.0)) as client:
        provider = Neso(
            client,
            region_id=neso.region,
            postcode=neso.postcode or None,
            base_url=neso.url,
        )
        if every_s is not None:
            fetch_forever(
                config.paths.signal, provider, every_s=every_s, now=app.now, sleep=app.sleep
            )
        series = fetch_to(config.paths.signal, provider, app.now())
    hours = (series.end_utc - app.now()) / timedelta(hours=1)
    if as_json:
        emit_json(
            {
                "file": config.paths.signal,
                "provider": series.provider,
                "region": series.region,
                "start_utc": series.start_utc,
                "end_utc": series.end_utc,
                "steps": len(series.values),
            }
        )
    else:
        click.echo(f"{config.paths.signal}: {series.provider}, {hours:.1f} h ahead")
