# SPDX-License-Identifier: Apache-2.0
"""The published file: written in one step, within what the courier can use."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_green.hook.published import Published, PublishedError, Row, write_published

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FULL = Published(
    published_utc=NOW,
    valid_until_utc=NOW + timedelta(minutes=10),
    slurm_uid=64030,
    user_may_pull=False,
    record_field="comment",
    comment_prefix="eco:",
    excluded_users=("eve", "a\tb"),
    excluded_accounts=("rush",),
    excluded_qos=("urgent",),
    rows=(
        Row(
            partition="main",
            max_gpus=4,
            max_length_s=3600,
            hold_s=10,
            latest_in_s=7200,
            start_utc=NOW + timedelta(hours=1),
            message="100% greener\nreally",
        ),
    ),
)


def test_it_is_written_whole_and_for_everybody_to_read(tmp_path: Path):
    path = tmp_path / "hook.plan"
    plain = Published(published_utc=NOW, valid_until_utc=NOW, slurm_uid=0)
    for published in (FULL, plain):
        write_published(path, published)
        assert path.read_text(encoding="ascii") == str(published)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hook.plan"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_place_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(PublishedError, match="cannot be written"):
        write_published(tmp_path / "nowhere" / "hook.plan", FULL)
    (tmp_path / "hook.plan").mkdir()
    with pytest.raises(PublishedError, match="cannot be written"):
        write_published(tmp_path / "hook.plan", FULL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["hook.plan"]


def test_what_the_courier_could_not_use_is_never_published(tmp_path: Path):
    wrong = Published(published_utc=NOW, valid_until_utc=NOW, slurm_uid=0, record_field="name")
    with pytest.raises(PublishedError, match="admin_comment, comment, extra"):
        write_published(tmp_path / "hook.plan", wrong)
    huge = Published(published_utc=NOW, valid_until_utc=NOW, slurm_uid=0, rows=FULL.rows * 2000)
    with pytest.raises(PublishedError, match="fewer rows"):
        write_published(tmp_path / "hook.plan", huge)
