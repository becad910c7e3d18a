# SPDX-License-Identifier: Apache-2.0
"""Whom a refresh asks, what it takes when somebody fails, and what it says about it."""

import logging
from datetime import timedelta

import pytest
from fetch_fakes import (
    FORECAST_G,
    HOUR,
    NOW,
    Forecaster,
    Historian,
    Provider,
    forecast,
    kinds,
    past,
)

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError

DOWN = SignalError("a: cannot be reached: no route to host")


def good(name="a", *, measured=None, **fields):
    """A provider that answers."""
    return Historian(forecast(provider=name, **fields), measured=measured or past(provider=name))


def bad(error=DOWN, *, measured=None):
    """A provider that fails, with its past or without."""
    return Historian(error, measured=measured or SignalError("a: cannot be reached"))


# name: (providers, whose the first step is, status of provider links)
SITUATIONS = {
    "the first answers": (
        {"a": good("a"), "b": good("b")},
        "a",
        {"a": "used", "b": "spare"},
    ),
    "the first fails": ({"a": bad(), "b": good("b")}, "b", {"a": "failed", "b": "used"}),
    "the third is the first good one": (
        {"a": bad(), "b": bad(KeyRefusedError("b: answered 401")), "c": good("c")},
        "c",
        {"a": "failed", "b": "failed", "c": "used"},
    ),
    "a plug-in has a bug": (
        {"a": bad(ValueError("ouch")), "b": good("b")},
        "b",
        {"a": "failed", "b": "used"},
    ),
    "a plug-in gives nonsense": (
        {"a": Historian("nonsense", measured=past()), "b": good("b")},
        "b",
        {"a": "failed", "b": "used"},
    ),
    "another quantity": (
        {"a": good("a", quantity="price_per_kwh"), "b": good("b")},
        "b",
        {"a": "failed", "b": "used"},
    ),
    "a forecast of yesterday": (
        {"a": good("a", now=NOW - 3 * 24 * HOUR), "b": good("b")},
        "b",
        {"a": "failed", "b": "used"},
    ),
    "a forecast of tomorrow": (
        {"a": good("a", now=NOW + 24 * HOUR), "b": good("b")},
        "b",
        {"a": "failed", "b": "used"},
    ),
    "one that only measures": (
        {"a": Historian(measured=past()), "b": good("b")},
        "b",
        {"b": "used"},
    ),
    "all fail, a past is known": (
        {"a": bad(measured=past()), "b": bad()},
        "built-in",
        {"a": "failed", "b": "failed"},
    ),
    "only a meter": ({"a": Historian(measured=past())}, "built-in", {}),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_first_good_link_is_taken_and_each_says_what_became_of_it(desk, name):
    """Order is trust, and a failure costs the one that failed."""
    providers, first, statuses = SITUATIONS[name]

    bundle = desk.refresh(providers)

    assert bundle.series.stretches[0].provider == first
    assert bundle.series.covers(NOW, NOW + 14 * 24 * HOUR)
    assert {one.name: one.status for one in bundle.links if one.kind == "provider"} == statuses
    assert bundle.written_utc == NOW


def test_who_is_not_needed_is_not_asked(desk):
    """A spare provider costs no request, though its past is kept for the day it is needed."""
    spare = good("b")

    desk.refresh({"a": good("a"), "b": spare})

    assert spare.asked == []
    assert len(spare.spans) == 1


def test_a_failure_is_said_in_the_providers_own_sentence(desk):
    """An expired key reads as one in `sgreen signal check`."""
    refused = KeyRefusedError("em: answered 401, the key is expired, wrong, or not for this")

    desk.refresh({"em": bad(refused), "uk": good()})

    assert desk.status("provider", "em") == ("failed", str(refused))


def test_a_plug_ins_bug_is_told_to_the_log_and_costs_only_itself(desk, caplog):
    """Its type and words stand in the link; the traceback is for who wrote it."""
    bundle = desk.refresh({"a": bad(ValueError("ouch")), "b": good("b")})

    assert desk.status("provider", "a") == ("failed", "ValueError: ouch")
    assert bundle.series.provider == "b"
    assert "provider a failed in an unexpected way" in caplog.text


def test_the_last_good_forecast_comes_back_with_its_true_age(desk):
    """Under the cache's name; asking again in vain makes it no younger."""
    desk.refresh({"a": good()})
    for hours in (1, 2, 11):
        desk.now = NOW + hours * HOUR
        bundle = desk.refresh({"a": bad(measured=past(end=desk.now))})

        assert bundle.series.provider == "cache(a)"
        assert bundle.series.age_s(desk.now) == hours * 3600
        assert bundle.series.stretches[0].issued_utc == NOW
        assert bundle.series.at(desk.now) == 123.0
        assert desk.status("cache", "last good of a")[0] == "used"


def test_a_last_good_forecast_that_is_too_old_gives_way_to_the_built_in_one(desk):
    """Thirteen hours are more than signal.cache_max_age allows."""
    desk.refresh({"a": good()})
    desk.now = NOW + 13 * HOUR

    bundle = desk.refresh({"a": bad(measured=past(end=desk.now))})

    assert bundle.series.provider == "built-in"
    assert bundle.series.at(desk.now) == FORECAST_G
    assert desk.status("cache", "last good of a") == (
        "failed",
        "13 h 00 min old, signal.cache_max_age allows 12 h 00 min",
    )


def test_a_last_good_forecast_that_ended_is_none(desk):
    """Young enough, but it says nothing about now."""
    desk.refresh({"a": good(hours=3)})
    desk.now = NOW + 4 * HOUR

    bundle = desk.refresh({"a": bad(measured=past(end=desk.now))})

    assert bundle.series.provider == "built-in"
    assert desk.status("cache", "last good of a") == (
        "failed",
        "reaches until 2026-11-24 15:00 UTC, not over now",
    )


def test_the_freshest_trusted_last_good_forecast_is_taken(desk):
    """The first source's is too old, the second's is not."""
    desk.refresh({"a": good("a")})
    desk.now = NOW + 10 * HOUR
    desk.refresh({"a": bad(), "b": good("b", now=desk.now)})
    desk.now = NOW + 14 * HOUR

    bundle = desk.refresh({"a": bad(), "b": bad()})

    assert bundle.series.provider == "cache(b)"
    assert bundle.series.age_s(desk.now) == 4 * 3600


def test_a_last_good_forecast_is_not_kept_again_as_new(desk):
    """No cache(cache(...)): what the cache gave does not go back into it."""
    desk.refresh({"a": good()})
    desk.now = NOW + HOUR
    desk.refresh({"a": bad()})

    kept = desk.store.last("a", "carbon_g_per_kwh")

    assert (kept.provider, kept.issued_utc) == ("a", NOW)


def test_a_damaged_last_good_forecast_is_one_more_failed_link(desk):
    """A file cut by a full disk costs the cache, not the signal."""
    desk.refresh({"a": good()})
    path = desk.store.directory / "carbon_g_per_kwh.a.json"
    path.write_text(path.read_text()[:100])

    bundle = desk.refresh({"a": bad(measured=past())})

    assert bundle.series.provider == "built-in"
    assert "cut or damaged" in desk.status("cache", "last good of a")[1]


def test_nothing_at_all_is_an_error_that_names_every_link(desk):
    """No provider, no last good forecast, no past: one sentence with all the reasons."""
    bundle = desk.refresh({"a": bad(), "b": bad(KeyRefusedError("b: answered 401"))})

    assert bundle.series is None
    assert bundle.climatology is None
    assert bundle.problem.startswith("no usable signal: ")
    for words in (
        "a: a: cannot be reached: no route to host",
        "b: b: answered 401",
        "last good of a: no good forecast of a is kept yet",
        "built-in forecast: no measured past to learn from",
        "climatology: no measured past that could go on with it",
    ):
        assert words in bundle.problem
    assert "\n" not in bundle.problem


def test_a_built_in_forecast_that_fails_leaves_what_is_usual(desk):
    """The last resort, and every step of it says that it is one."""
    desk.forecaster = Forecaster(raises=SignalError("two days are too few to learn from"))

    bundle = desk.refresh({"a": bad(measured=past())})

    assert kinds(bundle.series) == ["climatology"]
    assert desk.status("forecast", "built-in forecast") == (
        "failed",
        "two days are too few to learn from",
    )
    assert desk.status("climatology", "climatology")[0] == "used"
    assert bundle.series.covers(NOW, NOW + 14 * 24 * HOUR)


def test_a_bug_in_the_built_in_forecast_costs_only_it(desk, caplog):
    """The provider's forecast stands, and what is usual follows it."""
    desk.forecaster = Forecaster(raises=ZeroDivisionError("ouch"))

    bundle = desk.refresh({"a": good()})

    assert kinds(bundle.series) == ["forecast", "climatology"]
    assert desk.status("forecast", "built-in forecast")[1] == "ZeroDivisionError: ouch"
    assert "this is a bug of slurm-green" in caplog.text


class Leaning(Forecaster):
    """Remembers what it was told ahead, too."""

    def __call__(self, measured, now_utc, ahead_s, regressors=None):
        self.told = None if regressors is None else regressors.names
        return super().__call__(measured, now_utc, ahead_s)


@pytest.mark.parametrize(
    ("last_h", "status", "told"),
    [(24, "used", ("wind",)), (0, "used", ("wind",)), (-1, "spare", None)],
)
def test_a_table_of_what_is_known_ahead_is_leant_on_until_it_ends(
    desk, tmp_path, last_h, status, told
):
    """Of one that ended before now nothing is known ahead."""
    desk.forecaster = Leaning()
    rows = [f"{NOW + at * HOUR:%Y-%m-%dT%H:00Z},{100 + at}" for at in range(-50, last_h + 1)]
    (tmp_path / "ahead.csv").write_text("\n".join(["start_utc,wind", *rows, ""]))

    desk.refresh({"a": good()}, regressors=tmp_path / "ahead.csv")

    assert desk.forecaster.told == told
    found, said = desk.status("regressors", "regressors")
    assert (found, said.startswith("wind until ")) == (status, True)


def test_a_table_that_cannot_be_read_costs_only_itself(desk, tmp_path):
    desk.forecaster = Leaning()

    desk.refresh({"a": good()}, regressors=tmp_path / "none.csv")

    assert (desk.forecaster.told, len(desk.forecaster.seen)) == (None, 1)
    found, said = desk.status("regressors", "regressors")
    assert (found, "No such file" in said) == ("failed", True)


def test_a_past_of_less_than_a_week_gives_no_climatology(desk):
    """Three days have a forecast of their own, but no usual week."""
    bundle = desk.refresh({"a": good(measured=past(days=3))})

    assert bundle.climatology is None
    assert desk.status("climatology", "climatology")[0] == "failed"
    assert kinds(bundle.series) == ["forecast"]
    assert bundle.series.end_utc == NOW + 96 * HOUR


@pytest.mark.parametrize("other", [{"basis": "marginal"}, {"scope": "life-cycle"}])
def test_what_is_of_another_kind_is_never_joined(desk, other):
    """A marginal forecast ends where it ends: an average past does not go on with it."""
    bundle = desk.refresh({"a": good(**other)})

    assert [one.provider for one in bundle.series.stretches] == ["a"]
    assert bundle.series.end_utc == NOW + 48 * HOUR
    assert bundle.climatology is None
    assert desk.forecaster.seen == []
    status, said = desk.status("forecast", "built-in forecast")
    assert status == "spare"
    assert "another kind" in said
    assert desk.status("climatology", "climatology")[0] == "failed"


def test_of_several_pasts_that_of_the_same_kind_goes_on(desk):
    """The first source's past is marginal; the second's fits."""
    marginal = past(provider="a", basis="marginal")

    bundle = desk.refresh({"a": good("a", measured=marginal), "b": good("b")})

    assert {one.basis for one in desk.forecaster.seen} == {"average"}
    assert [one.provider for one in bundle.series.stretches] == ["a", "built-in", "climatology(b)"]


def test_each_refresh_tells_every_link_once(desk):
    """Two lines about one link would be two samples of one metric."""
    for providers in (
        {"a": good()},
        {"a": bad()},
        {"a": bad(measured=past())},
        {"a": good(basis="marginal")},
        {"a": good(), "b": bad(), "c": Historian(measured=past())},
    ):
        bundle = desk.refresh(providers)
        told = [(one.kind, one.name) for one in bundle.links]
        assert len(set(told)) == len(told)


def test_a_store_that_cannot_be_written_costs_the_cache_not_the_signal(tmp_path, desk, caplog):
    """The provider's answer is used as if the disk were whole, and the log says what is not."""
    (tmp_path / "signals").write_text("a file where the directory should be")

    bundle = desk.refresh({"a": Provider(forecast())})

    assert bundle.series.provider == "a"
    assert "not kept for the next refresh: " in caplog.text


def test_a_successful_refresh_is_quiet(desk, caplog):
    """The log is for what changes, and that is the caller's to know."""
    with caplog.at_level(logging.DEBUG):
        desk.refresh({"a": good()})

    assert caplog.records == []


def test_a_limit_without_a_time_is_respected_for_a_while(desk):
    """A bare 429 means a quarter of an hour."""
    limited = bad(RateLimitedError("a: answered 429", retry_after_s=None))
    desk.refresh({"a": limited})

    assert desk.store.wait_until("a") == NOW + timedelta(minutes=15)
