# SPDX-License-Identifier: Apache-2.0
"""`sgreen report`: from the ledger, or from Slurm for who may not read it."""

from dataclasses import replace

import numpy as np
import pytest

from slurm_green.ledger.entries import Decision, Event, facts_of
from slurm_green.ledger.store import Store
from slurm_green.signals.series import Series
from slurm_green.words import grams


@pytest.fixture
def ledger(sgreen):
    """One deferred job that ended, one shadow decision, and the signal of the day."""
    ended = sgreen.job(
        submit_utc=sgreen.after(hours=-6),
        start_utc=sgreen.after(hours=-2),
        end_utc=sgreen.after(hours=-1),
        state="COMPLETED",
    )
    facts = facts_of(ended, submit_utc=ended.submit_utc, mode="enforce", action="defer")
    shadow = Decision(
        cluster="fake",
        job_id=77,
        decided_utc=sgreen.after(hours=-3),
        mode="shadow",
        action="defer",
        save_g=90.0,
    )
    series = Series(
        start_utc=sgreen.after(hours=-12),
        step_s=3600,
        values=np.array([400.0] * 9 + [100.0] * 15),
        issued_utc=sgreen.after(hours=-12),
        provider="neso",
    )
    with Store(sgreen.config.paths.ledger) as store:
        store.add([facts, shadow])
        store.add_signal(series)
    return sgreen


def test_the_site_s_figure_stands_beside_the_receipts(ledger):
    """Both labelled, neither added to the other."""
    found = ledger.json("report", "-S", "now-1day")

    assert found["source"] == "ledger"
    assert found["jobs"] == 1
    assert found["deferred"] == 1
    assert found["energy_sources"] == {"modelled": 1}
    assert found["receipts_saved_g"] > 0
    assert found["site"]["saved_g"] is not None
    assert found["shadow"] == {
        "decided": 1, "would_defer": 1, "expected_save_g": 90.0, "unknown": 0,
    }  # fmt: skip
    words = ledger("report", "-S", "now-1day").stdout
    assert "Site: " in words
    assert "Receipts: " in words
    assert "1 modelled" in words


def test_part_of_a_site_has_no_site_figure(ledger):
    """A user's jobs alone cannot be replayed."""
    found = ledger.json("report", "-S", "now-1day", "-u", "ada")

    assert found["jobs"] == 1
    assert found["site"]["saved_g"] is None
    assert found["site"]["reason"] == "part of a site has none"
    assert ledger.json("report", "-S", "now-1day", "-u", "bob")["jobs"] == 0


def test_a_site_whose_size_slurm_does_not_tell_has_no_figure(ledger):
    """Which is no matter of who was asked for."""
    ledger.slurm.broken = "slurmctld is down"
    reason = "Slurm did not tell the site's GPU and CPU counts"

    assert ledger.json("report", "-S", "now-1day")["site"]["reason"] == reason
    assert f"Site: no figure, {reason}.\n" in ledger("report", "-S", "now-1day").stdout


@pytest.mark.parametrize(
    ("asked", "reason"),
    [((), "it is made from the ledger alone"), (("-u", "ada"), "part of a site has none")],
)
def test_without_the_ledger_the_site_s_figure_is_said_to_need_it(sgreen, asked, reason):
    """The same jobs, of Slurm's accounting."""
    sgreen.slurm.accounting = []

    assert sgreen.json("report", "-S", "now-1day", *asked)["site"]["reason"] == reason


def test_shadow_says_what_would_have_been(ledger):
    """An estimate, called one."""
    words = ledger("report", "--shadow").stdout

    assert "1 jobs looked at, 1 would have waited" in words
    assert "had it been enforced: 90 g" in words


def test_one_csv_line_per_job(ledger):
    """With a header."""
    lines = ledger("report", "--csv").stdout.splitlines()

    assert len(lines) == 2
    assert lines[0].startswith("cluster,job_id,")


