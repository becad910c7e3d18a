# SPDX-License-Identifier: Apache-2.0
"""The thread that sets clocks: never waited for, latest wish first, renewed, and given back."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.clocks import setter as module
from serving.clocks.protocol import ClocksError
from serving.clocks.setter import Setter


class Fake:
    """GPUs that tell what was set; `broken` fails, `gate` holds up whoever sets."""

    def __init__(self, renew_s: float | None = None) -> None:
        self.renew_s = renew_s
        self.calls: list[int | None] = []
        self.broken = False
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()

    def set(self, clock_mhz: int) -> int | None:
        self._call(clock_mhz)
        return clock_mhz

    def release(self) -> None:
        self._call(None)

    def close(self) -> None:
        self.closed = True

    def _call(self, wish: int | None) -> None:
        self.gate.wait(60)
        if self.broken:
            raise ClocksError("nobody there")
        self.calls.append(wish)


@contextmanager
def running(fake: Fake, **options: float) -> Iterator[Setter]:
    one = Setter(fake, **options)  # type: ignore[arg-type]
    try:
        yield one
    finally:
        fake.gate.set()
        one.close(60)


def until(met: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_wishes_do_not_wait_and_the_latest_wins() -> None:
    fake = Fake()
    with running(fake) as one:
        fake.gate.clear()
        one.ask(900)
        until(lambda: one.pending)
        begun_s = time.monotonic()
        for mhz in (1000, 1100, 1200):
            one.ask(mhz)
        assert time.monotonic() - begun_s < 30
        fake.gate.set()
        until(lambda: one.holds_mhz == 1200 and not one.pending)
    assert fake.calls[-2:] == [1200, None]
    assert 1000 not in fake.calls
    assert 1100 not in fake.calls
    assert fake.closed


def test_a_lease_is_renewed_and_an_idle_engine_parks_and_wakes() -> None:
    fake = Fake(renew_s=0.02)
    with running(fake) as one:
        one.work()
        one.ask(1200)
        until(lambda: fake.calls.count(1200) >= 3)
        one.rest((0.05, 210))
        until(lambda: one.holds_mhz == 210)
        one.work()  # the same wish as before
        one.ask(1200)
        until(lambda: one.holds_mhz == 1200)


def test_what_fails_is_tried_again_and_nobody_claims_to_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_FIRST_BACK_OFF_S", 0.02)
    fake = Fake(renew_s=0.02)
    with running(fake) as one:
        one.ask(1200)
        until(lambda: one.holds_mhz == 1200)
        fake.broken = True
        until(lambda: one.failures >= 2)
        assert one.holds_mhz is None
        assert [one.getMessage() for one in caplog.records] == ["clocks unknown: nobody there"]
        fake.broken = False
        until(lambda: one.holds_mhz == 1200)


def test_an_engine_that_hangs_is_not_kept_slow() -> None:
    fake = Fake(renew_s=0.02)
    with running(fake, hung_s=0.1) as one:
        one.ask(500)

        def works(since: int) -> bool:
            one.work()  # again and again: a step that ended a tenth of a second ago is old
            return 500 in fake.calls[since:]

        until(lambda: works(0))
        until(lambda: fake.calls[-1] is None)
        released = len(fake.calls)
        until(lambda: works(released))


def test_an_engine_that_hangs_at_its_first_work_for_long_is_not_kept_slow() -> None:
    fake = Fake()  # whose clocks stay without being renewed
    with running(fake, hung_s=0.1) as one:
        one.ask(500)
        until(lambda: 500 in fake.calls)
        until(lambda: one._awake._cond._waiters)  # type: ignore[attr-defined]
        one.work()
        until(lambda: fake.calls[-1] is None, 10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(200, 2000), st.just("break"), st.just("mend"))))
def test_whatever_happens_the_last_word_is_release(steps: list[object]) -> None:
    fake = Fake(renew_s=0.01)
    with running(fake) as one:
        for step in steps:
            if isinstance(step, str):
                fake.broken = step == "break"
            else:
                one.ask(step)  # type: ignore[arg-type]
        fake.broken = False
    assert fake.calls[-1] is None
    assert fake.closed
