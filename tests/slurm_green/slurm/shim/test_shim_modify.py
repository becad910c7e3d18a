# SPDX-License-Identifier: Apache-2.0
"""slurm_job_modify: who may pull a deferred job earlier. It writes nothing, ever (the harness
fails where it does)."""

from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.hook.published import Published, write_published

SUCCESS, ERROR = 0, -1
NOW = datetime.now(UTC).replace(microsecond=0)
LATEST = NOW + timedelta(hours=6)
RECORD = (
    f"tag=1 green:v1 id=0123456789ab decided={NOW:%Y-%m-%dT%H:%M:%SZ}"
    f" start={NOW:%Y-%m-%dT%H:%M:%SZ} latest={LATEST:%Y-%m-%dT%H:%M:%SZ}"
    " workers=- clock=- by=lowest-window save_g=12 sig=csv@3s"
)
START_NOW = {"begin_time": int(NOW.timestamp())}


@pytest.fixture
def strict(shim):
    """A site where users may not pull."""
    publish(shim, user_may_pull=False)
    return shim


def publish(shim, **values):
    write_published(
        shim.published,
        Published(published_utc=NOW, valid_until_utc=NOW, slurm_uid=64030, **values),
    )


def test_a_user_may_not_pull_where_the_site_says_so(strict):
    assert strict.modify(START_NOW, RECORD) == ERROR
    assert "does not let users" in strict.last.user[0]


@pytest.mark.parametrize("uid", [0, 64030], ids=["root", "SlurmUser"])
def test_root_and_slurm_user_are_never_asked(strict, uid):
    assert strict.modify(START_NOW, RECORD, uid=uid) == SUCCESS


@pytest.mark.parametrize(
    ("wanted", "record"),
    [
        ({"name": "x"}, RECORD),
        ({"begin_time": 0}, RECORD),
        ({"begin_time": int(LATEST.timestamp())}, RECORD),
        (START_NOW, ""),
        (START_NOW, "green:v1 id=1"),
        (START_NOW, "green:v1 latest=soon"),
        (START_NOW, RECORD.replace(f"{LATEST:%Y-%m-%dT}", "2001-01-01T")),
    ],
    ids=["other", "unset", "later", "not-ours", "no-promise", "malformed", "already-eligible"],
)
def test_everything_else_passes(strict, wanted, record):
    assert strict.modify(wanted, record) == SUCCESS


def test_the_last_record_counts(strict):
    over = RECORD.replace(f"{LATEST:%Y-%m-%dT}", "2001-01-01T")
    assert strict.modify(START_NOW, f"{over} {RECORD}") == ERROR
    assert strict.modify(START_NOW, f"{RECORD} {over}") == SUCCESS


@pytest.mark.parametrize("latest", ["2096-02-29T23:59:59Z", "2097-03-01T00:00:00Z"])
def test_promises_are_read_as_utc_on_any_day(strict, latest):
    at = int(datetime.fromisoformat(latest).timestamp())
    record = f"green:v1 id=1 latest={latest}"
    assert strict.modify({"begin_time": at - 1}, record) == ERROR
    assert strict.modify({"begin_time": at}, record) == SUCCESS


def test_pulling_is_allowed_by_default_and_without_the_file(shim):
    assert shim.modify(START_NOW, RECORD) == SUCCESS
    publish(shim)
    shim.configure(published=str(shim.published) + "/../hook.plan")  # a new path is read at once
    assert shim.modify(START_NOW, RECORD) == SUCCESS


@pytest.mark.parametrize("content", ["", "sgreen-hook 1\nuser_may_pull\t0\n", "\x00\xff", "end\n"])
def test_a_broken_file_allows(shim, content):
    shim.published.write_text(content)
    assert shim.modify(START_NOW, RECORD) == SUCCESS


def test_an_error_inside_lets_the_change_pass(strict):
    result = strict.run("return {code=green.modify(nil, nil, nil, 1001)}")
    assert result.fields == {"code": b"0"}
    assert "the change passes" in result.log[0]
