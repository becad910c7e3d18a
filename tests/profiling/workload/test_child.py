# SPDX-License-Identifier: Apache-2.0
"""An engine in a child: orders and answers, and what remains when it goes wrong: nothing."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE
from profiling.device.gpu import Identity
from profiling.errors import ProfileError, ProfilingError
from profiling.workload.child import ChildWorkload, environment, pace
from profiling.workload.host import serve
from profiling.workload.protocol import Load, Steps

pytestmark = pytest.mark.slow

LOAD = Load(phase="decode", batch=2, context_tokens=3)


def _open(wrong: str = "") -> ChildWorkload:
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), str(Path.cwd()))),
    }
    return ChildWorkload("stand-in", "stand_in_engine:StandIn", {"wrong": wrong, "pace": None}, env)


def _gone(group: int) -> bool:
    """Whether nothing of a session is alive; init reaps what is killed a moment later."""
    for _ in range(1000):
        alive = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                alive += [stat] if fields[2] == str(group) and fields[0] != "Z" else []
        if not alive:
            return True
    return False


@pytest.fixture
def child() -> Iterator[ChildWorkload]:
    made = _open()
    yield made
    made.close()


def test_it_answers_as_its_engine_does_and_leaves_nothing(child: ChildWorkload) -> None:
    assert child.facts == {"engine_name": "stand-in"}
    assert child.limits == {"kv_tokens": 7}
    assert list(child.loads()) == [LOAD]
    child.start(LOAD)
    assert child.run(0.5) == Steps(count=3, units=6.0, begin_s=1.0, end_s=1.5)
    child.stop()
    group = child.pid
    assert group is not None
    child.close()
    assert _gone(group)
    child.close()


def test_what_an_engine_refuses_is_one_line_and_it_goes_on(child: ChildWorkload) -> None:
    with pytest.raises(ProfilingError, match=r"^stand-in, start: 9 is too much$"):
        child.start(Load(phase="decode", batch=9, context_tokens=3))
    child.start(LOAD)


def test_a_child_that_does_not_come_up_says_what_it_came_from() -> None:
    with pytest.raises(ProfilingError, match=r"^stand-in, open: OSError: no room$"):
        _open("open")


def test_a_child_that_dies_is_named_with_its_last_words_and_comes_back() -> None:
    child = _open("run")
    group = child.pid
    assert group is not None
    child.start(LOAD)
    with pytest.raises(ProfilingError, match=r"ended by SIGKILL; .*out of memory, cruel world$"):
        child.run(1.0)
    assert _gone(group)
    with pytest.raises(ProfilingError, match="not running"):
        child.run(1.0)
    child.stop()
    child.start(LOAD)
    assert child.pid not in (None, group)
    child.close()


def test_an_engine_that_breaks_is_replaced(child: ChildWorkload) -> None:
    group = child.pid
    assert group is not None
    with pytest.raises(ProfilingError, match=r"^stand-in, start: ZeroDivisionError: "):
        child.start(Load(phase="decode", batch=0, context_tokens=3))
    assert _gone(group)
    child.start(LOAD)
    assert child.pid not in (None, group)


def test_an_engine_ends_with_the_stream() -> None:
    closed = threading.Event()

    class Engine:
        def __init__(self) -> None:
            self.facts: dict[str, str] = {}
            self.limits: dict[str, int] = {}

        def loads(self) -> list[Load]:
            return []

        def close(self) -> None:
            closed.set()

    here, there = socket.socketpair()
    host = threading.Thread(target=serve, args=(there, lambda order: Engine()))
    host.start()
    here.sendall(b'{"do": "open"}\n')
    assert here.recv(4096) == b'{"facts": {}, "limits": {}, "loads": []}\n'
    here.sendall(b'{"do": "dance"}\n')
    assert b"no such order" in here.recv(4096)
    here.close()
    host.join(10)
    there.close()
    assert closed.is_set()


def test_an_emulated_gpu_needs_its_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated, real = _Gpu("nvidia", "580.0.emulated"), _Gpu("nvidia", "580.1")
    monkeypatch.delenv(STATE_VARIABLE, raising=False)
    assert pace([real]) is None  # type: ignore[list-item]
    with pytest.raises(ProfileError, match=STATE_VARIABLE):
        pace([emulated])  # type: ignore[list-item]
    monkeypatch.setenv(STATE_VARIABLE, "/run/gpus")
    assert pace([emulated]) == {"state": "/run/gpus", "gpus": [[3, "x"]]}  # type: ignore[list-item]


class _Gpu:
    def __init__(self, vendor: str, driver: str) -> None:
        self.identity = Identity(uuid="GPU-1", name="x", vendor=vendor, driver=driver, index=3)


@pytest.mark.parametrize(
    ("vendor", "driver", "name", "seen"),
    [
        ("nvidia", "580.1", "CUDA_VISIBLE_DEVICES", "GPU-1"),
        ("nvidia", "580.0.emulated", "CUDA_VISIBLE_DEVICES", ""),
        ("amd", "6.3", "HIP_VISIBLE_DEVICES", "3"),
    ],
)
def test_a_child_sees_the_gpus_of_its_load_and_no_emulated_one(
    vendor: str, driver: str, name: str, seen: str
) -> None:
    assert environment([_Gpu(vendor, driver)])[name] == seen  # type: ignore[list-item]
