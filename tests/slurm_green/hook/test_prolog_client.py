# SPDX-License-Identifier: Apache-2.0
"""The prolog's client: what it sends, how long it listens, and that trouble is a line in syslog."""

import json
import os
import signal
import socket
import syslog
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from slurm_green.hook import prolog_client
from slurm_green.hook.prolog_client import LIMIT_S, ask, main, request

ENV = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "1000", "SLURM_JOB_GPUS": "0,1"}


class Noded:
    """Listens at `path`, hears who comes first, says `parts`, and stays until it is `over`."""

    def __init__(self, path: Path, parts: tuple[bytes, ...]) -> None:
        self.path = str(path)
        self.over = threading.Event()
        self._parts = parts
        self._heard = b""
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(self.path)
        self._door.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def heard(self) -> bytes:
        """What came, once it is over."""
        self.over.set()
        self._thread.join(60)
        return self._heard

    def close(self) -> None:
        self.over.set()
        self._door.shutdown(socket.SHUT_RDWR)  # nobody may have come
        self._thread.join(60)
        self._door.close()

    def _serve(self) -> None:
        try:
            peer, _ = self._door.accept()
        except OSError:
            return
        with peer:
            self._heard = peer.recv(4096)
            try:
                for part in self._parts:
                    peer.sendall(part)
            except OSError:
                pass  # it listens no more
            self.over.wait(60)


@pytest.fixture
def noded(tmp_path: Path) -> Iterator[Callable[..., Noded]]:
    made: list[Noded] = []

    def make(*parts: bytes) -> Noded:
        made.append(Noded(tmp_path / "s", parts))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What goes to syslog and to the timer that would end this process."""
    calls: list[Any] = []
    monkeypatch.setattr(syslog, "openlog", calls.append)
    monkeypatch.setattr(syslog, "syslog", lambda *given: calls.append(given))
    monkeypatch.setattr(signal, "setitimer", lambda *given: calls.append(given))
    return calls


def environ(**changes: str) -> "os._Environ[str]":
    return cast("os._Environ[str]", {**ENV, **changes})


def test_a_begin_names_user_and_gpus_and_an_end_the_job() -> None:
    before_s = time.monotonic()
    begin, end = request("begin", environ()), request("end", environ())
    assert begin.endswith(b"}\n")
    said = json.loads(begin)
    assert before_s <= said.pop("at_s") <= time.monotonic()
    assert said == {"op": "begin", "job": "7", "uid": "1000", "gpus": "0,1"}
    assert json.loads(end).keys() == {"op", "job", "at_s"}
    assert json.loads(end)["op"] == "end"


@pytest.mark.parametrize("name", ENV)
def test_what_slurm_does_not_say_is_not_guessed(name: str) -> None:
    values = {key: value for key, value in ENV.items() if key != name}
    with pytest.raises(KeyError, match=name):
        request("begin", cast("os._Environ[str]", values))


def test_an_answer_may_come_in_pieces(noded: Callable[..., Noded]) -> None:
    one = noded(b'{"ok":', b" true}", b"\n")
    assert ask(one.path, b"hello\n") == {"ok": True}
    assert one.heard() == b"hello\n"


def test_an_end_without_a_line_is_no_answer(noded: Callable[..., Noded]) -> None:
    one = noded(b'{"ok":')
    one.over.set()
    with pytest.raises(ValueError, match="Expecting value"):
        ask(one.path, b"hello\n")


def test_an_answer_without_an_end_is_cut_off(noded: Callable[..., Noded]) -> None:
    one = noded(b" " * 2**24)
    with pytest.raises(ValueError, match="Expecting value"):
        ask(one.path, b"hello\n")


def test_a_noded_that_hangs_is_told_before_the_kernel_ends_the_client(
    noded: Callable[..., Noded], told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(socket.socket):
        def settimeout(self, value: float | None) -> None:
            assert value is not None and 1.0 < value <= LIMIT_S - 0.2
            super().settimeout(0.1)

    one = noded()
    monkeypatch.setattr(prolog_client.socket, "socket", Impatient)
    assert main(["client", "begin", one.path], environ()) == 0
    assert told[-1] == (syslog.LOG_WARNING, "job 7: not told to sgreen-noded: timed out")


def test_what_went_well_is_no_news(noded: Callable[..., Noded], told: list[Any]) -> None:
    one = noded(b'{"ok": true}\n')
    assert main(["client", "begin", one.path], environ()) == 0
    assert told == [(signal.ITIMER_REAL, LIMIT_S)]
    assert LIMIT_S < 4  # then timeout(1) of prolog.sh ends it
    assert json.loads(one.heard())["gpus"] == "0,1"


@pytest.mark.parametrize(("op", "name"), [("begin", "sgreen-prolog"), ("end", "sgreen-epilog")])
def test_a_refusal_is_a_line_in_syslog(
    noded: Callable[..., Noded], told: list[Any], op: str, name: str
) -> None:
    one = noded(b'{"ok": false, "error": "GPU 5: the GPUs here are 0"}\n')
    assert main(["client", op, one.path], environ()) == 0
    line = "job 7: not told to sgreen-noded: GPU 5: the GPUs here are 0"
    assert told[1:] == [name, (syslog.LOG_WARNING, line)]


@pytest.mark.parametrize("argv", [[], ["client"], ["client", "begin"], ["client", "end", "/no"]])
def test_whatever_is_wrong_is_no_failure(argv: list[str], told: list[Any]) -> None:
    assert main(argv, environ()) == 0
    assert main(argv, cast("os._Environ[str]", {})) == 0
    lines = [one[1] for one in told if one[0] == syslog.LOG_WARNING]
    assert [line.partition(":")[0] for line in lines] == ["job 7", "job ?"]
