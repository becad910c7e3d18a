# SPDX-License-Identifier: Apache-2.0
"""The rule at the horizon's end: beyond every forecast decides what is usual at that hour.

The signal is made by the fetching process's own refresh: a day of a provider's forecast, three more
of the built-in one, then the usual week, whose cleanest hours are Sunday's from 02:00 to 05:00.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import DAY, HOUR, NOW, NOW_S, at, partition_view, policy, request, room, rules, view
from builders import job as a_job
from builders import observed as an_observed
from hypothesis import given, settings
from hypothesis import strategies as st

import slurm_green.slurm
from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory
from slurm_green.fetch.refresh import Source, refresh
from slurm_green.fetch.store import Store
from slurm_green.hook.decide import Decision, decide
from slurm_green.hook.record import Record, parse
from slurm_green.hook.submit import SubmitHook
from slurm_green.hook.view import View
from slurm_green.hook.wire import Ask, Defer
from slurm_green.signals.bundle import read_bundle, write_bundle
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series

DIRTY, CLEAN = 400.0, 100.0
PROVIDERS_H, MODELS_H, HORIZON_H = 24, 96, 14 * 24
SUNDAY = datetime(2026, 11, 29, 2, tzinfo=UTC)
CLEAN_H = 3
# Room for a job to wait ten days, in steps of ten minutes.
PATIENT = policy(default_delay_s=7 * DAY, max_delay_s=10 * DAY)
USUAL = "climatology(grid)"


def usual_g(when: datetime) -> float:
    """Grams per kWh at an hour of the usual week."""
    sunday = when.weekday() == 6
    return CLEAN if sunday and SUNDAY.hour <= when.hour < SUNDAY.hour + CLEAN_H else DIRTY


class Grid:
    """A provider of a forecast, and of a past where it is given one."""

    def __init__(self, values: Sequence[float], past: Measured | None) -> None:
        self._values, self._past = values, past

    def fetch(self, now_utc: datetime) -> Series:
        """Hours from now on."""
        return hours(self._values, "grid")

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured | None:
        """What it measured."""
        return self._past


def hours(values: Sequence[float], provider: str, **fields: object) -> Series:
    """A forecast issued now."""
    given: dict[str, object] = {
        "start_utc": NOW,
        "step_s": HOUR,
        "values": np.array(values, dtype=np.float64),
        "issued_utc": NOW,
        "provider": provider,
        "region": "X",
        "scope": "direct",
    }
    return Series(**(given | fields))  # type: ignore[arg-type]


def measured(weeks: int = 8) -> Measured:
    """Weeks like each other."""
    start = NOW - timedelta(weeks=weeks)
    return Measured(
        start_utc=start,
        step_s=HOUR,
        values=np.array([usual_g(start + timedelta(hours=n)) for n in range(weeks * 168)]),
        provider="grid",
        region="X",
        scope="direct",
    )


def refreshed(
    place: Path,
    *,
    provider: Sequence[float] = (500.0,) * PROVIDERS_H,
    model: Sequence[float] = (450.0,) * MODELS_H,
    past: Measured | None = None,
) -> Series:
    """What sgreend reads after a refresh; without a past there is neither model nor climatology."""

    def forecaster(_: Measured, now_utc: datetime, ahead_s: float) -> Series:
        amounts = np.array(model, dtype=np.float64)
        shares = {share: amounts * (0.5 + share) for share in (0.1, 0.5, 0.9)}
        return hours(model, "forecast(grid)", quantiles=shares)

    bundle = refresh(
        [Source(name="grid", provider=Grid(provider, past))],
        store=Store(directory=place / "signals"),
        forecaster=forecaster,
        now_utc=NOW,
        horizon_s=HORIZON_H * HOUR,
        forecast_s=MODELS_H * HOUR,
        cache_max_age_s=DAY,
    )
    write_bundle(place / "signal.json", bundle)
    found = read_bundle(place / "signal.json").series
    assert found is not None
    return found


def shown(signal: Series) -> View:
    """An empty cluster that is planned for two weeks."""
    long = {
        name: room(8, 64, step_s=HOUR, slots=HORIZON_H) for name in ("queue", "room", "planned")
    }
    return view(partition_view(**long), signal=signal)


def decided(signal: Series, **fields: object) -> Decision:
    """About a job of one hour that may wait for seven days, unless told otherwise."""
    return decide(request(**{"time_limit_s": 3600, **fields}), PATIENT, shown(signal), NOW)


def recorded(signal: Series, **fields: object) -> Record:
    """What the submit hook leaves in that job."""
    hook = SubmitHook(
        policy_for=lambda _partition, _qos: PATIENT,
        clock=lambda: NOW_S,
        hold_s=10.0,
        look=True,
        fresh_s=90.0,
        view=shown(signal),
    )
    given: dict[str, object] = {
        "seq": 1,
        "uid": 1000,
        "user": "ada",
        "partition": "gpu",
        "name": "train",
        "time_limit_s": 3600,
        "tres_per_node": "gres:gpu:1",
    }
    answer = hook.answer(Ask(**(given | fields)))  # type: ignore[arg-type]
    assert isinstance(answer, Defer)
    assert courier().fullmatch(answer.record), "the courier would refuse it, and the job pass"
    found = parse(answer.record)
    assert found is not None
    return found


def courier() -> re.Pattern[str]:
    """The records that slurm_green_wire.lua lets through, as it says itself."""
    wire = (Path(slurm_green.slurm.__file__).parent / "slurm_green_wire.lua").read_text()
    found = re.search(r'^local RECORD = "\^(.*)\$"$', wire, re.MULTILINE)
    assert found is not None
    return re.compile(re.sub(r"%(\W)", r"\\\1", found[1].replace("%w", "A-Za-z0-9")))


def test_the_signal_knows_where_each_hour_comes_from(tmp_path: Path) -> None:
    """Provider, built-in forecast, climatology, each to where the next begins, to the horizon."""
    signal = refreshed(tmp_path, past=measured())
    assert [(one.steps, one.provider, one.kind) for one in signal.stretches] == [
        (PROVIDERS_H, "grid", "forecast"),
        (MODELS_H - PROVIDERS_H, "forecast(grid)", "forecast"),
        (HORIZON_H - MODELS_H, USUAL, "climatology"),
    ]
    # Knowing less never looks like knowing more, over a week of it.
    low, high = signal.quantiles[0.1], signal.quantiles[0.9]
    width = high - low
    assert width[MODELS_H : MODELS_H + 168].mean() >= width[MODELS_H - 24 : MODELS_H].mean() - 1e-6
    assert (low[MODELS_H:] <= signal.values[MODELS_H:]).all()
    assert (signal.values[MODELS_H:] <= high[MODELS_H:]).all()


def test_a_usual_hour_beyond_both_forecasts_is_chosen(tmp_path: Path) -> None:
    """Sunday is usually clean, so the job waits for it, and its record says what that rests on."""
    signal = refreshed(tmp_path, past=measured())
    assert signal.end_utc > SUNDAY > at(MODELS_H)

    found = decided(signal)
    assert found.defer
    assert found.start_utc == SUNDAY
    record = recorded(signal)
    assert record.start_utc == SUNDAY
    assert record.signal == USUAL
    assert record.signal_age_s == 0
    assert record.save_g is not None
    assert record.save_g > 0


def test_without_slack_that_far_the_forecasts_decide(tmp_path: Path) -> None:
    """The origin in the record is that of the chosen start, whichever it is."""
    signal = refreshed(tmp_path, past=measured())
    soon = recorded(signal, comment="green:max-delay=3d")
    assert soon.signal == "forecast(grid)"
    assert at(PROVIDERS_H) <= soon.start_utc < at(MODELS_H)
    sooner = refreshed(tmp_path, provider=[500.0] * 9 + [90.0] + [500.0] * 14, past=measured())
    record = recorded(sooner)
    assert (record.start_utc, record.signal) == (at(9), "grid")


@pytest.mark.parametrize("last", [1.0, 5000.0])
def test_the_last_value_does_not_go_on_for_ever(tmp_path: Path, last: float) -> None:
    """Neither a clean nor a dirty last hour of the forecasts says anything of what follows it."""
    signal = refreshed(tmp_path, model=[450.0] * (MODELS_H - 1) + [last], past=measured())
    beyond = signal.values[MODELS_H:]
    assert last not in beyond
    expected = [usual_g(at(hour)) for hour in range(MODELS_H, HORIZON_H)]
    assert np.abs(beyond - expected).max() < 150
    assert [value < 300 for value in beyond] == [value == CLEAN for value in expected]

    # With that value for ever, six hours would be cleanest from there on, or never beyond it.
    found = decided(signal, time_limit_s=6 * 3600)
    assert found.start_utc is not None
    assert SUNDAY - timedelta(hours=3) <= found.start_utc <= SUNDAY


def test_where_nothing_is_known_nothing_is_planned(tmp_path: Path) -> None:
    """No past, so the signal ends with the provider's, and the job starts where it still covers."""
    signal = refreshed(tmp_path, provider=[500.0] * (PROVIDERS_H - 1) + [90.0])
    assert signal.end_utc == at(PROVIDERS_H)
    record = recorded(signal)
    assert (record.start_utc, record.signal) == (at(PROVIDERS_H - 1), "grid")
    assert decided(signal, time_limit_s=25 * 3600).reason == "signal-too-short"


