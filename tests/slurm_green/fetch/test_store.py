# SPDX-License-Identifier: Apache-2.0
"""What the fetching process keeps: every file is what it says, and a damaged one costs itself."""

import json
from datetime import timedelta

import numpy as np
import pytest
from fetch_fakes import HOUR, NOW, forecast, past

from slurm_green.errors import SignalError
from slurm_green.fetch.store import Store

CARBON = "carbon_g_per_kwh"


@pytest.fixture
def store(tmp_path):
    return Store(directory=tmp_path / "signals")


def test_a_past_comes_back_as_it_went_in(store):
    """Values to the last digit, gaps, and whose they are."""
    measured = past(20, region="GB-12", step_s=1800.0, provider="neso")
    measured.values[5:9] = np.nan
    store.add("uk", measured)

    got = store.past("uk", CARBON)

    for name in ("start_utc", "step_s", "provider", "region", "quantity", "basis", "scope"):
        assert getattr(got, name) == getattr(measured, name)
    assert np.array_equal(got.values, measured.values, equal_nan=True)


def test_the_files_are_named_after_what_is_in_them(store):
    """People read, copy and delete them."""
    store.add("uk", past(provider="neso", region=""))
    store.keep("uk", forecast())
    store.let_wait("uk", NOW)

    assert sorted(path.name for path in store.directory.iterdir()) == [
        "carbon_g_per_kwh.uk.json",
        "carbon_g_per_kwh.uk.neso.-.average.direct.csv",
        "waiting.json",
    ]
    assert store.past("uk", CARBON).region == ""


def test_what_is_new_is_merged_into_what_is_kept(store):
    """The newer word holds where both know a step."""
    store.add("uk", past(10, end=NOW - HOUR))
    newer = past(1)
    newer.values[:] = 5.0

    merged = store.add("uk", newer)

    assert (merged.known, merged.end_utc) == (10 * 24 + 1, NOW)
    assert set(merged.values[-24:]) == {5.0}
    assert np.array_equal(store.past("uk", CARBON).values, merged.values)


@pytest.mark.parametrize(
    "other", [{"basis": "marginal"}, {"scope": "life-cycle"}, {"region": "FR"}]
)
def test_another_kind_gets_a_file_of_its_own(store, other):
    """Average and marginal, direct and life-cycle, two regions: never one past."""
    store.add("uk", past(10))
    store.add("uk", past(5, end=NOW - HOUR, **other))

    found = store.pasts("uk", CARBON).values()

    assert len(list(store.directory.glob("*.csv"))) == 2
    assert [one.end_utc for one in found] == [NOW - HOUR, NOW]
    assert [one.known for one in found] == [5 * 24, 10 * 24]


def test_sources_do_not_read_each_others_files(store):
    """`uk` and `uk2` are two, and so are carbon and price."""
    store.add("uk2", past())

    assert store.past("uk", CARBON) is None
    assert store.past("uk2", "price_per_kwh") is None


def test_three_years_are_enough(store):
    """A past does not grow for ever."""
    old = past(30, end=NOW - timedelta(days=4 * 366))
    store.add("uk", old)

    merged = store.add("uk", past(30))

    assert merged.end_utc - merged.start_utc == timedelta(days=3 * 366)


@pytest.mark.parametrize("text", ["", "start_utc,carbon_g_per_kwh\n2026-01-01T00:00Z,1", "\0"])
def test_a_damaged_past_is_passed_over(store, text):
    """A file cut in the middle is no past, and the others still are."""
    store.add("uk", past())
    store.add("uk", past(region="FR", end=NOW + HOUR))
    (store.directory / "carbon_g_per_kwh.uk.a.FR.average.direct.csv").write_text(text)

    assert store.past("uk", CARBON).region == "GB"


def test_a_damaged_past_is_not_thrown_away(store, caplog):
    """A year that somebody copied in has one bad line: it must be there when they look."""
    store.directory.mkdir(parents=True)
    path = store.directory / "carbon_g_per_kwh.uk.a.GB.average.direct.csv"
    year = "start_utc,carbon_g_per_kwh\n2025-01-01T00:00:00Z,100\nyesterday,200\n"
    path.write_text(year)

    store.add("uk", past())

    kept = [one for one in store.directory.iterdir() if one.read_text() == year]
    assert len(kept) == 1
    assert "yesterday" in caplog.text


