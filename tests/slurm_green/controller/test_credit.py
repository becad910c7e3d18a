# SPDX-License-Identifier: Apache-2.0
"""Points for the age a deferred job would have had."""

import pytest
from builders import DAY, at, info, job

from slurm_green.controller.credit import credit_for, shape_of


def points(hours: float, *, most_s: float = 7 * DAY, **fields: object) -> int | None:
    found = credit_for(job(), info(**fields), now_utc=at(hours), max_credit_s=most_s)
    return None if found is None else found.points


def test_points_are_slurms_own_age_points() -> None:
    assert points(12) == int(1000 * 12 / (7 * 24))
    assert points(12, priority_weight_age=100_000, priority_max_age_s=86400) == 50_000


def test_points_are_capped() -> None:
    assert points(24 * 30) == 1000
    assert points(24 * 30, most_s=DAY) == 142
    assert points(48, priority_max_age_s=86400) == 1000


@pytest.mark.parametrize(
    "fields",
    [
        {"priority_type": "priority/basic"},
        {"priority_weight_age": 0},
        {"priority_flags": frozenset({"ACCRUE_ALWAYS", "MAX_TRES"})},
        {"priority_weight_age": 1},
    ],
)
def test_none_where_age_counts_anyway_or_not_at_all(fields: dict) -> None:
    assert points(12, **fields) is None


def test_none_before_submission_or_without_it() -> None:
    assert points(-1) is None
    unknown = job(submit_utc=None)
    assert credit_for(unknown, info(), now_utc=at(9), max_credit_s=DAY) is None


@pytest.mark.parametrize(
    "change",
    [{"nodes": 2}, {"cpus": 5}, {"gpus": 2}, {"time_limit_s": 1}, {"qos": "x"}, {"partition": "x"}],
)
def test_a_shape_is_size_time_qos_and_partition(change: dict) -> None:
    assert shape_of(job(**change)) != shape_of(job())
    assert shape_of(job(name="other", comment="x", priority=9)) == shape_of(job())
