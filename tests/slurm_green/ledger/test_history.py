# SPDX-License-Identifier: Apache-2.0
"""The past's signal from rows of several grids."""

from slurm_green.ledger.history import SignalRow, assemble
from slurm_green.ledger.rows import utc

HALF = 1800.0


def row(half: float, value: float, *, step_s: float = HALF, issued_s: float = 0.0) -> SignalRow:
    """A slot that begins so many half hours after 00:15."""
    return SignalRow(
        start_utc=900 + half * HALF,
        step_s=step_s,
        value=value,
        provider="t",
        region="",
        unit="gCO2e/kWh",
        basis="average",
        scope="unknown",
        time_scale=1.0,
        issued_utc=issued_s,
    )


def values(*rows: SignalRow, begin: float, end: float) -> list[float] | None:
    """What is known from `begin` to `end`, in half hours after 00:15."""
    found = assemble(rows, utc(900 + begin * HALF), utc(900 + end * HALF))
    return None if found is None else [found.at(utc(s + 1)) for s in found.edges_s[:-1]]


def test_hours_that_are_shifted_against_each_other() -> None:
    hours = [row(0, 1.0, step_s=2 * HALF), row(1, 2.0, step_s=2 * HALF, issued_s=1.0)]
    assert values(*hours, begin=0, end=3) == [1.0, 2.0, 2.0]
    assert values(*hours[::-1], begin=0, end=3) == [1.0, 2.0, 2.0], "the later issue, told first"


def test_a_span_that_begins_within_an_hour() -> None:
    """The hour counts for its second half; what ended before the span does not, however new."""
    rows = [row(0, 1.0, step_s=2 * HALF), *(row(n, float(n)) for n in range(2, 6))]
    before = row(-1, 9.0, issued_s=1.0)
    assert values(*rows, before, begin=1, end=6) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_span_of_no_length_has_its_slot() -> None:
    assert values(row(0, 1.0), begin=0, end=0) == [1.0]
