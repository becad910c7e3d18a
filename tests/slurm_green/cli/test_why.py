# SPDX-License-Identifier: Apache-2.0
"""`sgreen why`: the right sentence for each state a job can be in."""

from dataclasses import replace
from datetime import timedelta

import pytest

from slurm_green.config.load import loads
from slurm_green.ledger.entries import Decision, facts_of
from slurm_green.ledger.store import Store


def test_a_deferred_job(sgreen):
    """Planned start, promise, saving, provenance and age, in words and in numbers."""
    sgreen.signal()

    words = sgreen("why", 42).stdout
    found = sgreen.json("why", 42)

    assert words.splitlines()[0] == (
        "Job 42 waits for cleaner power: start planned at 2026-11-22 14:00:00 UTC, eligible by "
        "2026-11-22 18:00:00 UTC, saving about 420 g of CO2e against starting at once."
    )
    assert "Decided 2026-11-22 11:00:00 UTC by lowest-window on the signal of neso, 3 min" in words
    assert "The signal is now 5 min old (neso)." in words
    assert found["state"] == "deferred"
    assert found["latest_start_utc"] == "2026-11-22T18:00:00Z"
    assert found["save_g"] == 420
    assert found["signal_age_s"] == 180
    assert found["signal_file"]["age_s"] == 300


@pytest.mark.parametrize(
    ("status", "silent"),
    [
        ('{"at_utc": "2026-11-22T09:00:00Z"}', 3 * 3600),
        ('{"at_utc": "2026-11-22T11:58:30Z"}', None),
        ('{"at_utc": "2026-11-22T12:05:00Z"}', None),
        ('{"at_utc": "yesterday"}', None),
        ('{"at_utc": "2026-11-22T09:00:00"}', None),
        ("{}", None),
        (None, None),
    ],
)
def test_without_sgreend_a_job_starts_at_its_latest_start(sgreen, status, silent):
    """Its begin time in Slurm is all that is left; where nobody may say, it is taken to run."""
    if status is not None:
        sgreen.config.paths.status.write_text(status)
    sgreen.slurm.put(sgreen.job(deadline_utc=sgreen.after(hours=8)))

    found = sgreen.json("why", 42)

    assert found["sgreend_silent_s"] == silent
    assert (found["state"], found["planned_start_utc"]) == ("deferred", "2026-11-22T14:00:00Z")
    if silent is None:
        assert "waits for cleaner power: start planned at" in found["sentence"]
    else:
        assert found["sentence"] == (
            "Job 42 waits until 2026-11-22 18:00:00 UTC in time for its deadline at 2026-11-22 "
            "20:00:00 UTC: sgreend's last cycle was 3 h 00 min ago, and without it nobody starts "
            "the job at 2026-11-22 14:00:00 UTC as planned."
        )


def test_a_planned_start_that_has_passed_is_not_announced(sgreen):
    """The cluster is full, or sgreend is gone and so is its status file."""
    record = sgreen.record(start_utc=sgreen.after(minutes=-5))
    sgreen.slurm.put(sgreen.job(admin_comment=str(record)))

    assert (
        "start planned at 2026-11-22 11:55:00 UTC, which has passed, eligible by "
        "2026-11-22 18:00:00 UTC, saving"
    ) in sgreen.json("why", 42)["sentence"]


@pytest.mark.parametrize(
    ("fields", "conf", "hint"),
    [
        ({}, "", "`sgreen run-now 42` starts it now."),
        ({"array_job_id": 42, "array_task": "1-3", "tasks": 3}, "", "`sgreen run-now 42` starts"),
        ({}, "[hook]\nuser_may_pull = false", ""),
        ({"eligible_utc": "past"}, "", ""),
        ({"held": True, "reason": "JobHeldAdmin"}, "", ""),
    ],
)
def test_who_waits_is_told_how_not_to(sgreen, fields, conf, hint):
    """While it waits, not held, where the site lets users; an array is one job until it runs."""
    sgreen.config = loads(conf)
    past = {"eligible_utc": sgreen.after(minutes=-30)} if fields.get("eligible_utc") else {}
    sgreen.slurm.put(sgreen.job(**(fields | past)))

    words = sgreen("why", "42_2" if "array_task" in fields else 42).stdout

    assert (hint in words) if hint else ("run-now" not in words)


