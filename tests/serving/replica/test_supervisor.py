# SPDX-License-Identifier: Apache-2.0
"""What a supervisor makes of a server that hangs, and of one whose place is lost."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from serving.replica import registered, supervisor
from serving.replica.command import Ask, Place
from serving.replica.machine import Event, Life, Rules, State
from serving.replica.probe import Flight
from serving.replica.process import ServerProcess
from serving.replica.registered import Registered, is_ready, sweep
from serving.replica.supervisor import Supervisor
from serving.router.registration import Registry
from slurm_green.errors import BadInputError, SlurmError


def made(tmp_path: Path) -> Supervisor:
    return Supervisor(
        name="r",
        ask=Ask(model="m"),
        place=lambda: Place(host="127.0.0.1", port=1, metrics_port=2, key="k"),
        shown=Registered(tmp_path / "replicas" / "r.json", "here"),
        log=tmp_path / "log",
        environ={},
    )


def bug() -> None:
    raise ValueError("a bug")


def until(one: Supervisor, state: State) -> None:
    while one.life.state is not state:
        for event in one._events():
            one._feed(event)


def test_requests_without_tokens_for_long_are_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: now_s)
    one = made(tmp_path)

    def stuck(requests: int, tokens: float, passed_s: float) -> bool:
        nonlocal now_s
        now_s += passed_s
        return one._stuck(Flight(requests, tokens))

    assert not stuck(1, 10.0, 0.0)
    assert not stuck(1, 10.0, 119.0)
    assert stuck(1, 10.0, 2.0)
    assert not stuck(1, 11.0, 1.0)
    assert not stuck(0, 11.0, 500.0)
    assert not stuck(1, 11.0, 100.0)


def test_a_slurm_that_is_slow_to_fail_holds_nothing_up(tmp_path: Path) -> None:
    one, answers, calls = made(tmp_path), threading.Event(), []

    def replacement() -> Callable[[], bool]:
        calls.append(one.life.state)
        assert answers.wait(60)
        if len(calls) == 1:
            raise SlurmError("sbatch: Unable to contact slurm controller")
        return lambda: True

    one.replacement, one._place = replacement, one.place()
    one.rules = Rules(again_s=0.0, lead_s=1800.0)
    one.life = Life(state=State.READY, until_s=float("inf"), healthy_s=time.monotonic())
    one._feed(Event.NEAR_END)  # and comes back
    answers.set()
    while one.life.state is State.READY:
        for event in one._events():
            one._feed(event)
    assert len(calls) == 2
    assert one.life.state is State.DRAINING


def test_a_start_that_fails_is_tried_again_once_it_went_before(tmp_path: Path) -> None:
    one, server = made(tmp_path), tmp_path / "server"
    one.ask = Ask(model="m", server=(str(server),))
    with pytest.raises(BadInputError, match="cannot be run"):
        one._feed(Event.TICK)
    server.write_text("#!/bin/sh\nexit 3\n")
    server.chmod(0o755)
    one.life = Life()
    until(one, State.STARTING)
    until(one, State.WAITING)
    server.unlink()  # a file server that is away
    one.life = Life()
    until(one, State.STARTING)
    until(one, State.WAITING)
    assert one.life.failures == 1


def test_a_replacement_that_is_still_asked_for_is_waited_for(tmp_path: Path) -> None:
    one, asked = made(tmp_path), []

    def replacement() -> None:
        while one.life.state is not State.ENDED:
            time.sleep(0.01)
        time.sleep(0.2)  # until sbatch has answered
        asked.append(one.name)

    one.replacement = replacement
    one.rules, one.life = Rules(lead_s=0.0), Life(until_s=float("inf"))
    one.tell(Event.NEAR_END)
    assert one.run() == 0
    assert asked == ["r"]


def test_a_start_that_meets_a_bug_is_a_start_that_failed(tmp_path: Path) -> None:
    """Not a replica that is starting for ever, without a process to end."""
    one = made(tmp_path)
    one.place = bug  # type: ignore[assignment]
    until(one, State.STARTING)
    until(one, State.WAITING)
    assert one.life.failures == 1


def test_a_log_that_cannot_be_is_no_end(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.log = tmp_path / "away" / "log"
    until(one, State.STARTING)
    until(one, State.WAITING)
    assert one.life.failures == 1


def test_what_fails_while_it_is_asked_hides_no_other_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = made(tmp_path)
    monkeypatch.setattr(one, "_asked", bug)
    one.tell(Event.END)
    assert one._events() == [Event.TICK, Event.END]
    one.ended = bug
    one._process = cast("ServerProcess", SimpleNamespace(status=3))
    assert one._events() == [Event.TICK, Event.EXITED]


def test_a_step_that_fails_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, fed = made(tmp_path), []

    def feed(event: Event) -> None:
        fed.append(event)
        if len(fed) == 1:
            bug()
        one.life = Life(state=State.ENDED)

    monkeypatch.setattr(one, "_feed", feed)
    assert one.run() == 0
    assert len(fed) == 2


def test_a_registration_is_ready_or_not_and_goes(tmp_path: Path) -> None:
    path = tmp_path / "replicas" / "r.json"
    one = Registered(path, "here")
    assert not is_ready(path)
    one.show("http://h:1", "m", "k", "ready")
    assert is_ready(path)
    assert path.stat().st_mode & 0o777 == 0o600
    one.show("http://h:1", "m", "k", "draining")
    assert not is_ready(path)
    path.write_text("{")
    assert not is_ready(path)
    one.hide()
    one.hide()
    assert not path.exists()


def test_on_a_full_disk_a_replica_that_is_well_stays_in_the_routers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, routers = Registered(tmp_path / "r.json", "here"), Registry(tmp_path, stale_s=60.0)
    told = ("http://h:1", "m", "k")
    one.show(*told, "ready")
    assert [each.url for each in routers.read(0.0)] == ["http://h:1"]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(registered, "write_registration", full)
        for now_s in range(5, 125, 5):
            time.sleep(0.01)  # what a file's time stamp tells apart
            one.show(*told, "ready")
            found = routers.read(float(now_s))
        assert [each.url for each in found] == ["http://h:1"]
        with pytest.raises(OSError, match="No space"):
            one.show(*told, "draining")  # the file says otherwise: it must not live on
        assert routers.read(181.0) == []
    one.show(*told, "draining")
    assert [each.state for each in routers.read(182.0)] == ["draining"]


def test_what_killed_replicas_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    large = '{"heartbeat_utc": "' + "x" * 70_000 + '"}'
    texts = ("{}", "[1]", "half {", large)
    theirs = {tmp_path / f"{at}.json": text for at, text in enumerate(texts)}
    pipe = tmp_path / "pipe.json"  # nobody writes to it
    os.mkfifo(pipe)
    os.utime(pipe, (1, 1))
    for path, age_s in ((old, 90_000), (new, 100)):
        Registered(path, "s").show("http://h:1", "m", "key", "ready")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    for path, text in theirs.items():  # the directory may be any
        path.write_text(text)
        os.utime(path, (1, 1))
    sweep(tmp_path, 1e9)
    sweep(tmp_path / "none", 1e9)
    assert set(tmp_path.iterdir()) == {new, pipe, *theirs}