def test_the_daemon_confirms_it_as_the_hook_told(tmp_path: Path) -> None:
    """The cycle decides by the same signal: Sunday, and its latest start in Slurm."""
    signal = refreshed(tmp_path, past=measured())
    record = recorded(signal)
    job = a_job(
        time_limit_s=3600, eligible_utc=NOW + timedelta(seconds=10), admin_comment=str(record)
    )
    outcome = cycle(
        an_observed(job, signal=signal),
        Memory(),
        rules(policy=PATIENT, hold_s=10.0, horizon_s=14 * DAY),
    )
    change = outcome.changes[job.job_id]
    confirmed = parse(change.admin_comment or job.admin_comment)
    assert confirmed is not None
    assert (confirmed.start_utc, confirmed.signal) == (SUNDAY, USUAL)
    assert change.begin_utc == confirmed.latest_utc
    assert confirmed.latest_utc <= record.latest_utc


def test_a_start_moved_into_the_forecast_names_the_forecast(tmp_path: Path) -> None:
    """Tonight turns out to be cleaner than Sunday usually is: the record says who says so."""
    record = recorded(refreshed(tmp_path, past=measured()))
    assert record.signal == USUAL
    job = a_job(time_limit_s=3600, eligible_utc=record.latest_utc, admin_comment=str(record))
    signal = refreshed(tmp_path, provider=[500.0] * 9 + [90.0] + [500.0] * 14, past=measured())
    outcome = cycle(
        an_observed(job, signal=signal),
        Memory(),
        rules(policy=PATIENT, hold_s=10.0, horizon_s=14 * DAY),
    )
    moved = parse(outcome.changes[job.job_id].admin_comment or "")
    assert moved is not None
    assert (moved.start_utc, moved.signal, moved.latest_utc) == (at(9), "grid", record.latest_utc)


