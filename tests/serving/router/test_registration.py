# SPDX-License-Identifier: Apache-2.0
"""Registrations: whole files, hearts that beat whatever their clocks say, and nonsense."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.router.config import loads
from serving.router.registration import Registration, Registry, write_registration
from slurm_green.errors import BadInputError

ONE = Registration(url="http://node1:8001", model="m", site="a", key="its-own-key")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def test_what_is_written_is_read_and_secret(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    write_registration(path, ONE, NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(path.read_text())) == {
        "url", "model", "site", "key", "state", "heartbeat_utc",
    }  # fmt: skip
    assert Registry(tmp_path, 10.0).read(0.0) == [ONE]


@pytest.mark.parametrize("model", ["/data/models/llama-8b", "./m", "org/m@v1+x", "modèle"])
def test_a_model_has_whatever_name_vllm_serves_it_under(tmp_path: Path, model: str) -> None:
    one = replace(ONE, model=model)
    write_registration(tmp_path / "one.json", one, NOW)
    assert Registry(tmp_path, 10.0).read(0.0) == [one]
    text = f'[[replica]]\nurl = "http://h:1"\nmodel = "{model}"\n[[model]]\nname = "{model}"\n'
    assert loads(text).replica[0].model == model
    for more in (" x", "\udcff"):  # the second: a name of a file that is no UTF-8
        with pytest.raises(BadInputError, match="without blanks"):
            write_registration(tmp_path / "one.json", replace(ONE, model=model + more), NOW)


def test_nobody_else_can_open_it_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, fchmod = [], os.fchmod

    def spied(handle: int, mode: int) -> None:
        modes.append(mode)
        fchmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", spied)
    write_registration(tmp_path / "one.json", ONE, NOW)
    assert modes == [0o600]


@pytest.mark.parametrize("skew", [timedelta(hours=-5), timedelta(0), timedelta(days=400)])
def test_a_heart_that_beats_is_alive_by_any_clock(tmp_path: Path, skew: timedelta) -> None:
    path, registry = tmp_path / "one.json", Registry(tmp_path, 10.0)
    for second in range(0, 40, 5):
        write_registration(path, ONE, NOW + skew + timedelta(seconds=second))
        assert registry.read(1000.0 + second) == [ONE]
    assert registry.read(1045.0) == [ONE]
    assert registry.read(1046.0) == []
    write_registration(path, ONE, NOW + skew)
    assert registry.read(1050.0) == [ONE]
    path.unlink()
    assert registry.read(1051.0) == []


def test_a_file_that_cannot_be_read_for_a_while_is_a_heart_that_does_not_beat(
    tmp_path: Path,
) -> None:
    path, registry = tmp_path / "one.json", Registry(tmp_path, 10.0)
    write_registration(path, ONE, NOW)
    assert registry.read(0.0) == [ONE]
    path.unlink()
    path.symlink_to(path)  # as a file server that says ESTALE
    assert registry.read(10.0) == [ONE]
    assert "cannot be read" in registry.faults["one.json"]
    assert registry.read(10.5) == []
    write_registration(path, ONE, NOW)
    assert registry.read(11.0) == [ONE]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"url": "http://h:1"}', '{"url": 3, "model": "m"}', "\xff",
        json.dumps({"url": "http://h:1/x y", "model": "m", "site": "s", "state": "ready"}),
        json.dumps({"url": "http://h:1", "model": "m", "site": "s", "state": "asleep"}),
        json.dumps({"url": "http://h:1", "model": "m", "site": "s", "state": "ready", "key": " "}),
        json.dumps({"url": "http://h:1", "model": "m", "site": "s", "state": "ready", "key": 3}),
        " " * 70_000,
    ],
)  # fmt: skip
def test_nonsense_is_named_and_hurts_nobody_else(tmp_path: Path, text: str) -> None:
    write_registration(tmp_path / "good.json", ONE, NOW)
    (tmp_path / "bad.json").write_text(text, encoding="latin-1")
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "dir.json").mkdir()
    registry = Registry(tmp_path, 10.0)
    assert registry.read(0.0) == [ONE]
    assert set(registry.faults) == {"bad.json", "dir.json"}


def test_a_mistake_is_refused_before_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="wanted http://HOST:PORT"):
        write_registration(tmp_path / "x.json", Registration(url="h:1", model="m", site="a"), NOW)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError):
        Registry(tmp_path / "none", 1.0).read(0.0)