def test_times_are_shown_in_the_site_s_zone(sgreen):
    """Words use general.time_zone, JSON stays UTC."""
    sgreen.config = loads('[general]\ntime_zone = "Europe/Paris"')

    assert "start planned at 2026-11-22 15:00:00 CET" in sgreen("why", 42).stdout
    assert sgreen.json("why", 42)["planned_start_utc"] == "2026-11-22T14:00:00Z"


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        ({"eligible_utc": "hold"}, "looking", "is being looked at until"),
        ({"eligible_utc": "past"}, "released", "no longer waits for cleaner power"),
        ({"eligible_utc": "by hand"}, "changed", "its begin time was changed by hand, so"),
        # As Slurm shows one that was let go and waits for others.
        (
            {"eligible_utc": None, "dependency": "afterok:9(unfulfilled)", "reason": "Dependency"},
            "released",
            "no longer waits for cleaner power, but for the jobs it depends on",
        ),
        # The rest of an array of which as many tasks run as its own limit allows.
        (
            {"eligible_utc": None, "reason": "JobArrayTaskLimit", "array_job_id": 42},
            "released",
            "no longer waits for cleaner power, but for other tasks of its array",
        ),
        # And what waits of an array with a limit, once its first task was let go.
        (
            {"eligible_utc": None, "max_running_tasks": 1, "reason": "JobArrayTaskLimit"},
            "released",
            "no longer waits for cleaner power, but for other tasks of its array.",
        ),
        ({"state": "RUNNING", "start_utc": "past"}, "running", "runs since 2026-11-22 11:30"),
        (
            {"state": "COMPLETED", "start_utc": "planned", "end_utc": "now"},
            "finished",
            "completed at 2026-11-22 12:00:00 UTC; it started 3 h 00 min after it was decided "
            "on, which was expected to save about 420 g",
        ),
        (
            {"state": "COMPLETED", "start_utc": "past", "end_utc": "now"},
            "finished",
            "before its planned start at 2026-11-22 14:00:00 UTC: nothing is claimed",
        ),
    ],
)
def test_every_stage_of_a_deferral_has_its_sentence(sgreen, fields, state, words):
    """From the hold to the end."""
    times = {
        "hold": sgreen.after(seconds=10),
        "past": sgreen.after(minutes=-30),
        "by hand": sgreen.after(hours=3),
        "now": sgreen.after(),
        "planned": sgreen.after(hours=2),
    }
    fields = {key: times.get(value, value) for key, value in fields.items()}
    text = str(sgreen.record())
    if state == "looking":
        text = str(sgreen.record(decided_utc=sgreen.after()))
    if state == "released":
        text = str(sgreen.record(start_utc=times["past"]))
    sgreen.slurm.put(sgreen.job(admin_comment=text, **fields))

    assert words in sgreen("why", 42).stdout
    assert sgreen.json("why", 42)["state"] == state


@pytest.mark.parametrize("state", ["CANCELLED", "DEADLINE", "NODE_FAIL"])
@pytest.mark.parametrize("begins", ["as it ends", "never"])
def test_a_job_that_ended_while_it_waited_did_not_start(sgreen, state, begins):
    """Slurm shows the end as its start: by its user, too late, or gone with its partition."""
    end = sgreen.after(hours=3)
    start = end if begins == "as it ends" else None
    sgreen.slurm.put(sgreen.job(state=state, start_utc=start, end_utc=end))

    words = sgreen("why", 42).stdout.splitlines()[0]
    found = sgreen.json("why", 42)

    assert words == f"Job 42 {state.lower()} at 2026-11-22 15:00:00 UTC; it never ran."
    assert [found[key] for key in ("start_utc", "delay_s", "save_g")] == [None] * 3


@pytest.mark.parametrize(
    ("limit", "others"), [(None, "the jobs it depends on"), (1, "other tasks of its array")]
)
def test_a_begin_time_behind_the_release_may_be_slurms_own(sgreen, limit, others):
    """It sets one when a dependency ends, long after the job was let go."""
    let_go = sgreen.record(start_utc=sgreen.after(hours=-2), latest_utc=sgreen.after(hours=-2))
    fields = {"admin_comment": str(let_go), "max_running_tasks": limit}
    sgreen.slurm.put(sgreen.job(eligible_utc=sgreen.after(hours=-1), **fields))

    assert f"by hand, or by Slurm once {others} had ended" in sgreen("why", 42).stdout


