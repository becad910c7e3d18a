# SPDX-License-Identifier: Apache-2.0
"""What finished and started jobs teach, once each."""

from builders import NOW, at, job

from slurm_green.controller.learn import learn
from slurm_green.plan.history import History, RunSample, WaitSample
from slurm_green.slurm.records import Job

NOBODY: frozenset[int] = frozenset()


def test_a_wait_is_learned_at_the_start_and_a_run_at_the_end() -> None:
    running = job(1, state="RUNNING", start_utc=at(0.5), end_utc=at(2.5))
    history, started, ended = learn(History(), [running], started=NOBODY, ended=NOBODY)
    assert history.waits == (WaitSample(partition="gpu", qos="normal", gpus=1, wait_s=1800.0),)
    assert (history.runs, started, ended) == ((), {1}, NOBODY)
    done = job(1, state="COMPLETED", start_utc=at(0.5), end_utc=at(1.5))
    history, started, ended = learn(history, [done], started=started, ended=ended)
    assert len(history.waits) == 1
    assert history.runs == (RunSample(partition="gpu", user="ada", name="train", fraction=0.5),)
    again, started, ended = learn(history, [done], started=started, ended=ended)
    assert again is history
    assert (started, ended) == ({1}, {1})


def test_ids_slurm_forgot_are_forgotten() -> None:
    _, started, ended = learn(History(), [], started=frozenset({1}), ended=frozenset({2}))
    assert (started, ended) == (NOBODY, NOBODY)


def test_a_deferred_job_waited_from_its_begin_time_on() -> None:
    late = job(1, state="RUNNING", eligible_utc=at(6), start_utc=at(6.1))
    history, _, _ = learn(History(), [late], started=NOBODY, ended=NOBODY)
    assert round(history.waits[0].wait_s) == 360


def test_of_a_run_that_a_requeue_ends_no_wait_is_learned() -> None:
    """Slurm shows the next run's times: beginning now, before it may."""
    ending = job(1, state="COMPLETING", eligible_utc=at(6), start_utc=at(3), restarts=1)
    history, _, _ = learn(History(), [ending], started=NOBODY, ended=NOBODY)
    assert history.waits == ()


def test_of_an_array_the_first_start_tells_how_long_it_queued() -> None:
    """With %1 the last of its tasks waited for hours, on an empty cluster."""

    def task(number: int, hours: float, **fields: object) -> Job:
        start = {"start_utc": at(hours), "end_utc": at(hours + 1), "state": "COMPLETED"}
        array = {"array_job_id": 10, "array_task": str(number)}
        # What waits of an array has its number, and so has the last task.
        return job(10 if number == 9 else 10 + number, **(start | array | fields))

    waits = task(9, 0, state="PENDING", start_utc=None, end_utc=None)
    cancelled = task(5, 9, state="CANCELLED", end_utc=at(9))
    history, started = History(), NOBODY
    for jobs in (
        [waits],
        [cancelled, waits],
        [waits, task(2, 1), task(1, 0.5, state="RUNNING")],
        [waits],
        [waits, task(3, 2)],
        [task(9, 3)],
    ):
        history, started, _ = learn(history, jobs, started=started, ended=NOBODY)
    assert [one.wait_s for one in history.waits] == [1800.0]
    at_once, _, _ = learn(
        History(), [task(3, 2), task(1, 0.5), task(2, 1)], started=NOBODY, ended=NOBODY
    )
    assert [one.wait_s for one in at_once.waits] == [1800.0]
    assert len(at_once.runs) == 3


def test_a_job_cancelled_while_it_waited_teaches_nothing() -> None:
    gone = [
        job(1, state="CANCELLED", start_utc=at(5), end_utc=at(5)),
        job(2, state="DEADLINE", start_utc=at(5), end_utc=at(5)),
        job(3, state="PENDING", start_utc=at(5)),
        job(4, state="CANCELLED", start_utc=None, end_utc=at(5)),
    ]
    history, _, _ = learn(History(), gone, started=NOBODY, ended=NOBODY)
    assert history == History()


def test_only_complete_runs_within_a_limit_teach_a_length() -> None:
    jobs = [
        job(1, state="TIMEOUT", start_utc=NOW, end_utc=at(2)),
        job(2, state="FAILED", start_utc=NOW, end_utc=at(0.01)),
        job(3, state="COMPLETED", start_utc=NOW, end_utc=at(1), time_limit_s=None),
        job(4, state="COMPLETED", start_utc=NOW, end_utc=at(3)),
        job(5, state="COMPLETED", start_utc=NOW, end_utc=NOW),
    ]
    history, _, _ = learn(History(), jobs, started=NOBODY, ended=NOBODY)
    assert [one.fraction for one in history.runs] == [1.0, 0.0]
    assert len(history.waits) == 5
