# SPDX-License-Identifier: Apache-2.0
"""The file between fetcher and controller, the cache with its age, the chain's order."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from neso_shapes import national, slots

from slurm_green.errors import SignalError
from slurm_green.signals import fetch
from slurm_green.signals.cache import LastKnownGood
from slurm_green.signals.chain import Chain
from slurm_green.signals.file import SeriesFile, read_series, write_series
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.series import Series

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SERIES = Series(
    start_utc=NOW,
    step_s=1800.0,
    values=np.arange(96) + 0.1,
    issued_utc=NOW,
    provider="neso",
    region="GB-12",
    scope="direct",
    time_scale=2.0,
)


class Link:
    """A provider that gives what it was told to, or raises it."""

    def __init__(self, name, result):
        self.name, self.result, self.asked = name, result, 0

    def fetch(self, now_utc):
        self.asked += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def same(one, two):
    ours = {k: v for k, v in vars(one).items() if k not in {"values", "edges_s", "cumulative"}}
    theirs = {k: v for k, v in vars(two).items() if k in ours}
    return ours == theirs and list(one.values) == list(two.values)


def test_round_trip(tmp_path):
    """Everything a series knows survives the file, and nothing is left beside it."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    assert same(SERIES, read_series(path))
    assert [path] == list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """A full disk leaves the old file whole and no temporary one."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SignalError, match="No space left"):
        write_series(path, SERIES.relabelled("other"))
    assert read_series(path).provider == "neso"
    assert [path] == list(tmp_path.iterdir())


def _cut(text):
    return text[: len(text) // 2]


def _changed(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    "spoil",
    [
        _cut,
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: "\x00" * 100,
        lambda text: text.replace("0.1", "NaN", 1),
        _changed(values=[]),
        _changed(values=[1, None]),
        _changed(values=[-1]),
        _changed(values="100"),
        _changed(values=[1e300]),
        _changed(step_s=0),
        _changed(step_s=1e300),
        _changed(step_s=True),
        _changed(start_utc="2026-05-01T12:00:00"),
        _changed(start_utc=5),
        _changed(version=2),
        _changed(provider=None),
        _changed(format="other"),
    ],
)
def test_damaged_file(tmp_path, spoil):
    """Missing, cut, NaN, wrong types: one error that names the file."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(SignalError, match=r"signal\.json"):
        SeriesFile(path=path).fetch(NOW)


def test_missing_file(tmp_path):
    """The fetcher has not run yet."""
    with pytest.raises(SignalError, match="no such file"):
        SeriesFile(path=tmp_path / "signal.json").fetch(NOW)


@pytest.mark.parametrize(
    ("hours", "words"), [(7, "7.0 h old"), (-1, "in the future"), (-0.1, "begins after now")]
)
def test_stale_or_early(tmp_path, hours, words):
    """Age is judged by when the series was issued; a wrong clock is named."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    with pytest.raises(SignalError, match=words):
        SeriesFile(path=path, max_age_s=6 * 3600).fetch(NOW + timedelta(hours=hours))


def test_ended_series(tmp_path):
    """A young file whose series ended is no signal."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    with pytest.raises(SignalError, match="ends at"):
        SeriesFile(path=path, max_age_s=1e9).fetch(NOW + timedelta(days=3))


def test_plain_csv_is_accepted(tmp_path):
    """An offline site copies a dated CSV in; its age is the file's."""
    path = tmp_path / "signal.csv"
    path.write_text("start_utc,carbon_g_per_kwh\n2026-05-01T12:00Z,1\n2026-05-01T13:00Z,2\n")
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    got = SeriesFile(path=path, region="GB", scope="life-cycle").fetch(NOW + timedelta(hours=1))
    assert (list(got.values), got.region, got.scope) == ([1.0, 2.0], "GB", "life-cycle")
    os.utime(path, (NOW.timestamp() - 7 * 3600, NOW.timestamp() - 7 * 3600))
    with pytest.raises(SignalError, match="old"):
        SeriesFile(path=path).fetch(NOW)


