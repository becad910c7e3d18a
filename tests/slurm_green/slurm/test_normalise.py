# SPDX-License-Identifier: Apache-2.0
"""One job record out of three Slurm versions' JSON."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm_green.errors import BadInputError
from slurm_green.slurm.gres import gpu_count, job_gpus
from slurm_green.slurm.hostlist import expand_hostlist
from slurm_green.slurm.normalise import (
    count_array_tasks,
    job_from_json,
    jobs_from_json,
    number,
    state_of,
)
from slurm_green.slurm.records import Job
from slurm_green.slurm.squeue import queue_arguments, queue_records

CAPTURES = Path(__file__).parent / "captures"
VERSIONS = sorted(path.name for path in CAPTURES.iterdir())


def raw_records(version: str) -> list[dict[str, Any]]:
    text = (CAPTURES / version / "squeue.json").read_bytes().decode(errors="replace")
    records: list[dict[str, Any]] = json.loads(text, strict=False)["jobs"]
    return records


def text_records(version: str) -> list[dict[str, Any]]:
    raw = (CAPTURES / version / "squeue.txt").read_bytes().decode(errors="replace")
    return queue_records(raw, "@d@")


@pytest.fixture(params=[(version, form) for version in VERSIONS for form in ("json", "text")])
def captured(request: pytest.FixtureRequest) -> list[Job]:
    """The captured queue, from either form of squeue."""
    version, form = request.param
    return jobs_from_json(raw_records(version) if form == "json" else text_records(version))


@pytest.fixture
def jobs(captured: list[Job]) -> dict[str, Job]:
    """By job name; of array tasks and components the last."""
    return {job.name: job for job in captured}


@pytest.mark.parametrize("version", VERSIONS)
def test_both_forms_of_squeue_say_the_same(version: str) -> None:
    from_json = {job.job_id: job for job in jobs_from_json(raw_records(version))}
    from_text = {job.job_id: job for job in jobs_from_json(text_records(version))}
    assert from_json.keys() == from_text.keys()
    # Flag words are only in JSON; a reason can be worded; the %N of running tasks is not shown.
    # The JSON was cut to what was read when it was captured, without the frequency.
    skipped = {"flags", "reason", "max_running_tasks", "gpu_freq"}
    for job_id, wanted in from_json.items():
        for field in Job.__dataclass_fields__.keys() - skipped:
            assert getattr(from_text[job_id], field) == getattr(wanted, field), (job_id, field)


def test_text_counts_in_units_and_ranges_are_read() -> None:
    names = [part.split(":")[0] for part in queue_arguments("@q@")[-1].split("=", 1)[1].split(",")]
    values = dict.fromkeys(names, "N/A") | {
        "JobID": "7", "State": "PENDING", "NumCPUs": "1.50K", "NumNodes": "2-4", "NumTasks": "2K",
        "tres-per-task": "gres/gpu:1", "TimeLimit": "1-00:00:00", "Name": "N/A",
        "tres-freq": "gpu:low", "BatchFlag": "2", "NTPerNode": "4", "cpus-per-tres": "gres/gpu:8",
        "ReqNodes": "n[1-2]",
    }  # fmt: skip
    (record,) = queue_records("".join(f"{values[name]}@q@" for name in names) + "\n", "@q@")
    (job,) = jobs_from_json([record])
    assert (job.cpus, job.nodes, job.gpus, job.time_limit_s) == (1536, 2, 2048, 86400)
    assert (job.name, job.partition, job.array_job_id, job.submit_utc) == ("N/A", "", None, None)
    assert job.gpu_freq == "gpu:low"
    assert (job.tasks_per_node, job.cpus_per_gpu, job.choosy) == (4, 8, True)
    assert job.batch  # requeued once, as 24.11 shows it
    assert queue_records("", "@q@") == []


@pytest.mark.parametrize(("said", "found"), [("gpu:low", "gpu:low"), ("", ""), (None, None)])
def test_a_frequency_that_is_not_shown_is_not_known(said: str | None, found: str | None) -> None:
    record = {"job_id": 7, "job_state": "RUNNING"} | ({} if said is None else {"tres_freq": said})
    assert jobs_from_json([record])[0].gpu_freq == found


def test_a_federations_copy_of_a_job_is_told_from_the_job() -> None:
    given = {"job_id": 67108865, "job_state": "PENDING", "cluster": "guest"}
    jobs = jobs_from_json(
        [given | {"federation_origin": origin} for origin in ("", "guest", "home")]
    )
    assert [job.sibling for job in jobs] == [False, False, True]


@pytest.mark.parametrize("no_id", [None, "4294967294", {"set": False, "number": 0}])
def test_the_rest_of_a_revoked_copy_is_no_job_and_no_news(
    no_id: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Slurm keeps it for minutes, and every cycle sees it."""
    assert jobs_from_json([{"job_id": no_id, "job_state": "REVOKED"}]) == []
    assert caplog.text == ""
    assert jobs_from_json([{"job_id": no_id, "job_state": "PENDING"}]) == []
    assert "without a job id" in caplog.text


