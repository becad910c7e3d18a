# SPDX-License-Identifier: Apache-2.0
"""The signal as sgreend reads it: fresh, stale, usual, refused; a file or a CSV copied in."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import Bundle, Link, read_bundle, write_bundle
from slurm_green.signals.climatology import Climatology
from slurm_green.signals.csv_trace import read_bounded
from slurm_green.signals.file import write_series
from slurm_green.signals.series import Series
from slurm_green.signals.signal_file import SignalFile

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SERIES = Series(
    start_utc=NOW,
    step_s=1800.0,
    values=np.arange(96) + 0.1,
    issued_utc=NOW - HOUR,
    provider="neso",
    region="GB-12",
    scope="direct",
)
USUAL = Climatology(
    values=np.arange(168.0) + 500,
    quantiles={share: np.arange(168.0) + 500 + share for share in (0.1, 0.5, 0.9)},
    made_utc=NOW - HOUR,
    days=40,
    provider="neso",
    region="GB-12",
    scope="direct",
)
LINKS = (Link(name="uk", kind="provider", status="failed", said="uk: answered 500"),)
BUNDLE = Bundle(written_utc=NOW, series=SERIES, links=LINKS, climatology=USUAL)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "signal.json"


def test_a_fresh_file_is_the_signal(path):
    """As it was written, with who stands behind it, and what was said of the links."""
    write_bundle(path, BUNDLE)
    reader = SignalFile(path=path)

    got = reader.fetch(NOW + HOUR)

    assert list(got.values) == list(SERIES.values)
    assert (got.provider, got.region, got.issued_utc) == ("neso", "GB-12", NOW - HOUR)
    assert (got.vouched_utc, got.age_s(NOW + HOUR), got.stale_s(NOW + HOUR)) == (NOW, 7200, 3600)
    assert reader.links == LINKS


def test_who_asks_in_vain_still_stands_behind_it(path):
    """An old forecast in a new file is not stale: the fetcher found nothing newer."""
    old = replace(SERIES, issued_utc=NOW - 11 * HOUR)
    write_bundle(path, replace(BUNDLE, series=old))

    got = SignalFile(path=path, max_age_s=6 * 3600).fetch(NOW)

    assert (got.provider, got.stale_s(NOW)) == ("neso", 0.0)


@pytest.mark.parametrize("hours", [6.01, 24, 24 * 40])
def test_when_the_fetcher_is_silent_what_is_usual_takes_over(path, hours):
    """For weeks, for as far ahead as is asked; and it is not stale, for it never was fresh."""
    write_bundle(path, BUNDLE)
    now = NOW + hours * HOUR

    got = SignalFile(path=path, max_age_s=6 * 3600, horizon_s=3 * 86_400.0).fetch(now)

    assert (got.provider, got.region) == ("climatology(neso)", "GB-12")
    assert {one.kind for one in got.stretches} == {"climatology"}
    assert got.at(now) == USUAL.series(now, now).values[0]
    assert got.covers(now, now + 3 * DAY)
    assert got.stale_s(now) == 0
    assert got.age_s(now) == (hours + 1) * 3600


def test_what_was_usual_long_ago_is_not_believed(path):
    """After two months the season is another; then the reason is that the fetcher is silent."""
    write_bundle(path, BUNDLE)

    with pytest.raises(SignalError, match=r"1441\.0 h old, at most 6\.0 h .* fetching process"):
        SignalFile(path=path).fetch(NOW + 60 * DAY + HOUR)


def test_a_stale_file_without_the_usual_is_an_error(path):
    """With its age, what is allowed, and what to look at."""
    write_bundle(path, replace(BUNDLE, climatology=None))

    with pytest.raises(SignalError) as caught:
        SignalFile(path=path, max_age_s=6 * 3600).fetch(NOW + 7 * HOUR)

    assert str(caught.value) == (
        f"{path}: 7.0 h old, at most 6.0 h is allowed; is the fetching process running?"
    )


def test_a_series_that_ended_gives_way_to_the_usual(path):
    """The file is young, its series is not about now."""
    write_bundle(path, BUNDLE)
    reader = SignalFile(path=path, max_age_s=1e9)

    assert reader.fetch(NOW + 3 * DAY).provider == "climatology(neso)"
    write_bundle(path, replace(BUNDLE, climatology=None))
    with pytest.raises(SignalError, match="ends at 2026-05-03T12:00Z or begins after now"):
        reader.fetch(NOW + 3 * DAY)


@pytest.mark.parametrize("minutes", [11, 60 * 24 * 365])
def test_a_file_of_the_future_is_refused(path, minutes):
    """One of the two clocks is wrong; not even what is usual is believed then."""
    write_bundle(path, replace(BUNDLE, written_utc=NOW + timedelta(minutes=minutes)))

    with pytest.raises(SignalError, match="in the future; check clocks"):
        SignalFile(path=path).fetch(NOW)


def test_clocks_of_two_hosts_differ_by_seconds(path):
    """Ten minutes are let pass."""
    write_bundle(path, replace(BUNDLE, written_utc=NOW + timedelta(minutes=9)))

    assert SignalFile(path=path).fetch(NOW).provider == "neso"


def test_no_series_and_nothing_usual_says_why_with_the_links_words(path):
    """What the fetching process could not get, in its own words."""
    write_bundle(path, Bundle(written_utc=NOW, series=None, links=LINKS))
    reader = SignalFile(path=path)

    with pytest.raises(SignalError, match="no usable signal: uk: uk: answered 500"):
        reader.fetch(NOW)

    assert reader.links == LINKS


def test_a_plain_series_is_a_signal_too(path):
    """An offline site copies one in; its age is that of its issue."""
    write_series(path, SERIES)
    reader = SignalFile(path=path, max_age_s=6 * 3600)

    assert reader.fetch(NOW).stale_s(NOW) == 3600
    with pytest.raises(SignalError, match=r"6\.5 h old"):
        reader.fetch(NOW + 5.5 * HOUR)


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(path, monkeypatch):
    """Parsed once per change: a cycle runs every half minute."""
    read = []

    def counting(where):
        read.append(where)
        return read_bundle(where)

    monkeypatch.setattr("slurm_green.signals.signal_file.read_bundle", counting)
    write_bundle(path, BUNDLE)
    reader = SignalFile(path=path)
    assert [reader.fetch(NOW).at(NOW) for _ in range(3)] == [0.1] * 3
    assert len(read) == 1
    write_bundle(path, replace(BUNDLE, series=replace(SERIES, values=SERIES.values + 7)))
    assert reader.fetch(NOW).at(NOW) == 7.1
    assert len(read) == 2


def test_a_damaged_file_after_a_good_one_is_an_error_and_its_repair_is_seen(path):
    """What was read before is not served in its place: it would look fresh for ever."""
    write_bundle(path, BUNDLE)
    reader = SignalFile(path=path)
    reader.fetch(NOW)
    path.write_text("{")
    with pytest.raises(SignalError, match=r"signal\.json: cut or damaged"):
        reader.fetch(NOW)
    write_bundle(path, BUNDLE)

    assert reader.fetch(NOW).provider == "neso"


def test_missing_file(path):
    """The fetching process has not run yet."""
    with pytest.raises(SignalError, match=r"signal\.json: no such file"):
        SignalFile(path=path).fetch(NOW)
    path.write_text("a file where a directory should be")
    with pytest.raises(SignalError, match="Not a directory"):
        SignalFile(path=path / "signal.json").fetch(NOW)


CSV = "start_utc,carbon_g_per_kwh\n2026-05-01T12:00Z,1\n2026-05-01T13:00Z,2\n"


@pytest.mark.parametrize("name", ["signal.csv", "signal.json"])
def test_plain_csv_is_accepted(tmp_path, name):
    """An offline site copies a dated CSV in, under any name; its age is the file's."""
    path = tmp_path / name
    path.write_text(CSV)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    got = SignalFile(path=path, region="GB", scope="life-cycle").fetch(NOW + HOUR)
    assert (list(got.values), got.region, got.scope) == ([1.0, 2.0], "GB", "life-cycle")
    os.utime(path, (NOW.timestamp() - 7 * 3600, NOW.timestamp() - 7 * 3600))
    with pytest.raises(SignalError, match=r"7\.0 h old"):
        SignalFile(path=path).fetch(NOW)


