# SPDX-License-Identifier: Apache-2.0
"""What the fetching process keeps on disk between two runs: pasts, last good forecasts, patience.

Every file is plain and named after what is in it, so that people can read, copy and delete them:
`carbon_g_per_kwh.uk.neso.GB.average.direct.csv` is a measured past (copy a year of your own in),
`carbon_g_per_kwh.uk.json` the last good forecast, `waiting.json` who asked to be left alone.
"""

import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from slurm_green.errors import SignalError
from slurm_green.signals.file import read_json, read_series, write_series, write_text
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import QUANTITIES
from slurm_green.signals.series import Series
from slurm_green.signals.table import read_history, write_history_csv

__all__ = ["Store"]

_LOG = logging.getLogger(__name__)
# Three years show a model every season; more only costs time.
_KEEP = timedelta(days=3 * 366)
_SETTINGS, _ASKED, _WAITING = "settings.json", "asked.json", "waiting.json"
_KEEP_STEPS = 400_000  # of a few seconds each, years would no longer be read in a moment


@dataclass(frozen=True, kw_only=True)
class Store:
    """A directory of one site's signals; made when first written to."""

    directory: Path

    def pasts(self, source: str, quantity: str) -> dict[Path, Measured]:
        """All measured pasts of a source by their files, that which reaches furthest last."""
        found = {
            path: one
            for path in self.directory.glob(f"{quantity}.{source}.*.csv")
            if (one := self._read_past(path, quantity)) is not None
        }
        return dict(sorted(found.items(), key=lambda item: item[1].end_utc))

    def past(self, source: str, quantity: str) -> Measured | None:
        """The past that reaches furthest."""
        return next(reversed(self.pasts(source, quantity).values()), None)

    def add(self, source: str, newer: Measured) -> Measured:
        """Merge what was measured into its file; what is of another kind gets a file of its own."""
        path = self._path_of(source, newer)
        old = self._read_past(path, newer.quantity) if path.exists() else None
        if old is None and path.exists():
            _set_aside(path, "damaged")
        merged = newer if old is None else old.merged(newer)
        longest = min(_KEEP, timedelta(seconds=_KEEP_STEPS * merged.step_s))
        merged = merged.since(max(merged.start_utc, merged.end_utc - longest))
        self._make()
        write_history_csv(path, merged)
        return merged

    def keep(self, source: str, series: Series) -> None:
        """Keep a provider's good forecast."""
        self._make()
        write_series(self._last(source, series.quantity), series)

    def last(self, source: str, quantity: str) -> Series:
        """The last good forecast of a source; raises SignalError when there is none."""
        path = self._last(source, quantity)
        if not path.exists():
            raise SignalError(f"no good forecast of {source} is kept yet")
        return read_series(path)

    def adopt(self, source: str, settings: str) -> None:
        """Set aside what was kept of a source under other settings: it may be another zone's.

        `settings` is any text that tells them apart. Nothing is deleted: files get `.old` appended.
        """
        known = self._notes(_SETTINGS)
        if known.get(source, settings) != settings:
            for quantity in QUANTITIES:
                last = self._last(source, quantity)
                kept = [last] if last.exists() else []
                for one in (*kept, *self.directory.glob(f"{quantity}.{source}.*.csv")):
                    _LOG.warning("%s: kept under other settings of %s, set aside", one, source)
                    _set_aside(one, "old")
            (self.directory / _ASKED).unlink(missing_ok=True)
        if known.get(source) != settings:
            self._write_notes(_SETTINGS, known | {source: settings})

    def asked_since(self, source: str, quantity: str) -> datetime | None:
        """From when on a source was last asked for its whole past; it may keep less of it."""
        return _time(self._notes(_ASKED).get(f"{quantity}.{source}"))

    def note_asked(self, source: str, quantity: str, since_utc: datetime) -> None:
        """Remember that."""
        note = {f"{quantity}.{source}": since_utc.astimezone(UTC).isoformat()}
        self._write_notes(_ASKED, self._notes(_ASKED) | note)

    def wait_until(self, source: str) -> datetime | None:
        """Until when a source asked not to be asked."""
        return _time(self._notes(_WAITING).get(source))

    def let_wait(self, source: str, until_utc: datetime | None) -> None:
        """Note that a source wants to be left alone until then; None: no longer."""
        waiting = self._notes(_WAITING)
        if until_utc is None and source not in waiting:
            return
        waiting.pop(source, None)
        if until_utc is not None:
            waiting[source] = until_utc.astimezone(UTC).isoformat()
        self._write_notes(_WAITING, waiting)

    def _notes(self, name: str) -> dict[str, str]:
        path = self.directory / name
        try:
            raw = read_json(path) if path.exists() else {}
        except SignalError:
            return {}  # a damaged note costs one early question
        return {str(key): str(value) for key, value in raw.items()} if isinstance(raw, dict) else {}

    def _write_notes(self, name: str, notes: dict[str, str]) -> None:
        self._make()
        write_text(self.directory / name, json.dumps(notes) + "\n")

    def _make(self) -> None:
        try:
            self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as exc:
            raise SignalError(f"{self.directory}: cannot be made: {exc.strerror}") from exc

    def _last(self, source: str, quantity: str) -> Path:
        return self.directory / f"{quantity}.{source}.json"

    def _path_of(self, source: str, past: Measured) -> Path:
        identity = ".".join(
            _plain(text) for text in (past.provider, past.region, past.basis, past.scope)
        )
        return self.directory / f"{past.quantity}.{source}.{identity}.csv"

    def _read_past(self, path: Path, quantity: str) -> Measured | None:
        parts = path.name.removesuffix(".csv").split(".")
        if len(parts) != 6:
            return None
        provider, region, basis, scope = (_named(part) for part in parts[2:])
        try:
            read = read_history(path, quantity=quantity)
        except SignalError as exc:
            _LOG.warning("%s; it is passed over", exc)
            return None
        return replace(read, provider=provider, region=region, basis=basis, scope=scope)


def _plain(text: str) -> str:
    """A part of a file name: no dots, which separate, and no slashes; `_named` reads it back."""
    return "%2D" if text == "-" else quote(text, safe="").replace(".", "%2E") or "-"


def _named(part: str) -> str:
    return "" if part == "-" else unquote(part)


def _set_aside(path: Path, word: str) -> None:
    """Rename a file so that nothing is lost, however often it happens."""
    number = 0
    while (aside := path.with_name(f"{path.name}.{word}{number or ''}")).exists():
        number += 1
    path.replace(aside)


def _time(text: str | None) -> datetime | None:
    """A noted instant; None for none, or for what is no instant."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