@pytest.mark.parametrize("wrap", [int, str, lambda n: {"set": True, "number": n}])
@pytest.mark.parametrize("at", [65534, 65535])
def test_what_means_nothing_in_16_bits_is_a_number_in_32(
    at: int, wrap: Callable[[int], Any]
) -> None:
    """A cluster's 65,534th job was in no queue of ours; user 65534 is nobody."""
    fields = ("job_id", "array_job_id", "array_task_id", "user_id", "priority", "time_limit")
    [job] = jobs_from_json([{"job_state": "PENDING", **{name: wrap(at) for name in fields}}])
    assert (job.job_id, job.array_job_id, job.array_task) == (at, at, str(at))
    assert (job.uid, job.priority, job.time_limit_s) == (at, at, 60 * at)
    [narrow] = jobs_from_json([{"job_id": 1, "job_state": "PENDING", "tasks_per_node": wrap(at)}])
    assert narrow.tasks_per_node == 0


def test_all_versions_are_captured() -> None:
    assert VERSIONS == ["22.05", "24.11", "26.05"]


def test_a_running_job(jobs: dict[str, Job]) -> None:
    job = jobs["running"]
    assert (job.state, job.active, job.pending) == ("RUNNING", True, False)
    assert (job.gpus, job.nodes, job.cpus, job.time_limit_s) == (1, 1, 1, 600)
    assert job.node_names == ("cap-n1",)
    assert job.start_utc is not None and job.end_utc is not None
    assert (job.end_utc - job.start_utc).total_seconds() in (600, 601)
    assert (job.user, job.uid, job.partition, job.cluster) == ("root", 0, "main", "cap")
    assert job.batch and job.requeue and not job.held and job.array_job_id is None


def test_a_pending_array_is_one_record_for_all_its_tasks(jobs: dict[str, Job]) -> None:
    job = jobs["array"]
    assert (job.array_job_id, job.array_task, job.tasks) == (job.job_id, "0-9%2", 10)
    assert (job.max_running_tasks, job.gpus, job.time_limit_s) == (2, 2, 86400)
    assert job.eligible_utc is not None and job.submit_utc is not None
    assert (job.eligible_utc - job.submit_utc).total_seconds() in (3600, 3601)


def test_a_started_array_has_a_record_per_task_and_one_for_the_rest(captured: list[Job]) -> None:
    parts = [job for job in captured if job.name == "part"]
    running = [job for job in parts if job.active]
    (rest,) = [job for job in parts if job.pending]
    assert sorted(job.array_task for job in running) == ["1", "3", "5"]
    assert [job.tasks for job in running] == [1, 1, 1]
    assert (rest.tasks, rest.max_running_tasks, rest.reason) == (6, 3, "JobArrayTaskLimit")
    assert {job.array_job_id for job in parts} == {rest.job_id}


def test_a_held_job_without_a_limit(jobs: dict[str, Job]) -> None:
    job = jobs["held"]
    assert job.held and job.pending and job.gpus == 4 and job.nodes == 2
    assert job.time_limit_s is None and job.eligible_utc is None and job.end_utc is None


def test_text_from_a_hostile_user_is_only_text(jobs: dict[str, Job]) -> None:
    job = jobs['na"me\ufffd']
    assert job.comment == 'caf\ufffd "q", =x\nline2\x01\\ |'
    assert job.admin_comment == 'green:v1 id=abc, "q" x=y'
    assert job.deadline_utc is not None and job.gpus == 3
    assert job.time_limit_s == 3600


def test_a_dependent_job(jobs: dict[str, Job]) -> None:
    job = jobs["dependent"]
    assert job.dependency.startswith("afterok:") and not job.requeue and not job.held
    assert job.gpus == 4  # two per node on two nodes


def test_components_of_a_heterogeneous_job_name_their_job(jobs: dict[str, Job]) -> None:
    assert jobs["het"].het_job_id == jobs["het"].job_id - 1
    assert jobs["running"].het_job_id is None


def test_an_ended_job_is_still_there(jobs: dict[str, Job]) -> None:
    job = jobs["done"]
    assert job.state == "COMPLETED" and not job.active and job.end_utc is not None


def test_a_job_requeued_and_held_is_pending_and_held(jobs: dict[str, Job]) -> None:
    job = jobs["requeued"]
    assert job.pending and job.held and job.restarts == 1


