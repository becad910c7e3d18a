# SPDX-License-Identifier: Apache-2.0
"""A job's joules from two readings, what they are called, and when they are not known."""

import pytest

from profiling.device.gpu import Identity
from slurm_green.node.energy import source_of, used_j


@pytest.mark.parametrize(
    ("begin", "end", "elapsed_s", "why"),
    [
        ({"a": 1.0, "b": None}, {"a": 2.0, "b": 9.0}, 60.0, "b told no counter"),
        ({"a": 1.0, "b": 1.0}, {"a": 2.0, "b": None}, 60.0, "b told no counter"),
        ({"a": 1.0}, {}, 60.0, "a told no counter"),
        ({"a": 5.0}, {"a": 4.0}, 60.0, "the counter of a was reset"),
        ({"a": 5.0}, {"a": 5.0}, 60.0, "the counter of a stood still"),
    ],
)
def test_one_gpu_that_does_not_tell_makes_all_unknown(
    begin: dict[str, float | None], end: dict[str, float | None], elapsed_s: float, why: str
) -> None:
    assert used_j(begin, end, elapsed_s) == (None, why)


def test_between_two_movements_of_its_counter_a_job_used_nothing() -> None:
    assert used_j({"a": 5.0}, {"a": 5.0}, 0.05) == (0.0, "")


def identity(vendor: str, driver: str = "550.54") -> Identity:
    return Identity(uuid="u", name="n", vendor=vendor, driver=driver, index=0)


def test_one_emulated_gpu_makes_all_of_it_emulated() -> None:
    nvidia = identity("nvidia")
    assert source_of([nvidia, identity("amd")]) == "amdsmi-counter+nvml-counter"
    assert source_of([nvidia, identity("nvidia", "emulated 1.0")]) == "emulated"
    assert source_of([]) == "unknown"