GRAMS = st.floats(20.0, 900.0).map(lambda grams: round(grams, 1))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    provider=st.lists(GRAMS, min_size=PROVIDERS_H, max_size=PROVIDERS_H),
    model=st.lists(GRAMS, min_size=MODELS_H, max_size=MODELS_H),
    delay_h=st.integers(1, 7 * 24),
)
def test_whatever_the_forecasts_say_the_cleanest_hour_of_all_is_chosen(
    tmp_path_factory: pytest.TempPathFactory,
    provider: list[float],
    model: list[float],
    delay_h: int,
) -> None:
    """Forecast hours as forecast, the others as usual; the record names whose the start is."""
    place = tmp_path_factory.mktemp("site")
    signal = refreshed(place, provider=provider, model=model, past=measured())
    values = [*provider, *model[PROVIDERS_H:], *signal.values[MODELS_H:]]
    least = min(values[: delay_h + 1])

    found = decided(signal, comment=f"green:max-delay={delay_h}h")
    if not found.defer:
        assert found.reason == "clean-now"
        assert values[0] <= least * 1.05
        return
    assert found.start_utc is not None
    hour = (found.start_utc - NOW) / timedelta(hours=1)
    assert signal.mean(found.start_utc, found.start_utc + timedelta(hours=1)) <= least * 1.003
    whose = "grid" if hour < PROVIDERS_H else "forecast(grid)" if hour < MODELS_H else USUAL
    assert recorded(signal, comment=f"green:max-delay={delay_h}h").signal == whose
