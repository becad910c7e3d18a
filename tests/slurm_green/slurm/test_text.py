# SPDX-License-Identifier: Apache-2.0
"""What scontrol, sprio and sacct print, captured on three versions."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_green.errors import SlurmError
from slurm_green.slurm import text
from slurm_green.slurm.accounting import parse_sacct

CAPTURES = Path(__file__).parent / "captures"


@pytest.fixture(params=["22.05", "24.11", "26.05"])
def capture(request: pytest.FixtureRequest) -> Path:
    return CAPTURES / str(request.param)


def test_nodes(capture: Path) -> None:
    first, second = text.parse_nodes((capture / "nodes.txt").read_text())
    assert (first.name, first.cpus, first.gpus, first.partitions) == ("cap-n1", 16, 2, ("main",))
    assert (first.memory_mb, first.gpu_type) == (64_000, "h100")
    assert first.available and not first.powered_down
    # Drained, with a reason that claims otherwise.
    assert second.name == "cap-n2" and not second.available


@pytest.mark.parametrize(
    ("state", "available", "powered_down"),
    [("IDLE", True, False), ("MIXED", True, False), ("ALLOCATED+COMPLETING", True, False),
     ("IDLE+CLOUD+POWERED_DOWN", True, True), ("IDLE~", True, True), ("IDLE*", False, False),
     ("IDLE+DRAIN", False, False), ("DOWN*+DRAIN", False, False), ("IDLE#", True, False),
     ("UNKNOWN", False, False), ("FUTURE", False, False), ("IDLE+REBOOT_ISSUED", False, False),
     ("MIXED+NOT_RESPONDING", False, False), ("INVAL", False, False),
     ("IDLE+POWERING_DOWN", True, True)],
)  # fmt: skip
def test_node_states(state: str, available: bool, powered_down: bool) -> None:
    node = text.node_from_state(name="n", state=state, cpus=1, gpus=0, partitions=())
    assert (node.available, node.powered_down) == (available, powered_down)


def test_partitions(capture: Path) -> None:
    (main,) = text.parse_partitions((capture / "partitions.txt").read_text())
    assert (main.name, main.default, main.up) == ("main", True, True)
    assert main.node_names == ("cap-n1", "cap-n2")
    assert main.max_time_s is None and main.default_time_s is None
    assert (main.min_nodes, main.max_nodes) == (0, None)


def test_a_partition_with_limits_that_is_down() -> None:
    line = (
        "PartitionName=short AllocNodes=ALL Default=NO DefaultTime=01:00:00 MaxNodes=2"
        " MaxTime=1-12:00:00 MinNodes=1 Nodes=(null) State=INACTIVE"
    )
    (short,) = text.parse_partitions(line)
    assert (short.up, short.default, short.node_names) == (False, False, ())
    assert (short.default_time_s, short.max_time_s) == (3600, 129600)
    assert (short.min_nodes, short.max_nodes) == (1, 2)


def test_reservations(capture: Path) -> None:
    found = {
        one.name: one for one in text.parse_reservations((capture / "reservations.txt").read_text())
    }
    maintenance, course = found["maint"], found["course"]
    assert maintenance.maintenance and not course.maintenance
    assert maintenance.start_utc == datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    assert maintenance.end_utc == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert maintenance.node_names == ("cap-n2",)
    assert course.node_names == ("cap-n1", "cap-n2")
    assert text.parse_reservations("No reservations in the system\n") == []
    flags = "Flags=SPEC_NODES,ALL_NODES"
    lines = (capture / "reservations.txt").read_text().replace(flags, "Flags=FLEX,SPEC_NODES")
    assert [one.name for one in text.parse_reservations(lines) if one.flex] == ["course"]


def test_info(capture: Path) -> None:
    info = text.info_from_settings(text.parse_config((capture / "config.txt").read_text()))
    assert info.name == "cap"
    assert info.version == tuple(int(part) for part in capture.name.split("."))
    assert info.priority_type == "priority/multifactor"
    assert info.priority_flags == {"ACCRUE_ALWAYS"}
    assert (info.priority_weight_age, info.priority_max_age_s) == (1000, 604800)
    assert (info.resume_timeout_s, info.slurm_user, info.accounting) == (60, "root", False)
    assert info.settings["MinJobAge"] == "300 sec"
    assert "bf_interval=2" in info.settings["SchedulerParameters"]


def test_accounting_is_seen_whichever_name_it_has() -> None:
    for value, expected in [("accounting_storage/slurmdbd", True), ("slurmdbd", True),
                            ("accounting_storage/none", False), ("", False)]:  # fmt: skip
        settings = {"SLURM_VERSION": "24.11.5", "AccountingStorageType": value}
        assert text.info_from_settings(settings).accounting is expected


def test_no_version_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SlurmError, match="scontrol ping"):
        text.info_from_settings({})


def test_site_factors(capture: Path) -> None:
    assert list(text.parse_site_factors((capture / "sprio.txt").read_text()).values()) == [42]
    assert text.parse_site_factors("Unable to find jobs matching user/id(s) specified\n") == {}
    assert text.parse_site_factors("  12   -3\n") == {12: -3}


def test_ended_jobs_from_sacct() -> None:
    raw = (CAPTURES / "22.05" / "sacct.txt").read_text()
    jobs = {job.job_id: job for job in parse_sacct(raw, delimiter="@d@")}
    assert sorted(jobs) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (jobs[1].state, jobs[1].gpus, jobs[1].time_limit_s) == ("COMPLETED", 1, 300)
    assert (jobs[1].array_job_id, jobs[1].array_task, jobs[1].het_job_id) == (None, "", None)
    assert (jobs[1].uid, jobs[1].nodes, jobs[1].cpus) == (0, 1, 1)
    assert (jobs[3].gpus, jobs[3].nodes, jobs[3].node_names) == (3, 2, ("cap-n1", "cap-n2"))
    assert (jobs[4].array_job_id, jobs[4].array_task, jobs[4].state) == (2, "1", "FAILED")
    # A name with the usual delimiter and a line break shifts nothing.
    assert jobs[5].name == "ev|il\nname"
    assert jobs[5].admin_comment == 'green:v1 id=x, "q" a=b'
    assert (jobs[6].het_job_id, jobs[7].het_job_id) == (6, 6)
    assert jobs[8].state == "CANCELLED" and jobs[8].start_utc is None and jobs[8].gpus == 1


def test_a_run_that_a_requeue_ended_is_over() -> None:
    """Its job waits for the next; this one does not."""
    raw = (CAPTURES / "22.05" / "sacct.txt").read_text().replace("COMPLETED", "REQUEUED", 1)
    one = parse_sacct(raw, delimiter="@d@")[0]
    assert (one.state, one.pending, one.active) == ("REQUEUED", False, False)
    assert one.end_utc is not None


def test_no_ended_jobs() -> None:
    assert parse_sacct("", delimiter="@d@") == []


def test_one_bad_row_does_not_lose_the_others() -> None:
    raw = (CAPTURES / "22.05" / "sacct.txt").read_text().replace("1795315877", "yesterday", 1)
    assert len(parse_sacct(raw, delimiter="@d@")) == 7