@pytest.mark.parametrize(
    "others", [{"max_running_tasks": 1}, {"dependency": "afterok:9(unfulfilled)"}]
)
def test_a_held_job_that_waits_for_others_says_so(sgreen, others):
    """Their end alone does not start it."""
    sgreen.slurm.put(sgreen.job(eligible_utc=None, held=True, reason="JobHeldUser", **others))

    assert sgreen.json("why", 42)["sentence"].endswith(
        "; it is held, too (Slurm's reason: JobHeldUser)."
    )


def test_a_deferred_job_that_is_held_says_so(sgreen):
    """By scontrol hold: its begin time alone would not start it."""
    sgreen.slurm.put(sgreen.job(held=True, reason="JobHeldUser"))

    found = sgreen.json("why", 42)

    assert found["state"] == "deferred"
    assert found["sentence"].endswith("; it is held, too (Slurm's reason: JobHeldUser).")


@pytest.mark.parametrize(
    ("fields", "state", "rest"),
    [
        ({"eligible_utc": "soon", "restarts": 1}, "released", "it begins at 2026-11-22 12:02:00"),
        ({"eligible_utc": "past", "restarts": 1}, "released", "it is eligible and queues."),
        # By scontrol requeuehold: its begin time alone does not start it.
        (
            {"eligible_utc": "soon", "restarts": 1, "held": True, "reason": "in held state"},
            "released",
            "12:02:00 UTC; it is held, too (Slurm's reason: in held state).",
        ),
        ({"state": "RUNNING", "start_utc": "past", "restarts": 1}, "running", ""),
        # Accounting counts no restarts: it has a new submission.
        (
            {"state": "COMPLETED", "start_utc": "past", "end_utc": "now", "submit_utc": "past"},
            "finished",
            "",
        ),
    ],
)
def test_a_requeued_job_is_not_said_to_have_been_changed(sgreen, fields, state, rest):
    """Slurm moves its begin time, and when it runs again is no saving of ours."""
    times = {
        "past": sgreen.after(minutes=-30), "soon": sgreen.after(minutes=2), "now": sgreen.after()
    }  # fmt: skip
    fields = {key: times.get(value, value) for key, value in fields.items()}
    sgreen.slurm.put(sgreen.job(**fields))

    found = sgreen.json("why", 42)

    assert found["state"] == state
    assert "it was requeued, and a requeued job is never deferred again" in found["sentence"]
    assert rest in found["sentence"]
    assert found["save_g"] is None


@pytest.mark.parametrize(("hours", "again"), [(-4, False), (-2, True)])
def test_a_paused_job_that_a_node_failure_requeued_is_said_to_be_requeued(sgreen, hours, again):
    """The pause itself is a new submission too, but before the start that it was put off to."""
    record = sgreen.record(
        decided_utc=sgreen.after(hours=-4), start_utc=sgreen.after(hours=-3), policy="pause"
    )
    began = {"state": "RUNNING", "start_utc": sgreen.after(hours=-1), "restarts": 1 + again}
    submit = sgreen.after(hours=hours)
    sgreen.slurm.put(sgreen.job(submit_utc=submit, admin_comment=str(record), **began))

    assert ("it was requeued" in sgreen.json("why", 42)["sentence"]) is again


def test_of_several_partitions_the_one_in_shadow_is_named(sgreen):
    sgreen.config = replace(loads('[partition.gpu]\nmode = "enforce"\n'), paths=sgreen.config.paths)
    sgreen.slurm.put(sgreen.job(admin_comment="", partition="gpu,old", eligible_utc=None))
    assert "partition old is in shadow mode" in sgreen.json("why", 42)["sentence"]
    sgreen.slurm.put(sgreen.job(admin_comment="", partition="gpu", eligible_utc=None))
    assert sgreen.json("why", 42)["reason"] == "no-slack"


