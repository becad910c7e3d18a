# SPDX-License-Identifier: Apache-2.0
"""The measured past of a source: asked for, kept, cut at now, and left alone where it wants to."""

from datetime import timedelta

import numpy as np
import pytest
from fetch_fakes import HOUR, NOW, Historian, Provider, forecast, kinds, past

from slurm_green.errors import SignalError
from slurm_green.signals.provider import RateLimitedError

CARBON = "carbon_g_per_kwh"


def limited(retry_after_s):
    """What a provider raises that wants to be left alone."""
    return RateLimitedError("a: answered 429 and asks to come back", retry_after_s=retry_after_s)


def test_a_new_source_is_asked_for_enough_to_learn_from(desk):
    """Two months at first, then what is new and what may have been corrected."""
    source = Historian(forecast(), measured=past(days=60))

    desk.refresh({"a": source})
    desk.now = NOW + HOUR
    source.measured = past(days=3, end=desk.now)
    desk.refresh({"a": source})

    assert source.spans == [
        (NOW - timedelta(days=60), NOW),
        (NOW - timedelta(days=2), NOW + HOUR),
    ]
    kept = desk.store.past("a", CARBON)
    assert (kept.start_utc, kept.end_utc) == (NOW - timedelta(days=60), NOW + HOUR)


def test_a_source_that_keeps_less_is_asked_for_the_whole_once(desk):
    """Two months every few minutes would be refused before long; so would a copied-in week's."""
    source = Historian(forecast(), measured=past(days=7))
    for minutes in (0, 15, 30):
        desk.now = NOW + timedelta(minutes=minutes)
        desk.refresh({"a": source})
    desk.store.add("b", past(days=7, provider="b"))
    copied = Historian(forecast(), measured=past(days=7, provider="b"))
    for _ in range(2):
        desk.refresh({"b": copied})

    days = [[(end - start).days for start, end in one.spans] for one in (source, copied)]
    assert days == [[60, 2, 2], [60, 2]]


def test_a_gap_left_by_an_outage_is_asked_for_again(desk):
    """After three weeks without the network the whole of them is wanted."""
    source = Historian(forecast(), measured=past(days=60))
    desk.refresh({"a": source})
    desk.now = NOW + timedelta(days=21)

    desk.refresh({"a": source})

    assert source.spans[-1] == (NOW - timedelta(days=2), desk.now)


def test_corrected_values_replace_what_was_measured_first(desk):
    """The newer word holds in what the forecast learns from."""
    source = Historian(forecast(), measured=past(days=60))
    desk.refresh({"a": source})
    first = desk.store.past("a", CARBON)
    corrected = past(days=1)
    source.measured = type(corrected)(**(vars(corrected) | {"values": corrected.values + 50}))

    desk.refresh({"a": source})

    got = desk.forecaster.seen[-1]
    assert np.allclose(got.values[:-24], first.values[:-24])
    assert np.allclose(got.values[-24:], first.values[-24:] + 50)


def test_a_past_that_reaches_into_the_future_is_cut_at_now(desk):
    """What a source calls measured before it happened teaches nothing."""
    honest, eager = past(days=30), past(days=32, end=NOW + timedelta(days=2))
    eager.values[-48:] = 99_999.0

    bundle = desk.refresh({"a": Historian(forecast(), measured=eager)})

    (seen,) = desk.forecaster.seen
    assert seen.end_utc == NOW
    assert np.allclose(seen.values, honest.values)
    assert bundle.climatology.values.max() < 400


@pytest.mark.parametrize("minutes", [0, 1, 29, 59])
def test_a_step_that_still_runs_is_not_measured_yet(desk, minutes):
    """At 12:29 the hour from 12:00 has no mean."""
    desk.now = NOW + timedelta(minutes=minutes)

    desk.refresh({"a": Historian(forecast(), measured=past(days=30, end=NOW + HOUR))})

    assert desk.forecaster.seen[0].end_utc == NOW


def test_a_past_that_is_all_future_is_no_past_yet(desk):
    """The link says so, and nothing is kept."""
    desk.refresh({"a": Historian(forecast(), measured=past(1, end=NOW + timedelta(days=2)))})

    assert desk.status("history", "a") == ("failed", "nothing is measured yet")
    assert desk.store.past("a", CARBON) is None


@pytest.mark.parametrize("error", [SignalError("a: answered 500"), KeyError("actual")])
def test_without_new_measurements_the_kept_past_still_serves(desk, error):
    """A history that fails costs its news, not what was learned."""
    desk.refresh({"a": Historian(forecast(), measured=past())})
    desk.now = NOW + HOUR

    bundle = desk.refresh({"a": Historian(forecast(now=desk.now), measured=error)})

    assert desk.status("history", "a")[0] == "failed"
    assert desk.forecaster.seen[-1].end_utc == NOW
    assert kinds(bundle.series) == ["forecast", "climatology"]