def test_without_the_ledger_slurm_s_records_are_counted(sgreen):
    """Expected savings from AdminComment, of what ran; unknown carbon stays unknown."""
    sgreen.slurm.jobs_by_id.clear()
    sgreen.slurm.accounting = [
        sgreen.job(
            job_id,
            array_job_id=42,
            array_task=str(job_id),
            state="COMPLETED",
            submit_utc=sgreen.after(hours=-6),
            start_utc=sgreen.after(hours=-2),
            end_utc=sgreen.after(hours=-1),
            admin_comment=str(sgreen.record(start_utc=sgreen.after(hours=-2))),
        )
        for job_id in (42, 43)
    ]
    one = sgreen.slurm.accounting[0]
    never = {"state": "CANCELLED", "start_utc": None}
    other = str(sgreen.record(token="other"))
    sgreen.slurm.accounting += [
        replace(one, job_id=44, array_task="44", **never),
        replace(one, job_id=45, array_job_id=None, array_task="", admin_comment=other, **never),
        # Requeued by somebody else: when it ran again was no decision of ours.
        replace(one, job_id=46, array_task="46", submit_utc=sgreen.after(minutes=-58)),
    ]

    found = sgreen.json("report")

    assert found["source"] == "slurm"
    assert (found["jobs"], found["deferred"]) == (5, 4)
    assert found["expected_save_g"] == 420, "one decision for the whole array"
    assert found["unknown"] == 5
    words = sgreen("report").stdout
    assert "no ledger that you may read" in words
    # A login node has no signal: a sum of nothing is not 0 g.
    assert "Receipts: what deferred jobs saved is not known" in words
    assert [row.split("|")[4:] for row in sgreen("report", "-P", "-n").stdout.splitlines()] == [
        ["-", "-", "5"]
    ]


def test_neither_ledger_nor_accounting_is_status_1(sgreen):
    """Said in one line."""
    sgreen.slurm.accounting = None

    done = sgreen("report")

    assert done.exit_code == 1
    assert "keeps no accounting" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["-S", "now", "-E", "now-1day"], ["-S", "tomorrow-ish"], ["--csv", "--json"], ["--by", "x"]],
)
def test_bad_input_is_status_2(sgreen, words):
    """Before anything is asked of Slurm."""
    done = sgreen("report", *words)

    assert done.exit_code == 2
    assert sgreen.slurm.calls == []


def test_sacct_like_separators(ledger):
    """-P -n is for scripts."""
    lines = ledger("report", "-P", "-n", "--by", "user").stdout.splitlines()

    assert len(lines) == 1
    assert lines[0].startswith("ada|1|1|")


def test_who_was_decided_on_before_the_period_counts_in_it(ledger):
    """Their promise, or when shadow mode would have let them go, stands before it."""
    jobs = [
        ledger.job(
            n,
            submit_utc=ledger.after(hours=-9),
            eligible_utc=ledger.after(hours=-2),
            start_utc=ledger.after(hours=-2),
            end_utc=ledger.after(hours=-1),
            state="COMPLETED",
        )
        for n in (90, 91)
    ]
    decided = [
        Decision(
            cluster=one.cluster,
            job_id=one.job_id,
            decided_utc=ledger.after(hours=-9, seconds=-1),
            mode=mode,
            action="defer",
            start_utc=ledger.after(hours=-3),
            latest_utc=ledger.after(hours=-2),
        )
        for one, mode in zip(jobs, ("enforce", "shadow"), strict=True)
    ]
    let_go = Event(
        cluster=jobs[1].cluster, job_id=91, at_utc=ledger.after(hours=-6), kind="shadow-start"
    )
    with Store(ledger.config.paths.ledger) as store:
        store.add([*(facts_of(one, submit_utc=one.submit_utc) for one in jobs), *decided, let_go])

    found = ledger.json("report", "-S", "now-4hours")

    assert (found["promises"]["made"], found["promises"]["kept"]) == (1, 1)
    assert found["shadow_outcome"]["compared"] == 1
    assert found["shadow_outcome"]["mean_delay_s"] == 3 * 3600
    assert found["shadow"]["decided"] == 1, "those of the period"


