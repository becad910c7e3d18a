# SPDX-License-Identifier: Apache-2.0
"""The commands backend against recorded answers: what it asks, and how it takes failure."""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_green.errors import SlurmError, SlurmMissingError
from slurm_green.slurm.commands import CommandClient
from slurm_green.slurm.process import Finished, command_environment, run_command
from slurm_green.slurm.records import JobChange
from slurm_green.slurm.update import batch_input, change_arguments, is_refusal, jobs_to_retry

CAPTURES = Path(__file__).parent / "captures"
WHEN = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)


def finished(stdout: bytes = b"", stderr: bytes = b"", returncode: int = 0) -> Finished:
    return Finished(returncode=returncode, stdout=stdout, stderr=stderr)


class Recorded:
    """A Run that answers by the command's words and keeps what was asked."""

    def __init__(self, version: str = "24.11") -> None:
        self.asked: list[tuple[list[str], bytes | None, bool]] = []
        self.env: dict[str, str] = {}
        self.special: dict[str, Callable[[], Finished]] = {}
        self._capture = CAPTURES / version

    def __call__(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None,
        env: Mapping[str, str],
        timeout_s: float,
        merge: bool,
    ) -> Finished:
        assert timeout_s > 0
        self.asked.append((list(argv), stdin, merge))
        self.env = dict(env)
        line = " ".join(argv)
        for words, answer in self.special.items():
            if words in line:
                return answer()
        for words, name in (
            ("squeue --json", "squeue.json"), ("squeue", "squeue.txt"),
            ("sprio", "sprio.txt"), ("show nodes", "nodes.txt"),
            ("show partition", "partitions.txt"), ("show reservation", "reservations.txt"),
            ("show config", "config.txt"), ("sacct", "../22.05/sacct.txt"),
        ):  # fmt: skip
            if words in line:
                raw = (self._capture / name).read_bytes()
                drawn = re.search(r"@[0-9a-f]{16}@", line)
                return finished(raw.replace(b"@d@", drawn[0].encode()) if drawn else raw)
        return finished()

    def lines(self) -> list[str]:
        return [" ".join(argv) for argv, _, _ in self.asked]


