# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile run`: measures a profile on a GPU."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from profiling.cli.output import Number, Whole, as_json, clean, emit_json
from profiling.cli.show import command as show
from profiling.errors import ProfileError
from profiling.number import is_plain

_KINDS = ("inference", "training", "simulated-inference", "simulated-training")


class _Counts(click.ParamType):  # type: ignore[type-arg]
    """Whole numbers from 1, with commas between."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(
                sorted({int(one) if is_plain(one) else 0 for one in str(value).split(",")})
            )
        except ValueError:
            found = (0,)
        if found[0] < 1:
            self.fail(f"{value!r}: wanted whole numbers from 1, such as 1,8,32", param, ctx)
        return found


_COUNTS = _Counts()


@click.command(name="run", short_help="Measure a profile on a GPU.")
@click.option(
    "--gpu",
    "which",
    default="0",
    show_default=True,
    metavar="NUMBERS",
    help="The GPU, or for tensor and data parallel loads several: 0,1; amd:0 is an AMD one.",
)
@click.option("--workload", type=click.Choice(_KINDS), required=True, help="What runs on it.")
@click.option(
    "--model",
    help="inference: directory of a model. Else the name of one; each workload has its own.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new profile.")
@click.option(
    "--batches", type=_COUNTS, default="1,8,32,128", show_default=True, help="inference: batches."
)
@click.option(
    "--contexts",
    type=_COUNTS,
    default="512,2048,8192",
    show_default=True,
    help="inference: tokens that a sequence holds.",
)
@click.option(
    "--tp",
    type=Whole(min=1),
    default=1,
    show_default=True,
    help="inference: GPUs that share the model, by tensor parallelism.",
)
@click.option(
    "--workers", type=_COUNTS, default="1,2,4", show_default=True, help="training: workers."
)
@click.option(
    "--window-s",
    type=Number(min=0.2, max=600),
    default=5.0,
    show_default=True,
    help="Least length of a window. The energy counter errs by 1 % over 5 s.",
)
@click.option(
    "--repeats",
    type=Whole(min=1, max=100),
    default=3,
    show_default=True,
    help="Windows of each setting; their spread is the 95 % interval.",
)
@click.option("--full-grid", is_flag=True, help="Measure every clock from 36 % of the highest one.")
@click.option("--clocks", type=_COUNTS, help="Measure these clocks, MHz, and choose none.")
@click.option("--read-only", is_flag=True, help="Set no clock: batches and contexts only.")
@click.option("--resume", is_flag=True, help="Go on with a sweep that was cut off.")
@click.option(
    "--seed", type=Whole(min=0), default=0, show_default=True, help="Of the random order."
)
@click.option("--emulate", metavar="MODEL", help="On emulated GPUs of this model, in virtual time.")
@click.option(
    "--nvml",
    type=click.Path(path_type=Path),
    help="NVML library. Else the NVIDIA driver's, libnvidia-ml.so.1.",
)
@click.option(
    "--owed",
    type=click.Path(path_type=Path),
    help="Where it is written which GPUs must be put back. Else as sgreen-noded's.",
)
@click.option(
    "--default-clock",
    type=Whole(min=1),
    help="The clock to put back, MHz, as the site has it. Else the driver's own choice.",
)
@as_json
def command(
    which: str,
    workload: str,
    model: str | None,
    out: Path,
    batches: tuple[int, ...],
    contexts: tuple[int, ...],
    tp: int,
    workers: tuple[int, ...],
    emulate: str | None,
    nvml: Path | None,
    owed: Path | None,
    default_clock: int | None,
    resume: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure time and power of a workload at several clocks, and write a profile.

    Clocks are put back whatever ends the sweep; after a kill the next sweep or sgreen-noded does
    so. What was measured stands in OUT.sweep.jsonl until the profile is written, and --resume
    goes on with it. Where clocks may not be set, batches and contexts are swept at the one that
    runs. Emulated GPUs give profiles that are "simulated".
    """
    from profiling.device.apply import Setting
    from profiling.sweep.run import Options
    from profiling.sweep.session import Session
    from profiling.sweep.signals import Stopped
    from profiling.sweep.workloads import Chosen

    clocks = asked.pop("clocks")
    if clocks and asked["full_grid"]:
        raise ProfileError("--clocks and --full-grid are two ways to choose clocks; give one")
    session = Session(
        out=out,
        which=which,
        library=nvml,
        emulate=emulate,
        owed=owed,
        default=Setting(clock_mhz=default_clock, floor_mhz=None if default_clock is None else 0),
        chosen=Chosen(
            workload=workload,
            model=model,
            batches=batches,
            contexts=contexts,
            workers=workers,
            tp=tp,
        ),
        options=Options(clocks_mhz=clocks or (), **asked),
        date=datetime.now(UTC).date().isoformat(),
        warn=lambda text: click.echo(f"sgreen: {clean(text)}", err=True),
    )
    try:
        with _progress() as shown:
            said = session.run(resume=resume, shown=shown)
    except Stopped as stopped:
        click.echo(
            f"sgreen: stopped by {stopped}; clocks are put back, and --resume goes on", err=True
        )
        sys.exit(stopped.status)
    if as_json:
        emit_json({"out": out, **said})
        return
    _print(out, said)
    click.echo()
    click.get_current_context().invoke(show, profile=out, as_json=False)


def _print(out: Path, said: dict[str, Any]) -> None:
    click.echo(
        f"written: {out}, {said['points']} points of {said['windows']} windows, "
        f"{said['rejected']} of them rejected"
    )
    if said["preflight_observes"]:
        click.echo(f"clocks were not set ({clean(said['preflight_observes'])}): one clock only")
    for one in said["left_out"]:
        clock = "" if one["clock_mhz"] is None else f" at {one['clock_mhz']} MHz"
        click.echo(f"left out: {clean(one['load'])}{clock}: {clean(one['why'])}")
    for one in said["failed"]:
        click.echo(f"left out: {clean(one['load'])}: {clean(one['why'])}")


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """A bar with the time left of what is known to come; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total, text: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=None)

        def shown(done: int, total: int, text: str) -> None:
            bar.update(task, description=clean(text), completed=done, total=total or None)

        yield shown
