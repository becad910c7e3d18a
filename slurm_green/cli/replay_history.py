# SPDX-License-Identifier: Apache-2.0
"""The options of `sgreen replay` that bring their own jobs: --example and --from-sacct."""

import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from slurm_green.cli.app import App
from slurm_green.errors import BadInputError

if TYPE_CHECKING:
    from slurm_green.config.settings import Config
    from slurm_green.replay.classes import Speed
    from slurm_green.replay.sacct import SacctTrace

__all__ = ["History", "Source", "history_options", "source_of"]

_DURATION = "DURATION"
_OPTIONS = (
    click.option(
        "--example",
        is_flag=True,
        help="Replay a small example that slurm-green generates; needs no file and no other"
        " option.",
    ),
    click.option(
        "--from-sacct",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Replay the jobs of this sacct export (-P or --json) under --signal, which may have"
        " start_utc here; without --signal under what the ledger knows of that time.",
    ),
    click.option(
        "--default-slack",
        metavar=_DURATION,
        default="24h",
        show_default=True,
        help="From sacct: how much longer than its limit a job may take, from its earliest start.",
    ),
    click.option(
        "--slack",
        multiple=True,
        metavar=f"PARTITION={_DURATION}",
        help="From sacct: the slack of one partition's jobs; may be given again.",
    ),
    click.option(
        "--gpu-w",
        multiple=True,
        metavar="[TYPE=]WATTS",
        help="From sacct: watts of a busy GPU with its share of the node, for all types or one;"
        " else the configuration's.",
    ),
    click.option(
        "--profile",
        type=click.Path(file_okay=False, path_type=Path),
        help="From sacct: jobs on GPUs may run at this profile's clocks, with its power and speed.",
    ),
    click.option(
        "--since", metavar="TIME", help="From sacct: only jobs eligible from then on, ISO 8601."
    ),
    click.option("--until", metavar="TIME", help="From sacct: only jobs eligible before then."),
    click.option(
        "--timezone",
        metavar="ZONE",
        help="From sacct: zone of the export's times, such as Europe/Berlin; else the"
        " configuration's. Not needed with SLURM_TIME_FORMAT=%s or --json.",
    ),
    click.option(
        "--keep",
        type=click.Path(file_okay=False, path_type=Path),
        help="Write the input files of --example or --from-sacct into this directory, where none of"
        " them may be yet.",
    ),
)
_NAMES = (
    "example", "from_sacct", "default_slack", "slack", "gpu_w", "profile", "since", "until",
    "timezone", "keep",
)  # fmt: skip
_FILES = ("jobs.csv", "classes.csv", "signal.csv", "forecast.csv")  # that a replay reads
_ONLY_SACCT = ("slack", "gpu_w", "profile", "since", "until", "timezone")


@dataclass(frozen=True, kw_only=True)
class History:
    """These options as they were given."""

    example: bool
    from_sacct: Path | None
    default_slack: str
    slack: tuple[str, ...]
    gpu_w: tuple[str, ...]
    profile: Path | None
    since: str | None
    until: str | None
    timezone: str | None
    keep: Path | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files to replay, the site they are of, and what to tell about them."""

    jobs: Path
    classes: Path
    signal: Path
    forecast: Path | None
    gpus: int
    idle_w_per_gpu: float
    notes: tuple[str, ...]
    sacct: "SacctTrace | None" = None

    def json(self) -> dict[str, Any]:
        """What goes beside the results."""
        if self.sacct is None:
            return {"example": True}
        found = self.sacct
        return {
            "sacct": {
                "rows": found.rows,
                "jobs": len(found.trace.jobs),
                "counted": found.counted,
                "left_out": [asdict(one) for one in found.left_out],
            }
        }


def history_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options, handed on together as `history`."""

    @wraps(function)
    def together(*positional: Any, **given: Any) -> Any:
        history = History(**{name: given.pop(name) for name in _NAMES})
        return function(*positional, history=history, **given)

    for option in reversed(_OPTIONS):
        together = option(together)
    return together