def test_a_clock_and_the_energy_that_came_of_it(sgreen):
    """A job with a clock alone was not deferred; its joules stand in its AdminComment."""
    given = {"save_g": None, "signal": None, "signal_age_s": None, "clock_mhz": 1095}
    text = f"{sgreen.record(policy='clock', **given)} green:energy j=7200000 by=nvml-counter"
    fields = {"state": "COMPLETED", "start_utc": sgreen.after(hours=-1), "end_utc": sgreen.after()}
    sgreen.slurm.put(sgreen.job(admin_comment=text, eligible_utc=sgreen.after(hours=-1), **fields))

    words, found = sgreen("why", 42).stdout, sgreen.json("why", 42)

    assert "Job 42 was not deferred" in words
    assert "Its GPUs were to run at 1095 MHz at most, by its profile." in words
    assert "Its GPUs used 2 kWh (nvml-counter)." in words
    assert (found["clock_mhz"], found["gpus_energy_j"]) == (1095, 7.2e6)


def test_a_record_that_names_no_signal_is_not_said_to_rest_on_none(sgreen):
    """As those of hook.publish_rows."""
    text = str(sgreen.record(policy="published", save_g=None, signal=None, signal_age_s=None))
    sgreen.slurm.put(sgreen.job(admin_comment=text))

    assert "Decided 2026-11-22 11:00:00 UTC by published.\n" in sgreen("why", 42).stdout


def test_a_job_only_looked_at_claims_no_saving(sgreen):
    """by=look is no deferral."""
    text = str(sgreen.record(policy="look", save_g=None, signal=None, signal_age_s=None))
    sgreen.slurm.put(sgreen.job(admin_comment=text, state="RUNNING", start_utc=sgreen.after()))

    found = sgreen.json("why", 42)

    assert "looked at and not deferred" in found["sentence"]
    assert found["save_g"] is None
    assert found["planned_start_utc"] is None


@pytest.mark.parametrize(
    ("fields", "conf", "reason"),
    [
        ({"comment": "x green:off"}, "", "opted-out"),
        ({"batch": False}, "", "interactive"),
        ({"name": "My-Jupyter-lab"}, "", "excluded-name"),
        ({"het_job_id": 42}, "", "heterogeneous"),
        ({"comment": "green:max-dely=3h"}, "", "bad-options"),
        ({"comment": "green:max-delay=-5h"}, "", "bad-options"),
        ({}, "", "shadow"),
        ({}, '[partition.gpu]\nmode = "enforce"', "no-slack"),
        ({"time_limit_s": None}, '[general]\nmode = "enforce"', "no-time-limit"),
        (
            {"time_limit_s": 60},
            '[general]\nmode = "enforce"\n[policy]\ndefault_delay = "6h"',
            "short",
        ),
        ({}, '[general]\nmode = "enforce"\n[policy]\ndefault_delay = "6h"', "at-once"),
    ],
)
def test_a_job_that_passed_says_why(sgreen, fields, conf, reason):
    """As far as the job and the configuration can tell."""
    sgreen.config = loads(conf)
    sgreen.slurm.put(sgreen.job(admin_comment="", eligible_utc=sgreen.after(hours=-1), **fields))

    found = sgreen.json("why", 42)

    assert found["reason"] == reason
    assert found["sentence"].startswith("Job 42 was not deferred: ")
    assert not found["sentence"].endswith("..")


