# SPDX-License-Identifier: Apache-2.0
"""`sgreen queue`: the table, its filters, its escape from hostile names."""


def test_waiting_jobs_of_ours_are_listed_soonest_first(sgreen):
    """Others are not our business."""
    sooner = str(sgreen.record(start_utc=sgreen.after(hours=1)))
    sgreen.slurm.put(
        sgreen.job(43, admin_comment=sooner),
        sgreen.job(44, admin_comment=""),
        sgreen.job(45, state="RUNNING", start_utc=sgreen.after()),
    )

    found = sgreen.json("queue")

    assert [one["job"] for one in found["jobs"]] == ["43", "42"]
    assert found["deferred"] == 2
    assert [one["job"] for one in sgreen.json("queue", "--all")["jobs"]] == ["43", "42", "45"]


def test_the_table_and_its_sacct_like_options(sgreen):
    """-P separates, -n leaves the header out."""
    words = sgreen("queue", "-P").stdout.splitlines()

    assert words == [
        "JOBID|PARTITION|NAME|USER|STATE|PLANNED START|ELIGIBLE BY|SAVES",
        "42|gpu|train|ada|deferred|2026-11-22 14:00:00 UTC|2026-11-22 18:00:00 UTC|420 g",
    ]
    assert sgreen("queue", "-P", "-n").stdout.splitlines() == words[1:]
    assert sgreen("queue").stdout.splitlines()[0].split()[0] == "JOBID"


def test_filters_by_user_and_account(sgreen):
    """As in squeue."""
    assert sgreen.json("queue", "-u", "bob")["jobs"] == []
    assert sgreen.json("queue", "-A", "other")["jobs"] == []
    assert len(sgreen.json("queue", "-u", "ada", "-A", "lab")["jobs"]) == 1


def test_a_job_name_cannot_write_to_the_terminal(sgreen):
    """Escape sequences and line breaks of other users become question marks."""
    sgreen.slurm.put(sgreen.job(name="\x1b[2J\nevil[bold]"))

    sgreen.sleep = _interrupt

    assert "?[2J?evil[bold]" in sgreen("queue").output
    watched = sgreen("queue", "--watch")

    assert watched.exit_code == 0, watched.output
    assert "\x1b[2J" not in watched.output
    assert "?[2J" in watched.output


def test_watch_stays_until_it_is_interrupted(sgreen):
    """Each look asks Slurm once."""
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    sgreen.sleep = sleep

    done = sgreen("queue", "--watch", "--every", "2")

    assert done.exit_code == 0
    assert looks == [2.0, 2.0, 2.0]
    assert sgreen.slurm.calls.count("jobs") == 3


def test_watch_is_not_for_programs(sgreen):
    """--watch --json makes no sense."""
    assert sgreen("queue", "--watch", "--json").exit_code == 2


def _interrupt(seconds):
    raise KeyboardInterrupt