@contextmanager
def source_of(
    app: App,
    history: History,
    *,
    signal: Path | None,
    forecast: Path | None,
    gpus: int | None,
    issue_every_s: float,
) -> Iterator[Source | None]:
    """The files of --example or --from-sacct while they are needed; None where neither is asked."""
    stray = [f"--{name.replace('_', '-')}" for name in _ONLY_SACCT if getattr(history, name)]
    if stray and history.from_sacct is None:
        raise BadInputError(f"{', '.join(stray)}: only with --from-sacct")
    if not history.example and history.from_sacct is None:
        if history.keep is not None:
            raise BadInputError("--keep goes with --example or --from-sacct")
        yield None
        return
    if history.example and history.from_sacct is not None:
        raise BadInputError("--example and --from-sacct both bring the jobs: give one of them")
    _refuse_to_overwrite(history.keep)
    with tempfile.TemporaryDirectory(prefix="sgreen-replay-") as scratch:
        directory = Path(scratch) / "files"
        directory.mkdir()
        if history.example:
            source = _example(directory, signal, forecast)
        else:
            given = (signal, forecast, gpus, issue_every_s)
            source = _from_sacct(app, history, directory, Path(scratch), *given)
        if history.keep is not None:
            _copy(directory, history.keep)
        yield source


def _refuse_to_overwrite(keep: Path | None) -> None:
    if keep is None:
        return
    try:
        there = [name for name in _FILES if (keep / name).exists()]
    except OSError as error:
        raise BadInputError(f"--keep {keep}: {error.strerror or error}") from error
    if there:
        raise BadInputError(
            f"--keep {keep}: holds {there[0]} already, which would be overwritten; give another"
            " directory"
        )