def test_a_bad_record_does_not_lose_the_others(caplog: pytest.LogCaptureFixture) -> None:
    good = raw_records("24.11")
    bad = [{"job_id": 77, "nodes": "n[1-", "job_state": ["RUNNING"]}, {"name": "no id"}, None, 3]
    with caplog.at_level(logging.WARNING):
        assert len(jobs_from_json([*bad, *good])) == len(good)
    assert "job 77 left out" in caplog.text
    assert len(caplog.records) == 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (None, None), (0, 0), (0xFFFFFFFE, None), (65534, None), ("7", 7), ("x", None),
     (True, None), (float("nan"), None), (float("inf"), None),
     ({"set": True, "infinite": False, "number": 9}, 9),
     ({"set": False, "infinite": False, "number": 0}, None),
     ({"set": True, "infinite": True, "number": 0}, None),
     ({"set": False, "infinite": True, "number": 0}, None)],
)  # fmt: skip
def test_numbers_of_either_notation(value: object, expected: int | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "state"),
    [("PENDING", "PENDING"), (["PENDING"], "PENDING"), (["COMPLETED", "COMPLETING"], "COMPLETING"),
     (["RUNNING", "CONFIGURING"], "CONFIGURING"), (["PENDING", "REQUEUE_HOLD"], "PENDING"),
     ("REQUEUE_HOLD", "PENDING"), (["CANCELLED", "REVOKED"], "REVOKED"), ([], "UNKNOWN"),
     (None, "UNKNOWN"), ("CANCELLED by 0", "CANCELLED")],
)  # fmt: skip
def test_states_of_either_notation(value: object, state: str) -> None:
    assert state_of(value)[0] == state


@pytest.mark.parametrize(
    ("text", "tasks"),
    [("0-9%2", 10), ("1,3,5,20-25:2%3", 6), ("7", 1), ("[0-3]", 4), ("1-199:2", 100), ("0xF", 4),
     ("1,2,...", 2), ("", 1), ("garbage", 1)],
)  # fmt: skip
def test_array_expressions(text: str, tasks: int) -> None:
    assert count_array_tasks(text) == tasks


@pytest.mark.parametrize(
    ("text", "count"),
    [("gres:gpu:1", 1), ("gres/gpu:1", 1), ("gres/gpu=4", 4), ("gpu:h100:2", 2), ("gpu", 1),
     ("gres:gpu", 1), ("gres/gpu:h100", 1), ("gpu:h100:2(S:0-1)", 2), ("gpu:a:2,gpu:b:3", 5),
     ("cpu=8,gres/gpu=4,gres/gpu:h100=4", 4), ("cpu=8,gres/gpu:h100=3", 3),
     ("gpu:h100:2(IDX:0-1)", 2), ("gpu:2080ti:4(S:0-1)", 4), ("gres:gpu:2080ti", 1),
     ("gres/gpu:3090:2", 2), ("gres/gpu:3090=2", 2), ("gpu:1g.10gb:7,gpu:3g.40gb:1", 8),
     ("gres:gpu:12", 12), ("gpu:2k", 2048),
     ("gres/shard:4", 0), ("cpu=4", 0), ("", 0), (None, 0), ("gres/gpumem=80G", 0)],
)  # fmt: skip
def test_gpu_texts(text: str | None, count: int) -> None:
    assert gpu_count(text) == count


def test_gpus_per_something_are_multiplied() -> None:
    assert job_gpus(per_node="gres:gpu:2", nodes=3) == 6
    assert job_gpus(per_task="gres/gpu=1", tasks=5, nodes=2) == 5
    assert job_gpus(per_socket="gres/gpu:2", nodes=2, sockets_per_node=2) == 8
    assert job_gpus(requested="cpu=4,gres/gpu=7", per_node="gres/gpu:2", nodes=3) == 7
    assert job_gpus(requested="cpu=4", nodes=3) == 0


@pytest.mark.parametrize(
    ("text", "names"),
    [("n1", ["n1"]), ("n[1-3,7]", ["n1", "n2", "n3", "n7"]), ("g[01-02]x,h", ["g01x", "g02x", "h"]),
     ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]), ("", []), ("(null)", []),
     ("None assigned", []), ("n[098-101]", ["n098", "n099", "n100", "n101"])],
)  # fmt: skip
def test_node_lists(text: str, names: list[str]) -> None:
    assert expand_hostlist(text) == tuple(names)


@pytest.mark.parametrize("text", ["n[1-3", "n]1[", "n[a-b]", "n[[1]]", "n[1-99999999999]"])
def test_broken_node_lists_are_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        expand_hostlist(text)


@pytest.mark.parametrize(
    ("said", "memory_mb"),
    [
        ("cpu=1,mem=62.50G,node=1,billing=1", 64_000),
        ("cpu=2,mem=3000M,node=1", 3000),
        ("mem=1T", 1024**2),
        ("cpu=1,node=1", 0),
        ("gres/mem=5G,gres/gpumem=7", 0),
        ("", 0),
    ],
)
def test_memory_of_a_job_that_waits(said: str, memory_mb: int) -> None:
    """All that it asked for, whether per node, per CPU or per GPU."""
    record = {"job_id": 1, "job_state": "PENDING", "tres_req_str": said}
    assert job_from_json(record).memory_mb == memory_mb
    assert job_from_json(record | {"job_state": "RUNNING"}).memory_mb == 0