@pytest.mark.parametrize(
    ("state", "hours", "reason"),
    [
        ("COMPLETED", -1, "eligible-later"),
        ("RUNNING", -1, "eligible-later"),
        ("PENDING", -1, "eligible-later"),
        ("PENDING", 1, "begin-set"),
        # Cancelled before it came.
        ("CANCELLED", 1, "begin-set"),
    ],
)
def test_a_job_that_others_kept_is_not_said_to_have_started_at_once(sgreen, state, hours, reason):
    """Slurm forgets what it depended on, and a hold; its begin time then tells that it waited."""
    sgreen.config = loads('[general]\nmode = "enforce"\n[policy]\ndefault_delay = "6h"')
    times = {"submit_utc": sgreen.after(hours=-2), "eligible_utc": sgreen.after(hours=hours)}
    if state in {"COMPLETED", "CANCELLED"}:
        times["end_utc"] = sgreen.after()
    sgreen.slurm.put(sgreen.job(admin_comment="", state=state, **times))

    found = sgreen.json("why", 42)

    assert found["reason"] == reason
    # What came after the submission, as a turn in its array, was no reason then.
    for words in (
        "it was not eligible before 2026-11-22 11:00:00 UTC for a reason of its own",
        "if that came after its submission, starting at once was best then",
    ):
        assert (words in found["sentence"]) == (reason == "eligible-later")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"action": "defer", "reason": "deferred"},
            "partition gpu was in shadow mode; enforced, it would have waited until 2026-11-22 "
            "14:00:00 UTC, 2026-11-22 18:00:00 UTC at the latest, and saved about 420 g of CO2e.",
        ),
        (
            {"action": "pass", "reason": "clean-now"},
            "would have started at once as well: power was not cleaner within its time.",
        ),
        ({"action": "pass", "reason": "new-word"}, "would have started at once as well: new-word."),
        ({"submit_utc": "other"}, "starting at once was best"),
        ({"mode": "enforce"}, "starting at once was best"),
    ],
)
def test_what_shadow_mode_thought_is_told_where_the_ledger_may_be_read(sgreen, fields, words):
    """Also after the partition was turned to enforce; of this submission, not of an older one."""
    enforced = '[general]\nmode = "enforce"\n[policy]\ndefault_delay = "6h"'
    sgreen.config = replace(loads(enforced), paths=sgreen.config.paths)
    waited = sgreen.job(admin_comment="", eligible_utc=sgreen.after(hours=-1))
    sgreen.slurm.put(waited)
    submit_utc = waited.submit_utc - timedelta(days=90 if "submit_utc" in fields else 0)
    decision = Decision(
        cluster="fake", job_id=42, decided_utc=submit_utc + timedelta(seconds=2), partition="gpu",
        start_utc=sgreen.after(hours=2), latest_utc=sgreen.after(hours=6), save_g=420.0,
    )  # fmt: skip
    decision = replace(decision, **(fields | {"submit_utc": submit_utc}))
    with Store(sgreen.config.paths.ledger) as store:
        store.add([decision])

    assert words in sgreen("why", 42).stdout


def test_an_unknown_job_is_status_1(sgreen):
    """And says what that may mean."""
    done = sgreen("why", 7)

    assert done.exit_code == 1
    assert done.stdout == ""
    assert "Job 7 is unknown to Slurm" in done.stderr
    assert sgreen.json("why", 7, status=1) == {"job": "7", "known": False}


def test_a_job_that_slurmctld_forgot_is_found_in_accounting(sgreen):
    """Asked for by its number: what else ended does not matter."""
    ended = sgreen.job(
        9, state="COMPLETED", start_utc=sgreen.after(days=-91), end_utc=sgreen.after(days=-90)
    )
    sgreen.slurm.accounting = [ended, sgreen.job(10, state="FAILED", end_utc=sgreen.after())]

    assert sgreen.json("why", 9)["state"] == "finished"
    assert sgreen.slurm.calls.count("finished") == 1


@pytest.mark.parametrize(
    ("tasks", "wanted", "known"),
    [("1-10%2", "42_4", True), ("[1-3,7]", "42_7", True), ("1-3", "42_4", False),
     ("0-20:5", "42_15", True), ("0-20:5", "42_16", False), ("1,3,...", "42_9", True)],
)  # fmt: skip
def test_a_task_of_an_array_is_found_in_what_waits(sgreen, tasks, wanted, known):
    """A pending array is one record."""
    sgreen.slurm.put(sgreen.job(array_job_id=42, array_task=tasks, tasks=10))

    assert sgreen.json("why", wanted, status=0 if known else 1)["known"] is known


def test_a_running_task_is_preferred_to_the_rest_of_its_array(sgreen):
    """123_4 means that task."""
    sgreen.slurm.put(
        sgreen.job(array_job_id=42, array_task="5-9", tasks=5),
        sgreen.job(43, array_job_id=42, array_task="4", state="RUNNING", start_utc=sgreen.after()),
    )

    assert sgreen.json("why", "42_4")["state"] == "running"
    assert sgreen.json("why", "42")["state"] == "deferred"