def test_a_source_without_a_past_of_its_own_uses_the_file_somebody_copied_in(desk):
    """A year of the site's own in the store's directory is as good as an API's."""
    desk.store.add("a", past(days=40))

    bundle = desk.refresh({"a": Provider(forecast())})

    assert [one.name for one in bundle.links if one.kind == "history"] == []
    assert desk.forecaster.seen[0].known == 40 * 24
    assert bundle.climatology.days == 40


@pytest.mark.parametrize("also", [None, past()])
def test_who_asks_to_be_left_alone_is(desk, also):
    """An hour of Retry-After outlives the process, covers the past too, and ends on time."""
    source = Historian(limited(3600), measured=also or limited(3600))
    desk.refresh({"a": source})
    asked, spans = len(source.asked), len(source.spans)
    source.gives, source.measured = forecast(now=NOW), past()

    for minutes, left in ((1, "59 min"), (15, "45 min"), (59, "60 s")):
        desk.now = NOW + timedelta(minutes=minutes)
        desk.refresh({"a": source})
        waiting = ("waiting", f"asked to be left alone for {left} more")
        assert desk.status("provider", "a") == waiting
        assert desk.status("history", "a") == waiting
    assert (len(source.asked), len(source.spans)) == (asked, spans)

    desk.now = NOW + timedelta(minutes=60)
    desk.refresh({"a": source})
    assert desk.status("provider", "a")[0] == "used"
    assert desk.store.wait_until("a") is None


def test_a_limit_met_by_the_past_keeps_the_forecast_from_being_asked_too(desk):
    """One request too many is enough."""
    source = Historian(forecast(), measured=limited(600))

    desk.refresh({"a": source})

    assert source.asked == []
    assert desk.status("provider", "a")[0] == "waiting"
    assert desk.store.wait_until("a") == NOW + timedelta(minutes=10)


def test_while_one_waits_the_next_one_serves(desk):
    """And the last good forecast is there where there is no next one."""
    desk.refresh({"a": Historian(forecast(), measured=past())})
    desk.now = NOW + HOUR
    desk.refresh({"a": Historian(limited(7200), measured=past())})
    desk.now = NOW + 2 * HOUR

    alone = desk.refresh({"a": Historian(forecast(now=desk.now), measured=past())})
    both = desk.refresh(
        {"a": Historian(forecast(now=desk.now), measured=past()), "b": Provider(forecast(96))}
    )

    assert alone.series.provider == "cache(a)"
    assert both.series.provider == "a"
    assert [one.status for one in both.links if one.kind == "provider"] == ["waiting", "used"]


def test_the_price_and_the_carbon_of_one_source_are_kept_apart(desk):
    """The same name in two chains is one account, but two signals."""
    euros = {"quantity": "price_per_kwh", "scope": "unknown"}
    price = Historian(forecast(**euros), measured=past(**euros))
    carbon = Historian(forecast(), measured=past())

    desk.refresh({"a": carbon})
    bundle = desk.refresh({"a": price}, quantity="price_per_kwh")

    assert bundle.series.quantity == "price_per_kwh"
    assert desk.store.last("a", CARBON).quantity == CARBON
    assert desk.store.past("a", CARBON).quantity == CARBON
    assert desk.store.past("a", "price_per_kwh").quantity == "price_per_kwh"


def test_a_region_with_a_blank_keeps_its_past(desk):
    """File names are made plain; what is in them must still be the same region's tomorrow."""
    for hours in (0, 1):
        desk.now = NOW + hours * HOUR
        source = Historian(
            forecast(now=desk.now), measured=past(end=desk.now, region="South England")
        )
        desk.refresh({"a": source})

        assert desk.status("history", "a")[0] == "used"


def test_a_kept_past_that_reaches_into_the_future_is_cut_at_now(desk):
    """A copied year may end in forecasts, and a clock may have been wrong when it was kept."""
    desk.store.add("a", past(days=30, end=NOW + timedelta(days=2)))

    desk.refresh({"a": Provider(forecast())})

    assert desk.forecaster.seen[0].end_utc <= NOW


def test_another_regions_past_is_not_used_for_this_one(desk):
    """After the site's zone was corrected, the old zone's past must teach nothing."""
    desk.refresh({"a": Historian(forecast(region="FR"), measured=past(region="FR"))})
    desk.now = NOW + HOUR

    desk.refresh(
        {"a": Historian(forecast(now=desk.now, region="GB"), measured=SignalError("a: down"))}
    )

    assert {one.region for one in desk.forecaster.seen[1:]} <= {"GB"}