@pytest.mark.parametrize(
    ("begin_h", "said"),
    [(-3, "1 of 1 kept, 0 broken."), (-2, "0 of 1 kept, 0 broken, 1 neither.")],
)
def test_a_promise_that_its_user_moved_is_said_to_be_neither(ledger, begin_h, said):
    """Else one of one would be neither kept nor broken without a word."""
    begin = ledger.after(hours=begin_h)
    job = ledger.job(
        90, submit_utc=ledger.after(hours=-9), eligible_utc=begin, start_utc=begin,
        end_utc=ledger.after(hours=-1), state="COMPLETED",
    )  # fmt: skip
    promise = Decision(
        cluster=job.cluster, job_id=90, decided_utc=job.submit_utc, mode="enforce",
        action="defer", start_utc=ledger.after(hours=-5), latest_utc=ledger.after(hours=-3),
    )  # fmt: skip
    asked = {} if begin_h == -3 else {"asked_begin_utc": begin}
    with Store(ledger.config.paths.ledger) as store:
        store.add([facts_of(job, submit_utc=job.submit_utc, **asked), promise])

    assert f"Promises: {said}\n" in ledger("report", "-S", "now-1day").stdout


def test_shadow_is_held_against_what_happened(ledger):
    """The job ran in dirty hours; an hour ago it would have been let go."""
    ran = ledger.job(
        77,
        submit_utc=ledger.after(hours=-8),
        start_utc=ledger.after(hours=-8),
        end_utc=ledger.after(hours=-7),
        state="COMPLETED",
    )
    with Store(ledger.config.paths.ledger) as store:
        store.add(
            [
                facts_of(ran, submit_utc=ran.submit_utc, mode="shadow", action="defer"),
                Event(
                    cluster=ran.cluster,
                    job_id=77,
                    at_utc=ledger.after(hours=-2),
                    kind="shadow-start",
                ),
                Decision(
                    cluster=ran.cluster,
                    job_id=77,
                    decided_utc=ledger.after(hours=-8),
                    mode="shadow",
                    action="defer",
                    start_utc=ledger.after(hours=-3),
                    save_g=90.0,
                ),
            ]
        )
    found = ledger.json("report", "-S", "now-1day")["shadow_outcome"]
    assert (found["compared"], found["unknown"]) == (1, 0)
    assert found["actual_g"] == pytest.approx(4 * found["would_g"])
    assert found["saved_g"] == pytest.approx(found["actual_g"] - found["would_g"])
    words = ledger("report", "--shadow", "-S", "now-1day").stdout
    assert "Against what happened: 1 of them" in words
    assert "let go 6 h" in words
    assert f"{grams(found['saved_g'])} less (expected" in words


def test_a_loss_is_told_as_one(ledger):
    """By what is known of these hours now the job waited for dirtier ones."""
    with Store(ledger.config.paths.ledger) as store:
        start, values = ledger.after(hours=-12), np.array([100.0] * 9 + [400.0] * 15)
        store.add_signal(
            Series(start_utc=start, step_s=3600, values=values, issued_utc=start, provider="neso")
        )
    words = ledger("report", "-S", "now-1day", "-u", "ada").stdout
    assert " more than the same run" in words
    assert "-" not in words.partition("Receipts:")[2].partition("more than")[0]
    found = ledger.json("report", "-S", "now-1day")["site"]
    words = ledger("report", "-S", "now-1day").stdout
    percent = f"({-found['saved_percent']:.1f} %)"
    assert f": emitted {grams(-found['saved_g'])} more {percent}." in words
    assert f"Receipts: emitted {grams(-found['receipts_g'])} more over the same jobs;" in words