def test_files_of_other_names_are_not_ours(store):
    """A copy beside the original is no second past."""
    store.add("uk", past())
    original = next(store.directory.glob("*.csv"))
    for name in ("carbon_g_per_kwh.uk.copy.csv", f"{original.stem}.old.csv"):
        (store.directory / name).write_text(original.read_text())

    assert len(store.pasts("uk", CARBON)) == 1


def test_the_last_good_forecast(store):
    """None yet is a sentence; the newest replaces the one before."""
    with pytest.raises(SignalError, match="no good forecast of uk is kept yet"):
        store.last("uk", CARBON)
    store.keep("uk", forecast(grams=1.0))
    store.keep("uk", forecast(grams=2.0))

    assert store.last("uk", CARBON).values[0] == 2.0


def test_who_waits_is_remembered_until_told_otherwise(store):
    """Per source, across processes."""
    store.let_wait("uk", NOW + HOUR)
    store.let_wait("de", NOW + 2 * HOUR)
    store.let_wait("uk", None)

    again = Store(directory=store.directory)

    assert again.wait_until("uk") is None
    assert again.wait_until("de") == NOW + 2 * HOUR


def test_nobody_waiting_writes_nothing(store):
    """The usual case leaves the disk alone."""
    store.let_wait("uk", None)

    assert not store.directory.exists()


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"uk": 5}', '{"uk": "soon"}', '{"uk": "2026-11-24T12:00:00"}', "\0"]
)
def test_a_damaged_note_costs_one_early_question(store, note):
    """It is neither an error nor a wait for ever, and the next one is written over it."""
    store.directory.mkdir(parents=True)
    (store.directory / "waiting.json").write_text(note)

    assert store.wait_until("uk") is None
    store.let_wait("uk", NOW)
    assert json.loads((store.directory / "waiting.json").read_text()) == {"uk": NOW.isoformat()}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """One sentence with the path."""
    (tmp_path / "file").write_text("")
    store = Store(directory=tmp_path / "file" / "signals")

    for write in (
        lambda: store.add("uk", past()),
        lambda: store.keep("uk", forecast()),
        lambda: store.let_wait("uk", NOW),
    ):
        with pytest.raises(SignalError, match=r"file/signals: cannot be made"):
            write()


def settled(store, *sources):
    """Sources with a past, a forecast and settings of their own."""
    for source in sources:
        store.add(source, past(provider="neso"))
        store.keep(source, forecast())
        store.adopt(source, f"settings of {source}")


def test_the_same_settings_change_nothing(store):
    """As at every refresh."""
    settled(store, "uk")
    before = sorted(store.directory.iterdir())

    store.adopt("uk", "settings of uk")

    assert sorted(store.directory.iterdir()) == before
    assert store.past("uk", CARBON) is not None


def test_what_was_kept_before_settings_were_noted_is_the_sources_own(store):
    """A year that somebody copied in before the first run."""
    store.add("uk", past())

    store.adopt("uk", "settings of uk")

    assert store.past("uk", CARBON) is not None


def test_under_other_settings_a_source_begins_anew_and_nothing_is_lost(store, caplog):
    """Another zone's past and forecast are set aside, with a word in the log."""
    settled(store, "uk")

    store.adopt("uk", "another zone")

    assert store.past("uk", CARBON) is None
    with pytest.raises(SignalError, match="no good forecast of uk is kept yet"):
        store.last("uk", CARBON)
    assert len(list(store.directory.glob("*.old"))) == 2
    assert "kept under other settings of uk, set aside" in caplog.text


@pytest.mark.parametrize("other", ["uk", "u", "uk2"])
def test_other_sources_keep_what_is_theirs(store, other):
    """Also those whose names begin alike."""
    settled(store, "de", other)

    store.adopt("de", "another zone")

    assert store.past(other, CARBON) is not None
    assert store.last(other, CARBON) is not None


@pytest.mark.parametrize("name", ["neso", "GB", "average"])
def test_a_source_may_be_named_as_a_part_of_anothers_files(store, name):
    """[provider.neso] and [provider.uk] of type neso: only the first changed."""
    settled(store, "uk", name)

    store.adopt(name, "another zone")

    assert store.past("uk", CARBON) is not None


def test_what_was_set_aside_twice_is_there_twice(store):
    """There and back again: nothing is deleted, as the docstring says."""
    for settings in ("one", "two", "three"):
        store.adopt("uk", settings)
        store.add("uk", past(provider="neso"))

    store.adopt("uk", "four")

    assert len(list(store.directory.glob("*.old*"))) == 3
