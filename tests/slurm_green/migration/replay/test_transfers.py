# SPDX-License-Identifier: Apache-2.0
"""Transfers on one link arrive, however fast it is and however late."""

from hypothesis import example, given
from hypothesis import strategies as st

from slurm_green.migration.replay.transfers import Transfer, Wire


@given(
    st.floats(0.0, 1e9),
    st.floats(1e3, 1e12),
    st.lists(st.floats(0.0, 1e13), min_size=1, max_size=5),
)
@example(1_104_330.5087, 1e10, [1.1])
def test_all_arrive_in_as_many_steps_as_there_are(now_s, bytes_per_s, sizes):
    """A rest that takes no time, as far as a clock can tell, would be waited for without end."""
    wire = Wire(bytes_per_s=bytes_per_s, now_s=now_s)
    wire.active = [
        Transfer(job=job, left_bytes=left_bytes, due_s=float("inf"))
        for job, left_bytes in enumerate(sizes)
    ]
    for _ in range(2 * len(sizes)):
        wire.advance(wire.next_s())
        wire.arrived()
        if not wire.active:
            break
    assert not wire.active
    # None is early by more than its last byte, or the clock's resolution, takes.
    least_s = sum(max(size - 1.0, 0.0) for size in sizes) / bytes_per_s
    assert wire.now_s >= now_s + 0.999 * least_s - 1e-5
