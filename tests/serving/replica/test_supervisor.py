# SPDX-License-Identifier: Apache-2.0
"""What a supervisor makes of a server that hangs, and of one whose place is lost."""

import os
from pathlib import Path

import pytest

from serving.replica import supervisor
from serving.replica.command import Ask, Place
from serving.replica.probe import Flight
from serving.replica.registered import Registered, is_ready, sweep
from serving.replica.supervisor import Supervisor


def made(tmp_path: Path) -> Supervisor:
    return Supervisor(
        name="r",
        ask=Ask(model="m"),
        place=lambda: Place(host="127.0.0.1", port=1, metrics_port=2, key="k"),
        shown=Registered(tmp_path / "replicas" / "r.json", "here"),
        log=tmp_path / "log",
        environ={},
    )


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


def test_what_killed_replicas_left_goes_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    for path, age_s in ((old, 90_000), (new, 100)):
        path.write_text("{}")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    sweep(tmp_path, 1e9)
    sweep(tmp_path / "none", 1e9)
    assert list(tmp_path.iterdir()) == [new]
