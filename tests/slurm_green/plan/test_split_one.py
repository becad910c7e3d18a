# SPDX-License-Identifier: Apache-2.0
"""One job split in time: by hulls made once for many jobs, and by its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.plan.split_one import hulls_of, split_along, split_one

SLOTS, STEP_S = 12, 3600.0
RATE = np.array([0.8, 1.0, 1.9])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    early=st.floats(0, 11.5),
    span=st.floats(0.01, 14),
    hours=st.floats(0.01, 12),
)
def test_hulls_of_all_slots_do_for_every_window(seed, early, span, hours):
    """Whoever asks for some of the slots gets what hulls of those alone would give."""
    random = np.random.default_rng(seed)
    price = random.uniform(0.1, 1.0, (2, SLOTS))
    need = np.stack([random.uniform(200, 900, 3), np.array([1.0, 1.0, 2.0])], axis=1)
    asked = {"step_s": STEP_S, "work": hours * STEP_S, "early": early, "until": early + span}

    found = split_along(hulls_of(price, need, RATE), **asked)

    alone = split_one(price, need, RATE, **asked)
    assert (found is None) == (alone is None)
    if found is not None:
        assert found.cost_g == pytest.approx(alone.cost_g, rel=1e-12)
        assert [part.row for part in found.parts] == [part.row for part in alone.parts]
        np.testing.assert_allclose(found.parts, alone.parts, atol=1e-9)


def test_the_cheapest_slots_are_taken():
    """Two hours of work, and two cheap hours that are not neighbours."""
    price = np.full((1, SLOTS), 5.0)
    price[0, [3, 7]] = 1.0
    hulls = hulls_of(price, np.array([[1.0]]), np.array([1.0]))

    found = split_along(hulls, step_s=STEP_S, work=2 * STEP_S, early=1.0, until=12.0)

    assert found is not None
    assert [part[:2] for part in found.parts] == [(3.0, 4.0), (7.0, 8.0)]
    assert found.cost_g == pytest.approx(2 * STEP_S)


def test_hulls_need_not_begin_with_the_first_slot():
    """Hulls from slot 2 on serve who begins there or later."""
    price = np.arange(SLOTS, 0, -1.0)[None, :]
    hulls = hulls_of(price[:, 2:], np.array([[1.0]]), np.array([1.0]), 2)

    found = split_along(hulls, step_s=STEP_S, work=STEP_S, early=2.5, until=6.0)

    assert found is not None
    assert [part[:2] for part in found.parts] == [(5.0, 6.0)]
