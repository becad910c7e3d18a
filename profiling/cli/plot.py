# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile plot`: power, time, energy and the Pareto front, as a picture or a page."""

from pathlib import Path

import click

from profiling.cli.output import as_json, emit_json, named, profile_argument
from profiling.errors import ProfileError

_KINDS = (".png", ".html")


@click.command(name="plot", short_help="Draw power, time and energy against the clock.")
@profile_argument("profile")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="A .png (needs the extra slurm-green[plot]), or an .html page that needs no network.",
)
@as_json
def command(profile: Path, out: Path, as_json: bool) -> None:
    """Draw power, time and energy per token or work unit against the clock, and a Pareto front.

    Of many loads, eight spread over their range are shown.
    """
    from profiling.files import read_profile
    from profiling.plot_data import charts
    from profiling.whole import write_file

    kind = out.suffix.lower()
    if kind not in _KINDS:
        raise ProfileError(f"--out {out}: wanted a name that ends in {' or '.join(_KINDS)}")
    found = read_profile(profile)
    with named(profile):
        drawn = charts(found)
    origin = f"{found.provenance}, filled by a fit" if found.fitted else str(found.provenance)
    title = f"{found.gpu_name or 'GPU not known'}, {found.model or 'model not known'} ({origin})"
    if kind == ".png":
        from profiling.plot_png import png

        data = png(drawn, title)
    else:
        from profiling.plot_page import page

        engine = " ".join(filter(None, (found.engine_name, found.engine_version)))
        rows = {
            "provenance": origin,
            "source": found.source,
            "driver": found.driver,
            "engine": engine,
            "date": found.date,
        }
        facts = [(name, text or "not known") for name, text in rows.items()]
        data = page(drawn, title, facts).encode()
    write_file(out, data)
    if as_json:
        emit_json({"out": out, "charts": [f"{one.phase}: {one.title}" for one in drawn]})
    else:
        click.echo(f"written: {out}")