@pytest.mark.parametrize(
    ("now_g", "words"), [(150.0, "150 g: saved 50 g."), (60.0, "60 g: emitted 40 g more.")]
)
def test_the_receipt_is_shown_where_the_ledger_may_be_read(sgreen, now_g, words):
    """Grams of the run itself, labelled by their source."""
    ended = sgreen.job(
        state="COMPLETED", start_utc=sgreen.after(hours=-1), end_utc=sgreen.after(), cluster="fake"
    )
    sgreen.slurm.put(ended)
    facts = facts_of(ended, submit_utc=ended.submit_utc, mode="enforce", action="defer")
    facts = replace(
        facts, energy_j=3.6e6, energy_source="modelled", carbon_g=100.0, carbon_now_g=now_g,
        saved_g=now_g - 100.0,
    )  # fmt: skip
    with Store(sgreen.config.paths.ledger) as store:
        store.add([facts])

    assert sgreen.json("why", 42)["receipt"]["saved_g"] == now_g - 100
    words = f"Receipt (modelled): 1 kWh, 100 g of CO2e; started at once it had been {words}"
    assert words in sgreen("why", 42).stdout

    # Requeued, it is another run, whose own receipt comes with the next cycle.
    sgreen.slurm.change(42, submit_utc=sgreen.after(hours=-0.5))
    assert sgreen.json("why", 42)["receipt"] is None


def test_a_broken_ledger_does_not_stop_the_answer(sgreen):
    """It is not needed."""
    sgreen.config.paths.ledger.write_text("rubbish")
    sgreen.slurm.change(42, state="COMPLETED", start_utc=sgreen.after(), end_utc=sgreen.after())

    assert sgreen.json("why", 42)["receipt"] is None


@pytest.mark.parametrize("bad", ["x", "42_", "-1", "42.batch", "99999999999999", "\u0664\u0662"])
def test_what_is_no_job_is_bad_input(sgreen, bad):
    """Status 2 and how to write one."""
    done = sgreen("why", "--", bad)

    assert done.exit_code == 2
    assert "is not a job: write 123" in done.stderr


ENFORCING = '[general]\nmode = "enforce"\n[policy]\ndefault_delay = "6h"\n'


@pytest.mark.parametrize(
    ("begin_s", "job", "reason", "words"),
    [
        (10, {}, "not-confirmed", "was not confirmed within its hold of 10 s"),
        (
            3,
            {"deadline_utc": "soon"},
            "no-slack-left",
            "was let go as soon as the queue showed all of it: its deadline leaves no time to "
            "wait, with up to 60 min to run and ",
        ),
        (3, {"comment": "green:off"}, "opted-out", "let go as soon as the queue showed all of it"),
        (3, {}, "at-once", "was let go as soon as the queue showed all of it"),
    ],
)
@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETED"])
def test_a_hold_that_came_to_nothing_says_why(sgreen, state, begin_s, job, reason, words):
    """Too late to be confirmed, or let go for a reason the queue showed; nothing is claimed."""
    sgreen.config = replace(loads(ENFORCING), paths=sgreen.config.paths)
    decided = sgreen.after(minutes=-10)
    begin = decided + timedelta(seconds=begin_s)
    job = job | ({"deadline_utc": sgreen.after(minutes=50)} if "deadline_utc" in job else {})
    times = {} if state == "PENDING" else {"start_utc": begin + timedelta(seconds=1)}
    if state == "COMPLETED":
        times["end_utc"] = sgreen.after()
    text = str(sgreen.record(decided_utc=decided, start_utc=begin, save_g=None))
    sgreen.slurm.put(
        sgreen.job(
            state=state, submit_utc=decided, eligible_utc=begin, admin_comment=text, **times, **job
        )
    )

    found = sgreen.json("why", 42)

    assert found["reason"] == reason
    assert words in found["sentence"]
    assert found["save_g"] is None


def test_a_daemon_that_never_looked_is_said_to_be_missing(sgreen):
    """The record is as the hook wrote it, and the hold has run out."""
    decided = sgreen.after(minutes=-10)
    begin = decided + timedelta(seconds=10)
    text = str(sgreen.record(decided_utc=decided))
    sgreen.slurm.put(sgreen.job(admin_comment=text, eligible_utc=begin))

    assert "was not confirmed within its hold" in sgreen("why", 42).stdout


