# SPDX-License-Identifier: Apache-2.0
"""The latest start: what binds it, and that a deadline always leaves run time and margin."""

from datetime import UTC, datetime, timedelta

import pytest
from builders import HOUR, NOW, at, policy, request
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.hook.options import Options
from slurm_green.hook.promise import promise_for


@pytest.mark.parametrize(
    ("deadline", "words", "site", "latest", "binding", "marked"),
    [
        (None, Options(), policy(), 12, "default-delay", False),
        (None, Options(max_delay_s=3 * HOUR), policy(), 3, "max-delay", True),
        (None, Options(max_delay_s=20 * HOUR), policy(), 20, "max-delay", True),
        (None, Options(max_delay_s=40 * HOUR), policy(), 24, "max-delay", True),
        (at(10), Options(), policy(), 7.5, "deadline", True),
        (at(20), Options(), policy(), 17.5, "deadline", True),
        (at(10), Options(deadline_utc=at(6)), policy(), 3.5, "deadline", True),
        (at(10), Options(max_delay_s=HOUR), policy(), 1, "max-delay", True),
        (None, Options(deadline_utc=at(90)), policy(), 24, "max-delay", True),
        (at(10), Options(), policy(default_delay_s=0), 7.5, "deadline", True),
    ],
)
def test_what_binds(
    deadline: datetime | None,
    words: Options,
    site: object,
    latest: float,
    binding: str,
    marked: bool,
) -> None:
    found = promise_for(
        request(deadline_utc=deadline), words, site, run_s=2 * HOUR, margin_s=HOUR / 2
    )
    assert found is not None
    assert (found.latest_utc, found.binding, found.marked) == (at(latest), binding, marked)


def test_nobody_gave_slack() -> None:
    nothing = policy(default_delay_s=0)
    assert promise_for(request(), Options(), nothing, run_s=1, margin_s=1) is None


# The years 1 to 9999.
far = st.integers(-62_135_500_000, 253_402_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))


@given(far, st.floats(0, 1e15), st.floats(0, 1e9), st.none() | st.floats(0, 3e9))
def test_the_latest_start_leaves_run_and_margin_however_absurd(
    deadline: datetime, run_s: float, margin_s: float, delay_s: float | None
) -> None:
    words = Options(max_delay_s=delay_s)
    found = promise_for(
        request(deadline_utc=deadline), words, policy(), run_s=run_s, margin_s=margin_s
    )
    assert found is not None
    assert found.latest_utc <= NOW + timedelta(days=1)
    wanted_s = deadline.timestamp() - run_s - margin_s
    assert found.latest_utc.timestamp() <= max(wanted_s, 0.0) + 1e-3