@pytest.mark.parametrize("ahead_s", [-60, 0, 9 * 60])
def test_a_csv_just_copied_in_is_accepted(tmp_path, ahead_s):
    """By a host whose clock is as good as ours, or some minutes ahead."""
    path = tmp_path / "signal.csv"
    path.write_text(CSV)
    os.utime(path, (NOW.timestamp() + ahead_s, NOW.timestamp() + ahead_s))
    assert SignalFile(path=path).fetch(NOW).at(NOW) == 1.0


def test_a_csv_of_the_future_is_refused(tmp_path):
    """Copied with a clock that is wrong."""
    path = tmp_path / "signal.csv"
    path.write_text(CSV)
    os.utime(path, (NOW.timestamp() + 700, NOW.timestamp() + 700))
    with pytest.raises(SignalError, match=r"issued 0\.2 h in the future; check clocks"):
        SignalFile(path=path).fetch(NOW)


@pytest.mark.parametrize("text", [None, "{", CSV], ids=["gone", "cut", "csv"])
def test_links_are_those_of_the_file_that_is_there(path, text):
    """A page that shows `provider uk: used` over a file that was deleted is wrong."""
    write_bundle(path, BUNDLE)
    reader = SignalFile(path=path)
    reader.fetch(NOW)
    path.unlink()
    if text is not None:
        path.write_text(text)
    try:
        reader.fetch(NOW)
    except SignalError:
        pass

    assert LINKS[0] not in reader.links


def test_a_silent_fetcher_is_visible_though_the_usual_takes_over(path):
    """Log, metrics and page are made from the links: without one nobody would notice for weeks."""
    used = Link(name="de", kind="provider", status="used", said="48 h ahead")
    write_bundle(path, replace(BUNDLE, links=(*LINKS, used)))
    reader = SignalFile(path=path)

    reader.fetch(NOW + 7 * HOUR)

    failed = [one.said for one in reader.links if one.status == "failed"]
    assert any("is the fetching process running" in one for one in failed)
    assert reader.links[1:] == (*LINKS, replace(used, status="spare")), "it is used no longer"


def test_a_file_that_goes_while_it_is_read_is_a_sentence(path, monkeypatch):
    """Somebody deletes it between two system calls."""
    write_bundle(path, BUNDLE)

    def going(where):
        data = read_bounded(where)
        where.unlink()
        return data

    monkeypatch.setattr("slurm_green.signals.signal_file.read_bounded", going)
    with pytest.raises(SignalError):
        SignalFile(path=path).fetch(NOW)