@pytest.fixture(params=["22.05", "24.11", "26.05"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    return Recorded(str(request.param))


@pytest.mark.parametrize("as_json", [False, True])
def test_one_squeue_reads_the_queue_and_one_sprio_its_site_factors(
    recorded: Recorded, as_json: bool
) -> None:
    client = CommandClient(run=recorded, json=as_json)
    jobs = {job.name: job for job in client.jobs()}
    assert jobs['na"me\ufffd'].site_factor == 42
    assert jobs["array"].site_factor == 0
    client.jobs()
    assert [line.split()[0] for line in recorded.lines()].count("squeue") == 2
    # slurm.conf is asked once, to know whether there are site factors at all.
    assert sum("show config" in line for line in recorded.lines()) == 1


def test_without_multifactor_priorities_sprio_is_not_run() -> None:
    recorded = Recorded()
    recorded.special["show config"] = lambda: finished(b"SLURM_VERSION = 24.11.5\n")
    assert CommandClient(run=recorded).jobs()
    assert not any("sprio" in line for line in recorded.lines())


def test_a_failing_sprio_costs_only_the_site_factors(caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()
    recorded.special["sprio"] = lambda: finished(stderr=b"no", returncode=1)
    with caplog.at_level(logging.WARNING):
        assert len(CommandClient(run=recorded).jobs()) > 10
    assert "site factors are unknown" in caplog.text


def test_the_other_queries(recorded: Recorded) -> None:
    client = CommandClient(run=recorded)
    assert [node.name for node in client.nodes()] == ["cap-n1", "cap-n2"]
    assert [part.name for part in client.partitions()] == ["main"]
    assert {one.name for one in client.reservations()} == {"maint", "course"}
    assert client.info().name == "cap"


def test_no_accounting_is_none_not_empty() -> None:
    assert CommandClient(run=Recorded()).finished(WHEN) is None


def with_accounting(version: str) -> Recorded:
    recorded = Recorded()
    settings = f"SLURM_VERSION = {version}\nAccountingStorageType = accounting_storage/slurmdbd\n"
    recorded.special["show config"] = lambda: finished(settings.encode())
    return recorded


def test_ended_jobs_are_asked_with_a_delimiter_nobody_knows() -> None:
    recorded = with_accounting("22.05.8")
    client = CommandClient(run=recorded)
    jobs = client.finished(WHEN)
    assert jobs is not None and len(jobs) == 8
    client.finished(WHEN, job_id=77)
    client.finished(WHEN, runs=True)
    first, second, runs = (line for line in recorded.lines() if line.startswith("sacct"))
    assert first != second
    assert "--duplicates --state=BF,CA,CD,DL,F,NF,OOM,PR,TO,RQ " in runs
    assert "--duplicates" not in first and ",RQ" not in first
    assert "--starttime=2027-03-28T01:30:00" in first
    assert "--jobs" not in first and second.endswith(" --jobs=77")
    assert "Extra" not in first, "22.05 would refuse to answer"


def test_extra_of_ended_jobs_is_asked_for_where_sacct_has_it() -> None:
    recorded = with_accounting("24.11.5")

    def told() -> Finished:
        line = recorded.lines()[-1]
        drawn = re.search(r"@[0-9a-f]{16}@", line)
        asked = re.search(r"--format=(\S+)", line)
        assert drawn is not None and asked is not None
        row = {"JobIDRaw": "7", "JobID": "7", "State": "COMPLETED", "Submit": "1795000000"}
        row |= {"Extra": "a green:v1 id=x", "AdminComment": "somebody else's", "DBIndex": "3"}
        rows = [[row.get(name, "") for name in asked[1].split(",")]] * 2
        return finished("".join(f"{drawn[0].join(one)}\n" for one in rows).encode())

    recorded.special["sacct"] = told
    jobs = CommandClient(run=recorded).finished(WHEN)
    assert jobs is not None
    found = [(one.job_id, one.extra, one.admin_comment) for one in jobs]
    assert found == [(7, "a green:v1 id=x", "somebody else's")] * 2


def test_a_sacct_older_than_slurmctld_is_asked_without_extra() -> None:
    recorded = with_accounting("24.11.5")

    def told() -> Finished:
        if "Extra" in recorded.lines()[-1]:
            words = b"sacct: fatal: Invalid field requested: Extra"
            return Finished(returncode=1, stdout=b"", stderr=words)
        return finished(b"")

    recorded.special["sacct"] = told
    assert CommandClient(run=recorded).finished(WHEN) == []


def test_accounting_that_is_down_is_an_error_on_an_older_slurm() -> None:
    recorded = with_accounting("22.05.8")
    recorded.special["sacct"] = lambda: finished(stderr=b"slurmdbd is down", returncode=1)
    with pytest.raises(SlurmError, match="slurmdbd is down"):
        CommandClient(run=recorded).finished(WHEN)


def test_a_dead_slurmctld_is_an_error_even_where_squeue_says_success() -> None:
    # As seen on 22.05.8: status 0, an empty list and this.
    answer = {"errors": [{"description": "Failed while looking for jobs", "error_number": -1}]}
    recorded = Recorded()
    recorded.special["squeue"] = lambda: finished(json.dumps({**answer, "jobs": []}).encode())
    with pytest.raises(SlurmError, match="Failed while looking for jobs"):
        CommandClient(run=recorded, json=True).jobs()


@pytest.mark.parametrize("answer", [b"", b"no json", b"[]", b"{}", b'{"jobs": 3}', b"\xff"])
def test_an_answer_that_is_no_queue_is_an_error(answer: bytes) -> None:
    recorded = Recorded()
    recorded.special["squeue"] = lambda: finished(answer)
    with pytest.raises(SlurmError):
        CommandClient(run=recorded, json=True).jobs()


def test_a_failed_command_says_slurms_words_and_what_to_do() -> None:
    recorded = Recorded()
    recorded.special["show nodes"] = lambda: finished(stderr=b"Unable to contact", returncode=1)
    with pytest.raises(SlurmError, match=r"Unable to contact.*scontrol ping"):
        CommandClient(run=recorded).nodes()


def test_accounting_that_fails_is_told_in_one_line_with_its_own_daemon() -> None:
    recorded = Recorded()
    recorded.special["sacctmgr"] = lambda: finished(
        stderr=b"sacct: refused\nsacct: no\n", returncode=1
    )
    with pytest.raises(SlurmError, match=r"failed: sacct: refused sacct: no\. Is slurmdbd up\?"):
        CommandClient(run=recorded).note(7, "", "x")


def test_an_array_is_changed_without_the_tasks_that_left_it() -> None:
    recorded = Recorded()
    lines = ("7@7@1@5@", "7@9@2@6@", "7@7@3@5@", "8@8@1@5@", "8@9@2@5@")
    recorded.special["squeue"] = lambda: finished("\n".join(lines).encode())
    change = JobChange(site_factor=5, array=True)
    changes = {7: change, 8: change, 12: JobChange(site_factor=5)}
    assert CommandClient(run=recorded).update(changes) == {}
    asked, *changed = recorded.asked
    assert "--jobs=7,8" in asked[0]
    # A list of tasks is nothing that scontrol reads from its stdin.
    assert changed[0][1] == b"update JobId=8 SiteFactor=5\nupdate JobId=12 SiteFactor=5\n"
    assert changed[1][0] == ["scontrol", "update", "JobId=7_[1,3]", "SiteFactor=5"]


def test_where_nobody_tells_the_tasks_the_whole_array_is_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Later than promised would be worse."""
    recorded = Recorded()
    recorded.special["squeue"] = lambda: finished(stderr=b"timed out", returncode=1)
    assert CommandClient(run=recorded).update({7: JobChange(site_factor=5, array=True)}) == {}
    assert recorded.lines()[-1] == "scontrol update JobId=7 SiteFactor=5"
    assert "timed out" in caplog.text


def test_a_prefix_goes_before_every_command() -> None:
    recorded = Recorded()
    CommandClient(run=recorded, prefix=("chroot", "/root")).nodes()
    assert recorded.lines() == ["chroot /root scontrol show nodes --oneliner"]


def test_the_environment_is_ours() -> None:
    environ = {"SLURM_CONF": "/etc/x.conf", "SQUEUE_STATES": "RUNNING", "SLURM_CLUSTERS": "b",
               "TZ": "America/New_York", "SLURM_TIME_FORMAT": "relative",
               "PATH": "/bin"}  # fmt: skip
    assert command_environment(environ) == {
        "SLURM_CONF": "/etc/x.conf", "PATH": "/bin", "LC_ALL": "C", "TZ": "UTC",
        "SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0",
    }  # fmt: skip


def test_a_missing_command_is_said_so() -> None:
    with pytest.raises(SlurmMissingError, match="apt install slurm-client"):
        run_command(["no-such-squeue"], env={"PATH": "/nonexistent"}, timeout_s=5)


def test_a_hanging_command_is_ended() -> None:
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(SlurmError, match=r"within 0\.2 s"):
        run_command(argv, env=command_environment(), timeout_s=0.2)


def test_a_change_becomes_one_argument_each() -> None:
    odd = 'a "b", c=d \\ $(x)\n; rm'
    change = JobChange(begin_utc=WHEN, admin_comment=odd, site_factor=-3, extra="e\0")
    assert change_arguments(5, change) == [
        "update", "JobId=5", "StartTime=uts1806197400", "SiteFactor=-3", "Extra=e",
        'AdminComment=a "b", c=d \\ $(x) ; rm',
    ]  # fmt: skip
    assert change_arguments(5, JobChange()) == []


def test_only_what_scontrol_reads_as_it_stands_goes_in_a_batch() -> None:
    commands = {
        1: change_arguments(1, JobChange(begin_utc=WHEN)),
        2: change_arguments(2, JobChange(admin_comment="with blanks")),
        3: change_arguments(3, JobChange(admin_comment="")),
        4: change_arguments(4, JobChange(admin_comment="a!b\u00e9")),
    }
    lines, odd = batch_input(commands)
    assert lines == b"update JobId=1 StartTime=uts1806197400\nupdate JobId=3 AdminComment=\n"
    assert odd == [2, 4]


OUTPUT = """scontrol: update JobId=4 StartTime=uts1
scontrol: update JobId=99 StartTime=uts1
Invalid job id specified for job 99
scontrol: update JobId=3 StartTime=uts1
scontrol: \n"""


@pytest.mark.parametrize(
    ("output", "asked", "retry"),
    [(OUTPUT, [4, 99, 3], [99]),
     ("Unable to contact slurm controller\n" + OUTPUT, [4, 99, 3], [4, 99, 3]),
     (OUTPUT, [4, 99, 3, 7], [4, 99, 3, 7]),
     ("", [4], [4])],
)  # fmt: skip
def test_a_failed_batch_names_the_jobs_to_try_alone(
    output: str, asked: list[int], retry: list[int]
) -> None:
    assert jobs_to_retry(output, asked) == retry


def test_few_changes_are_made_one_by_one() -> None:
    recorded = Recorded()
    change = JobChange(begin_utc=WHEN)
    assert CommandClient(run=recorded).update({1: change, 2: change, 3: JobChange()}) == {}
    assert [stdin for _, stdin, _ in recorded.asked] == [None, None]


def test_many_changes_are_one_process_and_failures_get_their_own() -> None:
    recorded = Recorded()
    recorded.special["scontrol --oneliner"] = lambda: finished(OUTPUT.encode(), returncode=1)
    recorded.special["JobId=99"] = lambda: finished(stderr=b"Invalid job id\n", returncode=1)
    change = JobChange(begin_utc=WHEN)
    refused = CommandClient(run=recorded).update({4: change, 99: change, 3: change})
    assert refused == {99: "Invalid job id"}
    assert recorded.lines()[0] == "scontrol --oneliner"
    assert recorded.asked[0][2] is True
    assert recorded.lines()[1:] == ["scontrol update JobId=99 StartTime=uts1806197400"]


def test_jobs_that_a_batch_came_too_late_for_are_not_tried_again() -> None:
    """As 22.05, 24.11 and 26.05 answer; after a burst they can be a thousand."""
    recorded = Recorded()
    said = {
        1: "Job has already finished for job 1",
        2: "Job is no longer pending execution for job 2",
        3: "",
        4: "4_1-2: Job is no longer pending execution",
    }
    lines = [f"scontrol: update JobId={number} StartTime=uts1\n{said[number]}" for number in said]
    output = "\n".join([*lines, "scontrol: "]).encode()
    recorded.special["scontrol --oneliner"] = lambda: finished(output, returncode=1)
    recorded.special["JobId=4"] = lambda: finished(stderr=said[4].encode(), returncode=1)
    refused = CommandClient(run=recorded).update(dict.fromkeys(said, JobChange(begin_utc=WHEN)))
    assert refused == {1: said[1], 2: said[2]}
    assert recorded.lines()[1:] == ["scontrol update JobId=4 StartTime=uts1806197400"]


def test_the_running_part_of_an_array_is_no_refusal() -> None:
    assert not is_refusal(0, "")
    assert not is_refusal(1, "9_1,3,5: Job is no longer pending execution\n")
    assert not is_refusal(1, "9_[1,3,5]: Job is no longer pending execution\n")
    partly = "9_0-1: Job is no longer pending execution\n9_2-9: No error\n"
    # One task was pulled by hand and has ended (seen on 22.05).
    assert not is_refusal(1, "9_1-3,6: No error\n9_5: Job has already finished\n")
    assert not is_refusal(1, partly)
    assert is_refusal(1, "Job is no longer pending execution for job 9\n")
    assert is_refusal(1, "9_[1-3]: Access/permission denied\n")
    assert is_refusal(1, "")
