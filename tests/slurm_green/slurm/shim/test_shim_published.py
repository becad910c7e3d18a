# SPDX-License-Identifier: Apache-2.0
"""mode="published": the decision is read from the file sgreend wrote."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.hook.published import Published, Row, write_published
from slurm_green.hook.record import parse

NOW = datetime.now(UTC).replace(microsecond=0)
START = NOW + timedelta(hours=1)


def row(**changes):
    values = {
        "partition": "main",
        "max_gpus": 4,
        "max_length_s": 3600,
        "hold_s": 10,
        "latest_in_s": 7200,
        "start_utc": START,
        "message": "100% greener",
    }
    return Row(**{**values, **changes})


@pytest.fixture
def reading(shim):
    """A courier in published mode, and a way to publish."""
    shim.configure(mode="published")

    def publish(**changes):
        values = {
            "published_utc": NOW,
            "valid_until_utc": NOW + timedelta(days=1),  # NOW is when tests were collected
            "slurm_uid": 0,
            "rows": (row(),),
        }
        write_published(shim.published, Published(**{**values, **changes}))
        return shim

    return publish


PLAIN = {"time_limit": 60, "tres_per_node": "gres:gpu:h100:2", "min_nodes": 2}


def test_a_plain_job_takes_the_first_row_that_fits(reading):
    shim = reading(rows=(row(max_gpus=1, message="small"), row(), row(message="never")))
    before = datetime.now(UTC).replace(microsecond=0)
    result = shim.submit(**PLAIN)
    took_s = (datetime.now(UTC) - before).total_seconds()
    hold_s = int(result.fields["begin_time"]) - before.timestamp()
    assert 10 <= hold_s <= 11 + took_s
    assert result.user == ["100% greener"]
    record = parse(result.fields["admin_comment"].decode())
    assert record is not None
    assert record.start_utc == START
    assert 7200 <= (record.latest_utc - before).total_seconds() <= 7201 + took_s
    assert record.policy == "published"


def test_tokens_differ(reading):
    shim = reading()
    records = {
        parse(shim.submit(**PLAIN).fields["admin_comment"].decode()).token for _ in range(50)
    }
    assert len(records) == 50


@pytest.mark.parametrize(
    "changes",
    [
        {"time_limit": 61},
        {"time_limit": 4294967294},
        {"time_limit": 4294967295},
        {"min_nodes": 3},
        {"partition": "other"},
        {"partition": "main,other"},
        {"comment": "x green:max-delay=1h"},
        {"array_inx": "0-3"},
        {"dependency": "singleton"},
        {"reservation": "r"},
        {"tres_per_socket": "gres/gpu:1"},
        {"tres_per_job": "gres/gpu=5"},
        {"tres_per_task": "gres/gpu:1", "num_tasks": 5},
        {"script": "#!/bin/sh\n#SBATCH --deadline=16:00\n"},
        {"user_name": "eve"},
        {"account": "rush"},
        {"default_account": "rush"},
        {"qos": "urgent"},
    ],
)
def test_what_is_not_plain_passes(reading, changes):
    shim = reading(excluded_users=("eve",), excluded_accounts=("rush",), excluded_qos=("urgent",))
    assert shim.submit(**{**PLAIN, **changes}).unchanged
    assert not shim.submit(**PLAIN).unchanged


@pytest.mark.parametrize(
    "changes",
    [
        {"valid_until_utc": NOW - timedelta(seconds=1)},
        {"rows": ()},
        {"rows": (row(hold_s=900),)},
        {"rows": (row(latest_in_s=5),)},
        {"rows": (row(message="\x1b[31m"),)},
    ],
    ids=["stale", "empty", "hold-too-long", "latest-before-hold", "message"],
)
def test_what_the_file_must_not_say_changes_nothing(reading, changes):
    assert reading(**changes).submit(**PLAIN).unchanged


@pytest.mark.parametrize("keep", [0, 10, 100, -1])
def test_a_file_cut_short_changes_nothing(reading, keep):
    shim = reading()
    shim.published.write_bytes(shim.published.read_bytes()[:keep])
    assert shim.submit(**PLAIN).unchanged


def test_without_a_file_jobs_pass(reading, shim):
    assert shim.submit(**PLAIN).unchanged