def test_the_past_of_the_source_that_answered_goes_on_with_its_forecast(desk):
    """A first source that failed has a past too, but it may be of another region."""
    bundle = desk.refresh(
        {
            "a": Historian(SignalError("a: down"), measured=past(region="GB-12", provider="a")),
            "b": Historian(forecast(provider="b"), measured=past(region="GB", provider="b")),
        }
    )

    assert [one.region for one in desk.forecaster.seen] == ["GB"]
    assert bundle.climatology.region == "GB"


def test_what_was_measured_serves_even_if_it_cannot_be_kept(tmp_path, desk):
    """A full disk costs tomorrow's past, not today's forecast."""
    (tmp_path / "signals").write_text("a file where the directory should be")

    bundle = desk.refresh({"a": Historian(forecast(), measured=past())})

    assert kinds(bundle.series) == ["forecast", "climatology"]


def test_a_patience_of_years_is_not_had(desk):
    """A mistaken Retry-After must not silence a provider until somebody deletes a file."""
    desk.refresh({"a": Historian(limited(99_999_999.0), measured=past())})

    assert desk.store.wait_until("a") <= NOW + timedelta(days=1)


def test_a_clock_that_was_ahead_silences_nobody(desk):
    """A limit met while it was 40 days ahead, and noted with its time."""
    source = Historian(forecast(), measured=past())
    desk.store.let_wait("a", NOW + timedelta(days=40))

    desk.refresh({"a": source})

    assert desk.status("provider", "a")[0] == "used"
    assert desk.store.wait_until("a") is None


def test_what_was_usual_long_ago_is_no_signal(desk):
    """sgreend refuses a climatology older than two months; the fetcher must not make it young."""
    old = past(days=60, end=NOW - timedelta(days=400))
    desk.forecaster.raises = SignalError("the past ends too long ago")

    bundle = desk.refresh({"a": Historian(SignalError("a: down"), measured=old)})

    assert bundle.series is None


def test_what_is_usual_is_not_issued_in_the_future(desk):
    """Half hours up to 12:30 make hours up to 13:00, but nothing is known of the last half."""
    desk.now = NOW + timedelta(minutes=35)
    half_hours = past(end=NOW + timedelta(minutes=30), step_s=1800.0)
    desk.forecaster.raises = SignalError("no")

    bundle = desk.refresh({"a": Historian(SignalError("a: down"), measured=half_hours)})

    assert bundle.series.age_s(desk.now) >= 0


def test_of_two_pasts_one_that_reaches_to_now_is_learned_from(desk):
    """The first source stopped measuring a month ago; the second still does."""
    desk.refresh(
        {
            "a": Historian(SignalError("a: down"), measured=past(end=NOW - timedelta(days=30))),
            "b": Historian(SignalError("b: down"), measured=past()),
        }
    )

    assert desk.forecaster.seen[0].end_utc == NOW


def test_a_disk_that_is_full_does_not_cost_what_was_kept(desk, monkeypatch):
    """Two months are in the store, and two days more cannot be written."""
    desk.refresh({"a": Historian(forecast(), measured=past(days=60))})
    desk.now = NOW + HOUR

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    source = Historian(forecast(now=desk.now), measured=past(days=2, end=desk.now))
    bundle = desk.refresh({"a": source})

    assert desk.forecaster.seen[-1].known == 60 * 24 + 1
    assert kinds(bundle.series) == ["forecast", "climatology"]


def test_a_past_of_another_quantity_is_refused(desk):
    """Prices are no carbon, whatever a plug-in calls measured."""
    price = past(quantity="price_per_kwh", provider="a")

    desk.refresh({"a": Historian(forecast(), measured=price)})

    assert desk.status("history", "a") == (
        "failed",
        "measures price_per_kwh, not carbon_g_per_kwh",
    )
    assert desk.store.past("a", CARBON) is None


def test_a_past_of_another_region_does_not_go_on(desk):
    """The forecast ends where it ends, and the link says why."""
    bundle = desk.refresh({"a": Historian(forecast(region="FR"), measured=past(region="GB"))})

    assert bundle.series.end_utc == NOW + 48 * HOUR
    assert bundle.climatology is None
    status, said = desk.status("forecast", "built-in forecast")
    assert (status, "FR" in said) == ("spare", True)


def test_of_two_pasts_of_one_region_the_answering_sources_own_goes_on(desk):
    """Two providers of one region do not measure quite alike."""
    bundle = desk.refresh(
        {
            "a": Historian(SignalError("a: down"), measured=past(provider="a")),
            "b": Historian(forecast(provider="b"), measured=past(provider="b")),
        }
    )

    assert [one.provider for one in desk.forecaster.seen] == ["b"]
    assert bundle.climatology.provider == "b"
