# SPDX-License-Identifier: Apache-2.0
"""How the ENTSO-E Transparency Platform is asked: entsoe-py's questions and parsers, our HTTP.

The library builds the questions and reads the XML; the questions themselves go over our own
bounded HTTP, as the library would neither bound them nor keep its key out of logs. All is asked
in parts of a week: in winter 2025/26 the platform cut series after 1000 points (entsoe-py #482).

The trap: curve A03 leaves out points that repeat, so a cut series looks like a constant one.
"""

import difflib
import importlib
import logging
import math
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from slurm_green.errors import SignalError
from slurm_green.signals.http import Http
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.providers.mix import HOUR_S
from slurm_green.signals.times import rounded_down, start_of_local_day

__all__ = ["BASE_URL", "KEY_HINT", "Platform", "Points", "points_of"]

BASE_URL = "https://web-api.tp.entsoe.eu/api"
KEY_HINT = "see My Account on transparency.entsoe.eu"
Points = list[tuple[datetime, float]]
_PART = timedelta(days=7)
_BAN_S = 600.0  # documented for more than 400 questions a minute


class Platform:
    """The library's raw client, for which this object is the session it asks through."""

    def __init__(self, http: Http, *, key: str, area: str, base_url: str) -> None:
        """Refuse areas that do not exist before anything is asked."""
        self.name = http.name
        self.library = _library(self.name)
        self.area = self._area(area)
        self.headers: dict[str, str] = {}  # where the library writes its user agent
        self._http = http
        self._key = key
        self._base_url = base_url
        self._now_utc = datetime.fromtimestamp(0, UTC)
        # The library logs its key with every question: it gets none, `get` puts it in.
        self._raw = self.library.EntsoeRawClient(
            api_key="-", session=self, retry_count=1, retry_delay=0
        )
        logger = logging.getLogger("httpx")
        if _hide_token not in logger.filters:
            logger.addFilter(_hide_token)

    def end_of_tomorrow(self, now_utc: datetime) -> datetime:
        """The local midnight after tomorrow, on days of 23 to 25 hours, as UTC."""
        zone = ZoneInfo(self.area.tz)
        midnight = start_of_local_day(now_utc, zone)
        return start_of_local_day(midnight + timedelta(hours=50), zone)

    def ask(
        self,
        query: str,
        read: Callable[[str], Any],
        start_utc: datetime,
        end_utc: datetime,
        now_utc: datetime,
        **options: Any,
    ) -> dict[str, Points]:
        """Points in [start, end) by type, part by part; parts without data are left out."""
        stamp = importlib.import_module("pandas").Timestamp
        self._now_utc = now_utc
        found: dict[str, Points] = {}
        for at, until in _parts(start_utc, end_utc):
            try:
                text = getattr(self._raw, query)(
                    self.area, start=stamp(at), end=stamp(until), **options
                )
            except self.library.exceptions.NoMatchingDataError:
                continue
            for name, points in self._parsed(read, text).items():
                found.setdefault(name, []).extend(
                    one for one in points if max(at, start_utc) <= one[0] < min(until, end_utc)
                )
        if not any(found.values()):
            raise SignalError(
                f"{self.name}: no data for {self.area.name} from {start_utc:%Y-%m-%dT%H:%MZ} to "
                f"{end_utc:%Y-%m-%dT%H:%MZ} ({query.removeprefix('query_')})"
            )
        return found

    def get(self, *, url: str, params: dict[str, Any], **_: Any) -> "_Answer":
        """What the library takes for requests.Session.get; the platform wants its key in the URL.

        Http puts no URL into messages, and httpx's own log line is filtered.
        """
        sent = {name: str(value) for name, value in params.items()} | {"securityToken": self._key}
        try:
            body = self._http.body(self._base_url, self._now_utc, params=sent)
        except RateLimitedError as exc:
            wait_s = _BAN_S if exc.retry_after_s is None else exc.retry_after_s
            raise RateLimitedError(str(exc), retry_after_s=wait_s) from exc
        return _Answer(body.decode(errors="replace"))

    def generation(self, text: str) -> dict[str, Points]:
        """A75 and A69: MW by type, without what storage consumed."""
        self.all_are(text, "quantity_Measure_Unit.name", "MAW")
        frame = self.library.parsers.parse_generation(text)
        found = {}
        for column in frame.columns:
            kind, metric = column if isinstance(column, tuple) else (column, "Actual Aggregated")
            if metric == "Actual Aggregated":
                found[str(kind)] = points_of(frame[column])
        return found

    def load(self, text: str) -> dict[str, Points]:
        """A65: MW."""
        self.all_are(text, "quantity_Measure_Unit.name", "MAW")
        return {"": points_of(self.library.parsers.parse_loads(text)["Forecasted Load"])}

    def all_are(self, text: str, element: str, wanted: str) -> None:
        """Refuse an answer in which an element is missing or says something else."""
        found = set(re.findall(rf"{re.escape(element)}(?: [^>]*)?>\s*([^<\s]+)", text))
        if found != {wanted}:
            got = ", ".join(sorted(found))[:60] or "nothing; did the API change?"
            raise SignalError(f"{self.name}: wanted {element} {wanted}, the answer has {got}")

    def _parsed(self, read: Callable[[str], Any], text: str) -> dict[str, Points]:
        if "Acknowledgement_MarketDocument" in text:
            said = re.search(r"<text>([^<]*)", text)
            reason = said[1].replace(self._key, "...")[:200] if said else "no reason given"
            raise SignalError(f"{self.name}: refused: {' '.join(reason.split())}")
        areas = set(re.findall(r"_Domain\.mRID[^>]*>\s*([^<\s]+)", text))
        if areas - {self.area.code}:
            raise SignalError(
                f"{self.name}: asked for {self.area.name} ({self.area.code}), the answer is for "
                f"{', '.join(sorted(areas))[:60]!r}"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it reads XML as HTML, and knows it
                found: dict[str, Points] = read(text)
        except (
            ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError,
            TypeError, ValueError,
        ) as exc:  # fmt: skip
            raise SignalError(
                f"{self.name}: the answer cannot be read ({type(exc).__name__}); did the API "
                "change?"
            ) from exc
        return found

    def _area(self, name: str) -> Any:
        areas = self.library.Area.__members__
        if name not in areas:
            near = difflib.get_close_matches(name.upper().replace("-", "_"), areas, n=3, cutoff=0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise SignalError(f"{self.name}: {name[:20]!r} is no area of ENTSO-E{hint}")
        return areas[name]


class _Answer:
    """What the library takes for requests.Response; only good ones get here."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.headers = {"content-type": "text/xml"}

    def raise_for_status(self) -> None:
        """Http has looked at the status."""


def _hide_token(record: logging.LogRecord) -> bool:
    """Keep the key out of httpx's line about each question."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            re.sub(r"securityToken=[^&\s]*", "securityToken=...", str(one))
            if "securityToken=" in str(one)
            else one
            for one in record.args
        )
    return True


def _library(name: str) -> Any:
    # Untyped, and another package (entsoe-apy) brings a module of the same name.
    try:
        found = importlib.import_module("entsoe")
        importlib.import_module("entsoe.parsers")
        importlib.import_module("entsoe.exceptions")
    except ImportError as exc:
        raise SignalError(
            f"{name}: needs the library entsoe-py: pip install 'slurm-green[entsoe]'"
        ) from exc
    return found


def _parts(start_utc: datetime, end_utc: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Whole hours (the API knows no others) in parts that no limit cuts."""
    at = rounded_down(start_utc, HOUR_S)
    end = -(-end_utc.timestamp() // HOUR_S) * HOUR_S
    last = datetime.fromtimestamp(end, UTC)
    while at < last:
        until = min(at + _PART, last)
        yield at, until
        at = until


def points_of(series: Any) -> Points:
    """Times in UTC and values of a series of pandas."""
    found = [
        (at.to_pydatetime().astimezone(UTC), float(value)) for at, value in series.dropna().items()
    ]
    if not all(math.isfinite(value) for _, value in found):
        raise ValueError("not finite")
    return found
