# SPDX-License-Identifier: Apache-2.0
"""The journal: what comes back is what went in, and only one works with it."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from slurm_green.errors import BadInputError
from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.record import MoveRecord, Order, Step
from tests.slurm_green.migration.execute.world import World


def record(**changes: object) -> MoveRecord:
    return replace(World().journal.records["m1-abc"], **changes)  # type: ignore[arg-type]


def test_a_move_comes_back_as_it_went(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "journal")
    order = Order(options=("--time=1",), comment="c", script="#!/bin/sh\n", arguments=("a b",))
    one = record(order=order, signals_s=(1.5, 2.5)).at(Step.STOP, 3.0).back("why", 4.0)
    with journal.locked():
        journal.save(one)
        journal.save(record(token="m0-first", began_s=1.0))
    assert journal.load("m1-abc") == one
    assert [move.token for move in journal.all()] == ["m0-first", "m1-abc"]


def test_what_a_newer_version_wrote_beside_is_passed_over(tmp_path: Path) -> None:
    """After a way back to this one, what was begun is ended."""
    order = Order(options=(), comment="", script="")
    values = record(order=order).to_json()
    for one in (values, values["limits"], values["order"]):
        one["newer"] = 1
    (tmp_path / "m1-abc.json").write_text(json.dumps(values))
    assert Journal(tmp_path).all() == [record(order=order)]


def test_two_do_not_work_with_it_at_once(tmp_path: Path) -> None:
    with (
        Journal(tmp_path).locked(),
        pytest.raises(BadInputError, match="another"),
        Journal(tmp_path).locked(),
    ):
        pass


def test_a_command_that_outlives_us_keeps_it_locked(tmp_path: Path) -> None:
    """Else its work would be done twice."""
    with Journal(tmp_path).locked() as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(lock,))
    try:
        with (
            pytest.raises(BadInputError, match="a command that it started"),
            Journal(tmp_path).locked(),
        ):
            pass
    finally:
        child.kill()
        child.wait()
    with Journal(tmp_path).locked():
        pass


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"token": 1}', '{"step": "dance"}'])
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "m1.json").write_text(text)
    with pytest.raises(BadInputError, match=r"m1\.json: no "):
        Journal(tmp_path).all()


def test_a_name_is_no_path(tmp_path: Path) -> None:
    for name in ("../x", "", "a/b", "A", "x" * 65):
        with pytest.raises(BadInputError, match="names no move"):
            Journal(tmp_path).load(name)


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="journal"), Journal(tmp_path / "file" / "x").locked():
        pass
