# SPDX-License-Identifier: Apache-2.0
"""Orders from a file: root's only, checked, and only for the jobs that were asked for."""

import json
import os
from pathlib import Path

import pytest

from slurm_green.errors import BadInputError
from slurm_green.node.sgreend import FileSgreend, NoSgreend, parse_orders
from slurm_green.node.state import Cap, Orders, Plan

TEXT = b"""{"jobs": {"7": {"clock_mhz": 1095, "floor_mhz": 900}, "8": {"own": true}},
 "cap": {"power_limit_w": 400}, "written_utc": "2026-11-24T00:00:00Z"}"""


def test_only_the_jobs_asked_for() -> None:
    assert parse_orders(TEXT, "orders.json", [7, 9]) == Orders(
        {7: Plan(clock_mhz=1095, floor_mhz=900), 9: None}, Cap(power_limit_w=400)
    )
    assert parse_orders(TEXT, "orders.json", [8]).plans == {8: Plan(own=True)}


def test_every_word_of_a_plan_and_of_the_cap_may_be_there_or_unknown() -> None:
    plan = {"clock_mhz": 99_999, "floor_mhz": 0, "power_limit_w": 350.5, "own": False}
    cap = {"clock_mhz": 1095, "power_limit_w": 400}
    document = {"jobs": {"7": plan, "8": dict.fromkeys(plan)}, "cap": cap}
    found = parse_orders(json.dumps(document).encode(), "o", [7, 8])
    assert found == Orders({7: Plan(**plan), 8: Plan()}, Cap(**cap))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "orders.json: not JSON"),
        (b"[]", "orders.json: wanted"),
        (b'{"jobs": [1]}', "orders.json: wanted"),
        (b'{"jobs": {"7": 1095}}', "orders.json: jobs.7: 1095 is not a table of clock_mhz"),
        (b'{"jobs": {"7": {"mhz": 1}}}', "jobs.7: {'mhz': 1} is not a table of clock_mhz"),
        (b'{"jobs": {"7": {"clock_mhz": "1"}}}', "jobs.7.clock_mhz: '1' is not allowed"),
        (b'{"jobs": {"7": {"clock_mhz": true}}}', "jobs.7.clock_mhz: 'True' is not allowed"),
        (b'{"jobs": {"7": {"own": 1}}}', "jobs.7.own: '1' is not allowed"),
        (b'{"cap": {"power_limit_w": NaN}}', "cap.power_limit_w: 'nan' is not allowed"),
        (b'{"cap": {"clock_mhz": -1}}', "cap.clock_mhz: '-1' is not allowed"),
        (b'{"cap": {"clock_mhz": 100000}}', "cap.clock_mhz: '100000' is not allowed"),
    ],
)
def test_wrong_orders_are_refused(text: bytes, words: str) -> None:
    with pytest.raises(BadInputError) as error:
        parse_orders(text, "orders.json", [7])

    assert words in str(error.value)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    sgreend = FileSgreend(path)
    assert sgreend.orders([7]) == Orders({7: None})

    path.write_bytes(TEXT)
    assert set(sgreend.orders([7]).plans) == {7}
    path.chmod(0o664)
    with pytest.raises(BadInputError, match="only root may own it"):
        sgreend.orders([7])


def test_what_is_no_file_of_orders_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.mkdir()
    with pytest.raises(BadInputError, match=r"orders\.json: Is a directory"):
        FileSgreend(path).orders([7])
    path.rmdir()
    path.write_bytes(b" " * 4 * 2**20)
    with pytest.raises(BadInputError, match="not JSON"):
        FileSgreend(path).orders([7])
    path.write_bytes(TEXT.ljust(4 * 2**20 + 1))
    with pytest.raises(BadInputError, match=r"orders\.json: larger than 4 MiB"):
        FileSgreend(path).orders([7])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a file away")
def test_a_users_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_bytes(TEXT)
    os.chown(path, 65534, 65534)

    with pytest.raises(BadInputError, match="only root may own it"):
        FileSgreend(path).orders([7])


def test_nobody_wants_nothing() -> None:
    assert NoSgreend().orders([7]) == Orders({7: None})
    assert list(NoSgreend().report({"a": {}})) == []