def test_a_job_let_go_after_a_look_has_no_begin_time_of_its_own(sgreen):
    """Its record is gone and its begin time within the hold was ours."""
    sgreen.config = replace(loads(ENFORCING), paths=sgreen.config.paths)
    submit = sgreen.after(minutes=-5)
    begin = submit + timedelta(seconds=3)
    sgreen.slurm.put(sgreen.job(admin_comment="", submit_utc=submit, eligible_utc=begin))
    assert sgreen.json("why", 42)["reason"] == "at-once"
    sgreen.slurm.put(
        sgreen.job(admin_comment="", submit_utc=submit, eligible_utc=sgreen.after(hours=1))
    )
    assert sgreen.json("why", 42)["reason"] == "begin-set"


def test_a_short_job_with_a_deadline_is_told_how_to_ask(sgreen):
    """Short jobs are not held to look for a --deadline; a mark is seen."""
    sgreen.config = replace(loads('[general]\nmode = "enforce"'), paths=sgreen.config.paths)
    fields = {
        "admin_comment": "", "eligible_utc": sgreen.after(hours=-1), "time_limit_s": 60,
        "deadline_utc": sgreen.after(hours=9),
    }  # fmt: skip
    sgreen.slurm.put(sgreen.job(**fields))
    assert "--comment=green:deadline=... asks for it" in sgreen.json("why", 42)["sentence"]
    sgreen.slurm.put(sgreen.job(comment="green:max-delay=5h", **fields))
    assert sgreen.json("why", 42)["reason"] == "at-once"


def test_a_deferral_pulled_by_a_deadline_says_so(sgreen):
    """The promise told at submission was later; this is why it is sooner."""
    sgreen.slurm.put(sgreen.job(deadline_utc=sgreen.after(hours=8)))

    words = sgreen("why", 42).stdout

    assert "18:00:00 UTC in time for its deadline at 2026-11-22 20:00:00 UTC, saving" in words


def test_a_job_that_a_new_forecast_makes_emit_more_is_not_said_to_save(sgreen):
    sgreen.slurm.put(sgreen.job(admin_comment=str(sgreen.record(save_g=-12))))

    words = sgreen("why", 42).stdout

    assert "losing about 12 g of CO2e against starting at once." in words


def test_a_job_cancelled_in_the_queue_has_no_receipt(sgreen):
    """Slurm shows its end as its start, too (seen on 22.05)."""
    end = sgreen.after(hours=-0.1)
    ended = sgreen.job(state="CANCELLED", start_utc=end, end_utc=end, cluster="fake")
    sgreen.slurm.put(ended)
    facts = facts_of(ended, submit_utc=ended.submit_utc, mode="enforce", action="defer")
    facts = replace(facts, energy_j=0.0, energy_source="modelled", carbon_g=0.0, saved_g=0.0)
    with Store(sgreen.config.paths.ledger) as store:
        store.add([facts])

    words = sgreen("why", 42).stdout

    assert "it never ran." in words
    assert "Receipt" not in words
    assert sgreen.json("why", 42)["receipt"] is None


def test_an_arrays_saving_is_the_arrays(sgreen):
    """One record for all tasks, one receipt for each."""
    sgreen.slurm.put(sgreen.job(array_job_id=42, array_task="0-9", tasks=10))
    assert "saving about 420 g of CO2e for the whole array against" in sgreen("why", 42).stdout
    assert sgreen.json("why", 42)["save_scope"] == "array"
    ended = sgreen.job(
        array_job_id=42, array_task="3", state="COMPLETED", start_utc=sgreen.after(hours=2),
        end_utc=sgreen.after(hours=3), cluster="fake",
    )  # fmt: skip
    sgreen.slurm.put(ended)
    facts = facts_of(ended, submit_utc=ended.submit_utc, mode="enforce", action="defer")
    facts = replace(facts, energy_j=3.6e6, energy_source="modelled", carbon_g=100.0)
    with Store(sgreen.config.paths.ledger) as store:
        store.add([facts])
    words = sgreen("why", "42_3").stdout
    assert "expected to save about 420 g of CO2e for the whole array." in words
    assert "Receipt of task 42_3 alone (modelled): 1 kWh, 100 g" in words
