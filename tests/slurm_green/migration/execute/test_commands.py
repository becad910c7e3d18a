# SPDX-License-Identifier: Apache-2.0
"""What a site's commands are asked and how their answers are read; they are shell scripts here."""

import os
from pathlib import Path

import pytest

from slurm_green.errors import SlurmError
from slurm_green.migration.execute.access import Seen
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.record import Order
from slurm_green.migration.execute.site import Site
from slurm_green.slurm.records import Job

_CONFIG = """#!/bin/sh
echo 'SLURM_VERSION = 22.05.8'
echo "AccountingStorageType = $1"
"""
# As 22.05.8 answers; times are seconds since 1970. A requeued job is in it twice.
_SACCT = """#!/bin/sh
for one; do case $one in
    --delimiter=*) d=${one#*=} ;;
    --starttime=*) echo "$one" >&2; since=${one#*=} ;;
    --jobs=*) id=${one#*=} ;;
esac; done
[ "$since" = 1970-01-12T12:46:40 ] || exit 1
row() {
    set -- "$id" "$id" "$1" 100 100 "$2" "$3" 5 1 1 "" "" n1 "" "" me 1000 main a "" x "" "" "$4"
    printf %s "$1"; shift; for one; do printf %s%s "$d" "$one"; done; echo
}
[ "$id" = 9 ] && row RUNNING 2000000 Unknown 0
[ "$id" = 7 ] || exit 0
row COMPLETED 2000000 2000300 1
row FAILED 2000400 2000403 2
"""


def access(tmp_path: Path, storage: str, sacct: str = _SACCT) -> CommandAccess:
    config = _CONFIG.replace("$1", storage)
    for name, text in (("scontrol", config), ("sacct", sacct)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return CommandAccess(Site(name="b", slurm_conf="/none", path=str(tmp_path)))


def test_how_a_job_ended_that_slurm_no_longer_shows(tmp_path: Path) -> None:
    """Asked from an hour before: clocks differ. Of a job that ran twice the last run counts."""
    there = access(tmp_path, "accounting_storage/slurmdbd")
    found = there.past(7, 1_000_000.0)
    assert found is not None
    assert (found.state, found.ran_s, found.ended) == ("FAILED", 3.0, True)
    assert found.failed_within(10.0)
    assert there.past(8, 1_000_000.0) is None
    assert there.past(9, 1_000_000.0) is None, "Slurm lost it: it will not end any more"


def test_a_site_without_accounting_and_one_whose_database_is_away(tmp_path: Path) -> None:
    assert access(tmp_path, "accounting_storage/none").past(7, 1_000_000.0) is None
    away = access(tmp_path, "accounting_storage/slurmdbd", "#!/bin/sh\necho refused >&2\nexit 1\n")
    with pytest.raises(SlurmError, match=r"b: .*refused"):
        away.past(7, 1_000_000.0)


@pytest.mark.parametrize(
    ("state", "ran_s", "failed"),
    [
        ("FAILED", 3.0, True),
        ("PREEMPTED", 3.0, True),
        ("PREEMPTED", 300.0, False),
        ("FAILED", None, False),
        ("DEADLINE", 0.0, True),
        ("DEADLINE", 3000.0, False),
        ("CANCELLED", 3.0, False),
        ("COMPLETED", 3.0, False),
    ],
)
def test_what_ends_a_copy_so_that_the_job_goes_on_at_the_source(
    state: str, ran_s: float | None, failed: bool
) -> None:
    """Not what its user did, nor that it came to its end."""
    assert Seen(job_id=1, state=state, ran_s=ran_s).failed_within(10.0) == failed


def test_a_copy_inherits_nothing_that_our_reading_needs(tmp_path: Path) -> None:
    """Its script may ask Slurm for times, or sort; a deadline is written for sbatch in UTC."""
    said = tmp_path / "said"
    (tmp_path / "sbatch").write_text(f"#!/bin/sh\nenv >{said}\necho '7;b'\n")
    (tmp_path / "sbatch").chmod(0o755)
    there = CommandAccess(Site(name="b", slurm_conf="/none", path=str(tmp_path)))
    forced = {"LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN"}
    for options, kept in (((), set()), (("--deadline=2026-11-29T21:12:10",), {"TZ"})):
        assert there.submit(Order(options=options, comment="", script=""), "m1-ab") == 7
        names = {line.partition("=")[0] for line in said.read_text().splitlines()}
        assert names & forced == kept
        assert {"SLURM_CONF", "PATH"} <= names


def test_the_job_of_somebody_else_is_no_copy_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens stand in the queue. Taken for the copy, it would end the job here once it ran."""
    me = os.getuid()
    there = [
        Job(job_id=number, uid=uid, state="PENDING", comment=f"x green-move:{token}")
        for number, uid, token in ((1, me + 1, "m1-ab"), (2, me, "m1-ab"), (3, me, "m1-ab.c1"))
    ]
    monkeypatch.setattr(CommandAccess, "jobs", lambda _: there)
    site = CommandAccess(Site(name="b", slurm_conf="/none", path=str(tmp_path)))
    assert [job.job_id for job in site.named("m1-ab")] == [2]