def test_first_good_link_wins(tmp_path):
    """Order is preference; those after the winner are not asked."""
    first, second, third = Link("a", SignalError("down")), Link("b", SERIES), Link("c", SERIES)
    chain = Chain([first, second, third], cache=LastKnownGood(path=tmp_path / "c.json"))
    assert SERIES is chain.fetch(NOW)
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    assert chain.failures == ("a: down",)
    assert chain.name == "a>b>c"


def test_last_known_good_with_its_age(tmp_path):
    """When all fail the last good series comes back under the cache's name and its own age."""
    link = Link("neso", SERIES)
    chain = Chain([link], cache=LastKnownGood(path=tmp_path / "c.json", max_age_s=7200))
    chain.fetch(NOW)
    link.result = SignalError("down")
    later = NOW + timedelta(hours=1)
    got = chain.fetch(later)
    assert (got.provider, got.age_s(later)) == ("cache(neso)", 3600.0)
    with pytest.raises(SignalError, match=r"neso: down; cache: .*2\.5 h old"):
        chain.fetch(NOW + timedelta(hours=2.5))


def test_cached_series_is_not_cached_again(tmp_path):
    """No cache(cache(...)), and the cache's age cannot be made young."""
    cache = LastKnownGood(path=tmp_path / "c.json")
    cache.store(SERIES)
    cache.store(replace(SERIES, issued_utc=NOW + timedelta(hours=5), provider="cache(neso)"))
    assert cache.fetch(NOW).age_s(NOW) == 0.0


def test_link_that_lies_or_crashes(tmp_path, caplog):
    """A series that does not cover now and a plug-in's bug both cost only their link."""
    old = replace(SERIES, start_utc=NOW - timedelta(days=9))
    chain = Chain([Link("old", old), Link("bug", KeyError("x")), Link("good", SERIES)])
    assert SERIES is chain.fetch(NOW)
    assert chain.failures == ("old: its series does not cover now", "bug: KeyError: 'x'")
    assert "bug" in caplog.text


def test_unwritable_cache_does_not_lose_the_series(tmp_path, caplog):
    """A full disk costs the cache, not the signal."""
    chain = Chain([Link("a", SERIES)], cache=LastKnownGood(path=tmp_path / "no" / "c.json"))
    assert SERIES is chain.fetch(NOW)
    assert "was not kept" in caplog.text


def test_nothing_at_all():
    """An empty chain says so."""
    with pytest.raises(SignalError, match="no provider is set"):
        Chain([]).fetch(NOW)


def test_failed_fetch_leaves_the_file(tmp_path):
    """The controller keeps what it has, and its age tells."""
    path = tmp_path / "signal.json"
    fetch.fetch_to(path, Link("a", SERIES), NOW)
    before = path.read_bytes()
    with pytest.raises(SignalError):
        fetch.fetch_to(path, Link("a", SignalError("down")), NOW)
    assert before == path.read_bytes()


def test_forever_honours_retry_after(tmp_path):
    """A provider that asks for an hour gets an hour; failures do not end the process."""

    class EnoughError(Exception):
        pass

    link, waits = Link("a", RateLimitedError("slow down", retry_after_s=3600)), []
    results = [SignalError("down"), SERIES]

    def sleep(seconds):
        waits.append(seconds)
        if not results:
            raise EnoughError
        link.result = results.pop(0)

    with pytest.raises(EnoughError):
        fetch.fetch_forever(tmp_path / "s.json", link, every_s=900, now=lambda: NOW, sleep=sleep)
    assert waits == [3600, 900, 900]
    assert same(SERIES, read_series(tmp_path / "s.json"))


def test_command_line(tmp_path, api, monkeypatch, capsys):
    """One fetch writes the file; a failing one exits 1 with one line."""
    url, script = api
    path = tmp_path / "signal.json"
    script.answer(national(slots(datetime.now(UTC))))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert fetch.main(["--out", str(path), "--base-url", url]) == 0
    assert len(SeriesFile(path=path).fetch(datetime.now(UTC)).values) == 97
    script.answer({}, status=500)
    assert fetch.main(["--out", str(path), "--base-url", url]) == 1
    assert fetch.main(["--out", str(path), "--region-id", "99"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "neso: answered 500 Internal Server Error",
        "neso: region_id 99 is not between 1 and 17",
    ]