def _copy(directory: Path, keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
        for path in directory.iterdir():
            shutil.copyfile(path, keep / path.name)
    except OSError as error:
        raise BadInputError(f"--keep {keep}: {error.strerror or error}") from error


def _example(directory: Path, signal: Path | None, forecast: Path | None) -> Source:
    from slurm_green.replay.example import NOTES, write

    if signal is not None or forecast is not None:
        raise BadInputError("--example brings its own: leave --signal and --forecast out")
    files = write(directory)
    return Source(
        jobs=files.jobs,
        classes=files.classes,
        signal=files.signal,
        forecast=files.forecast,
        gpus=files.gpus,
        idle_w_per_gpu=files.idle_w_per_gpu,
        notes=NOTES,
    )


def _from_sacct(
    app: App,
    history: History,
    directory: Path,
    scratch: Path,
    signal: Path | None,
    forecast: Path | None,
    gpus: int | None,
    issue_every_s: float,
) -> Source:
    from slurm_green.replay.classes import Watts
    from slurm_green.replay.sacct import from_sacct
    from slurm_green.replay.sacct_assumed import Assumed
    from slurm_green.replay.sacct_site import write_history

    assert history.from_sacct is not None
    config = app.config
    zone = _zone(history.timezone) if history.timezone else config.general.zone
    watts = _watts(history.gpu_w)
    found = from_sacct(
        history.from_sacct,
        Assumed(
            slack_s=_slack_s("--default-slack", history.default_slack),
            slack_by_partition_s={
                name: _slack_s(f"--slack {name[:40]}", text)
                for name, text in _pairs("--slack", history.slack).items()
            },
            watts=Watts.of(config, watts),
            given_types=frozenset(map(str.lower, watts)) - {""},
            speeds=_speeds(history.profile),
            zone=zone,
            since_s=_moment("--since", history.since, zone),
            until_s=_moment("--until", history.until, zone),
            comment_prefix=config.general.comment_prefix,
        ),
    )
    trace = found.trace
    site_gpus = trace.gpus if gpus is None else gpus
    told, of_signal = _signal(config, found, signal, scratch, app.now().timestamp())
    files = write_history(
        found,
        told,
        directory,
        named=signal or config.paths.ledger,
        issue_every_s=issue_every_s,
        gpus=site_gpus,
    )
    text = found.counted == "line"
    times = (f"Times in the export that name no zone are taken for {zone}'s.",) if text else ()
    what = "GPUs" if trace.unit == "GPU" else "cores, and no job has GPUs"
    size = f"The site has {site_gpus:,} {what}" + (
        ", the most that were in use at once." if gpus is None else "."
    )
    return Source(
        jobs=files.jobs,
        classes=files.classes,
        signal=files.signal,
        forecast=forecast or files.forecast,
        gpus=site_gpus,
        idle_w_per_gpu=trace.idle_w,
        notes=(size, *times, *trace.notes, *of_signal, *files.notes, *_left_out(found)),
        sacct=found,
    )


def _signal(
    config: "Config", found: "SacctTrace", signal: Path | None, scratch: Path, now_s: float
) -> tuple[Path, tuple[str, ...]]:
    """The signal's file, else what our own ledger says of that time."""
    from slurm_green.ledger.store import Store
    from slurm_green.replay.sacct_signal import plain_signal, site_signal

    if signal is not None:
        return plain_signal(signal, scratch)
    if not config.paths.ledger.exists():
        raise BadInputError("--from-sacct needs --signal, the carbon intensity of that time")
    with Store(config.paths.ledger, readonly=True) as store:
        first_s, last_s = found.trace.span_s
        # Later slots were only foretold yet; and sgreend may have begun or ended meanwhile.
        until_s = max(found.ended_s, min(last_s, now_s))
        try:
            return site_signal(store, first_s, until_s, scratch)
        except BadInputError:
            return site_signal(store, first_s, found.ended_s, scratch)


def _left_out(found: "SacctTrace") -> Iterator[str]:
    """A sentence for each reason, with the first rows."""
    for one in found.left_out:
        hours = f", {one.gpu_hours:,.1f} GPU-hours" if one.gpu_hours >= 0.05 else ""
        rows = ", ".join(map(str, one.first)) + (", ..." if one.rows > len(one.first) else "")
        yield (
            f"Left out: {one.rows:,} of {found.rows:,} rows: {one.reason}{hours}"
            f" ({found.counted} {rows})."
        )


def _speeds(profile: Path | None) -> tuple["Speed", ...]:
    if profile is None:
        return ()
    from profiling.files import read_profile
    from slurm_green.replay.classes import speeds_of

    return speeds_of(read_profile(profile))


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadInputError(
            f"--timezone {name[:40]}: no such zone; wanted a name such as Europe/Berlin or UTC"
        ) from error


def _moment(option: str, text: str | None, zone: tzinfo) -> float | None:
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInputError(
            f"{option} {text[:40]}: wanted a time such as 2026-10-01 or 2026-10-01T08:00"
        ) from error
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()


def _pairs(option: str, given: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadInputError(f"{option} {pair[:40]}: wanted NAME=VALUE")
        if name in found:
            raise BadInputError(f"{option} {name[:40]}: is given twice; wanted one value")
        found[name] = value
    return found


def _slack_s(option: str, text: str) -> float:
    from slurm_green.slurm.times import parse_duration_s

    try:
        return parse_duration_s(text)
    except BadInputError as error:
        raise BadInputError(f"{option}: {error}") from error


def _watts(given: tuple[str, ...]) -> Mapping[str, float]:
    """Watts by type, "" for all of them."""
    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.rpartition("=")
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) or not math.isfinite(float(value)):
            raise BadInputError(f"--gpu-w {text[:40]}: wanted watts, or TYPE=WATTS")
        if name.lower() in map(str.lower, found):
            raise BadInputError(f"--gpu-w {text[:40]}: is given twice; wanted one value")
        found[name] = float(value)
    return found
