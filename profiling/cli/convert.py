# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile convert`: a published table as a profile."""

import lzma
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from profiling.cli.output import as_json, clean, emit_json
from profiling.errors import ProfileError

_KINDS = ("perseus", "zeus", "mlenergy-v2", "mlenergy-v3", "splitwise", "csv")
_MAX_BYTES = 256 * 2**20


@click.command(name="convert", short_help="Make a profile of a published table.")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--from", "kind", type=click.Choice(_KINDS), required=True, help="What TABLE is.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new profile.")
@click.option(
    "--where",
    "where",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Take only rows with this value; give it several times.",
)
@click.option(
    "--map",
    "names",
    multiple=True,
    metavar="OURS=COLUMN",
    help="csv: a profile's column is this one of TABLE, COLUMN*FACTOR or FACTOR/COLUMN.",
)
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="OURS=VALUE",
    help="csv: a profile's column has this value in every row.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    help="csv: rows that differ in this column are repeats, and averaged.",
)
@click.option("--source", help="Where TABLE is from; csv needs it.")
@click.option("--gpu-name", help="The GPU, where TABLE does not name it.")
@click.option("--model", help="The model, where TABLE does not name it.")
@click.option("--date", help="When it was measured, where that is known.")
@as_json
def command(
    table: Path,
    kind: str,
    out: Path,
    where: tuple[str, ...],
    names: tuple[str, ...],
    values: tuple[str, ...],
    ignore: tuple[str, ...],
    source: str | None,
    gpu_name: str | None,
    model: str | None,
    date: str | None,
    as_json: bool,
) -> None:
    """Make a profile of TABLE, a CSV file, also packed as .xz; its provenance is "published".

    perseus, zeus, mlenergy-v2 and -v3 and splitwise are tables of these projects; csv is any
    other, with --map and --set; rows of one setting are repeats, unless a column that looks like a
    setting says otherwise. What TABLE does not say stays unknown, and is listed.
    """
    from profiling.convert import chosen, convert, missing
    from profiling.convert_plain import plain
    from profiling.convert_sources import SOURCES
    from profiling.files import write_profile
    from profiling.table import read_rows
    from profiling.whole import check_new

    check_new(out)
    if kind != "csv" and (names or values or ignore):
        raise ProfileError("--map, --set and --ignore go with --from csv only")
    needed = SOURCES[kind].columns if kind != "csv" else ()
    every = list(read_rows(_bytes(table), table, needed))
    if not every:
        raise ProfileError(f"{table}: has no rows")
    rows = chosen(every, _pairs(where, "--where"))
    if kind == "csv":
        if not source:
            raise ProfileError("--from csv needs --source: where the table is from")
        given = (_pairs(names, "--map"), _pairs(values, "--set"))
        taken = plain(*given, rows[0].cells, table=every, ignore=ignore)
    else:
        taken = SOURCES[kind]
    profile = convert(taken, rows, cites=source)
    profile = replace(
        profile,
        gpu_name=gpu_name or profile.gpu_name,
        model=model or profile.model,
        date=date or profile.date,
    )
    write_profile(out, profile)
    unknown = missing(profile)
    points = len(profile.inference) + len(profile.training)
    if as_json:
        emit_json({"out": out, "rows": len(rows), "points": points, "missing": unknown})
        return
    click.echo(f"written: {out}, {points} points of {len(rows)} rows")
    click.echo(f"source: {clean(profile.source or '')}")
    click.echo(f"not known: {', '.join(unknown)}")


def _bytes(path: Path) -> bytes:
    """The table's text, unpacked, but not without end."""
    from profiling.table import read_bytes

    data = read_bytes(path)
    if path.suffix != ".xz":
        return data
    text = b""
    try:
        while True:  # not lzma.open, which passes over what is wrong after the first of several
            unpacker = lzma.LZMADecompressor()
            text += unpacker.decompress(data, max_length=_MAX_BYTES + 1 - len(text))
            if len(text) > _MAX_BYTES:
                raise ProfileError(f"{path}: is larger than {_MAX_BYTES >> 20} MiB unpacked")
            if not unpacker.eof:
                raise ProfileError(f"{path}: is cut")
            if not (data := unpacker.unused_data.lstrip(b"\0")):  # they may stand between
                return text
    except lzma.LZMAError as error:
        raise ProfileError(f"{path}: is no .xz file, or damaged: {error}") from error


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ProfileError(f"{option} {text!r}: wanted NAME=VALUE")
        if name.strip() in found:
            raise ProfileError(f"{option} {name.strip()}: is given twice; wanted one value")
        found[name.strip()] = value.strip()
    return found
