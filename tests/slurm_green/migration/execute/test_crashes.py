# SPDX-License-Identifier: Apache-2.0
"""Whatever dies, fails or times out, and wherever: one job goes on, from its newest checkpoint."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.errors import SlurmError
from slurm_green.migration.execute.drive import step_once
from slurm_green.migration.execute.pair import Wait
from slurm_green.migration.execute.record import Limits, MoveRecord, Step, Way
from slurm_green.migration.execute.turn import turn
from tests.slurm_green.migration.execute.world import (
    CHECKPOINT,
    LONG,
    FakeJob,
    Fault,
    Killed,
    MemoryJournal,
    World,
)

WAYS = list(Way)


def check(world: World) -> Step:
    """One of it runs or waits to, nothing of it is left over, the source's files are there."""
    move = world.run()
    assert len(world.alive) == 1, world.jobs()
    assert not world.alive[0].held
    assert CHECKPOINT in world.sites["a"].files or world.newest == 0
    assert (world.alive[0].cluster == "b") == (move.step is Step.DONE)
    assert [name for site in world.sites.values() for name in site.files if "sgreen" in name] == []
    assert world.sites["a"].claims == {}
    transfers = [job for job in world.sites["a"].jobs.values() if job.copy is not None]
    assert not any(job.alive for job in transfers)
    return move.step


@pytest.mark.parametrize("way", WAYS)
def test_a_move_without_trouble_moves(way: Way) -> None:
    world = World(way=way)
    assert check(world) is Step.DONE
    assert world.newest > 0


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("way", WAYS)
def test_one_fault_at_every_call(way: Way, fault: Fault) -> None:
    """Calls to either site and writes to the journal: the walk over all of them."""
    plain = World(way=way)
    plain.run()
    assert len(plain.calls) > 40
    for at in range(len(plain.calls)):
        world = World(way=way, faults={at: fault})
        assert check(world) is Step.DONE, (at, plain.calls[at])


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("way", WAYS)
def test_one_fault_at_every_call_by_way_of_a_store(way: Way, fault: Fault) -> None:
    """And nothing is left in it."""
    plain = World(way=way, store="s3://b/x")
    assert check(plain) is Step.DONE
    assert "b.copy" in plain.calls
    for at in range(len(plain.calls)):
        world = World(way=way, store="s3://b/x", faults={at: fault})
        assert check(world) is Step.DONE, (at, plain.calls[at])
        assert world.store == {}


@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER])
def test_a_mover_that_dies_and_is_not_followed(fault: Fault) -> None:
    """The job computes again all the same, but for the moment around the release."""
    plain = World()
    plain.run()
    held: list[str] = []
    for at in moments(Way.RESUBMIT):
        world = World(faults={at: fault})
        with pytest.raises(Killed):
            world.once()
        for _ in range(60):
            world.tick()
        if not world.running:
            held.append(plain.calls[at])
            assert world.job.held
    first = plain.calls.index("a.hold")
    assert held == plain.calls[first + (fault is Fault.DIES_BEFORE) :][: len(held)]
    assert len(held) < 12
    # Whoever follows at last finds one of it.
    world = World(faults={first: fault})
    with pytest.raises(Killed):
        world.once()
    for _ in range(60):
        world.tick()
    world.run()
    assert len(world.alive) == 1


@settings(max_examples=150, deadline=None)
@given(
    way=st.sampled_from(WAYS),
    faults=st.dictionaries(st.integers(0, 120), st.sampled_from(list(Fault)), max_size=12),
    pending=st.booleans(),
    begin_s=st.sampled_from([0.0, 7200.0]),
    store=st.sampled_from(["", "s3://b/x"]),
)
def test_any_number_of_faults(
    way: Way, faults: dict[int, Fault], pending: bool, begin_s: float, store: str
) -> None:
    """`begin_s` from now a job that waits was put off to."""
    world = World(way=way, faults=faults, pending=pending, store=store)
    if pending:
        world.job.begin_s = world.now_s + begin_s
        world.newest = world.sites["a"].files[CHECKPOINT] = 5
    move = world.run()
    assert move.settled
    assert len(world.alive) == 1
    assert not world.alive[0].held


@pytest.mark.parametrize("way", WAYS)
def test_the_job_ends_at_any_moment(way: Way) -> None:
    """By itself, whatever the move is at; it is not started again."""
    for total in range(1, 30):
        world = World(way=way, total=total)
        move = world.run()
        for _ in range(40):
            world.tick()
        assert [job.state for job in world.jobs() if job.state == "COMPLETED"] == ["COMPLETED"]
        assert world.alive == []
        assert move.settled


def test_the_job_ends_and_is_forgotten_at_any_moment() -> None:
    """A mover that was away for long finds no such job; a copy that was not released goes."""
    for at in moments(Way.RESUBMIT):
        world = World()

        def end(world: World = world) -> None:
            world.job.state, world.job.held = "COMPLETED", False
            world.purge()

        world.before_call[at] = end
        move = world.run()
        assert move.settled, at
        # From the last look at it on, its copy is the job.
        late = "b.release" in world.calls
        assert [job.state for job in world.alive] == (["RUNNING"] if late else []), at
        assert move.step is (Step.DONE if late else Step.ENDED), at


def moments(way: Way) -> range:
    """Every call that a plain move makes: a person may act before any of them."""
    world = World(way=way)
    world.run()
    return range(len(world.calls))


@pytest.mark.parametrize("way", WAYS)
def test_its_user_cancels_all_of_it_at_any_moment(way: Way) -> None:
    """None comes back."""
    for at in moments(way):
        world = World(way=way)

        def cancel(world: World = world) -> None:
            for job in world.jobs():
                job.state, job.held = "CANCELLED", False

        world.before_call[at] = cancel
        world.run()
        # Between the last look at the job and the release of its copy nobody can come, but one.
        assert world.alive == []


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_two_runs_with_a_journal_each(way: Way, pending: bool) -> None:
    """On two machines, or one of them from cron: neither sees what the other wrote down."""
    for at in range(30):
        world, other = World(way=way, pending=pending), "m1-def"
        journals = [world.journal, MemoryJournal(world)]
        moves = [world.journal.load("m1-abc")]
        for tick in range(200):
            if tick == at:
                fresh = World(way=way).journal.load("m1-abc")
                moves.append(replace(fresh, token=other, since_s=world.now_s, began_s=world.now_s))
            for number, move in enumerate(moves):
                moves[number], _ = step_once(
                    move, world.pair, journals[number], lambda world=world: world.now_s
                )
            world.tick()  # which sees two that compute, or two copies
        assert [move.settled for move in moves] == [True, True], at
        assert len(world.alive) == 1, at
        assert not world.alive[0].held, at
        assert world.sites["a"].claims == {}


def test_a_mark_that_an_ended_move_left_is_no_other_run() -> None:
    """Nodes were busy for too long to take it away. Of a journal that is not ours nobody knows."""
    for earlier, step in ((("m1-older", "m1-old"), Step.DONE), ((), Step.STAYED)):
        world = World()
        record = replace(world.journal.records["m1-abc"], earlier=earlier)
        world.journal.records["m1-abc"] = record
        assert world.sites["a"].claim(CHECKPOINT, "m1-old")
        assert world.run().step is step
        assert list(world.sites["a"].claims.values()) == ([] if earlier else ["m1-old"])


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_somebody_holds_is_left_alone(way: Way) -> None:
    """Before its turn came to be stopped, running or not: who holds it lets it go."""
    for pending in (False, True):
        world = World(way=way, pending=pending)
        if pending:
            world.can_start["a"] = False

        def hold(world: World = world) -> None:
            world.job.state, world.job.held = "PENDING", True

        world.before_call[0] = hold
        assert world.run().step is Step.STAYED
        assert [(job.state, job.held) for job in world.alive] == [("PENDING", True)]
        assert world.sites["a"].claims == {}


def test_its_user_cancels_the_job_they_know_of() -> None:
    """The one at the source: a copy that is still held goes with it, one that runs is the job."""
    for at in moments(Way.RESUBMIT):
        world = World()
        released: list[bool] = []

        def cancel(world: World = world, released: list[bool] = released) -> None:
            # Once its release is on its way, it is the job.
            late = world.calls[-1] == "b.release"
            free = [job for job in world.alive if not job.held and job is not world.job]
            released.append(bool(free) or late)
            if world.job.alive:
                world.job.state, world.job.held = "CANCELLED", False

        world.before_call[at] = cancel
        move = world.run()
        left = [job is not world.job for job in world.alive]
        # A look that showed it held may be a call old.
        assert left in ([[True]] if released[0] else [[], [True]]), at
        assert move.step is (Step.DONE if left else Step.ENDED)
        if left and not released[0]:
            assert world.calls[at] in {"b.look", "journal"}, world.calls[at]


def test_its_user_cancels_the_copy() -> None:
    """While it is held, the job goes on at the source; once released, it was the job."""
    plain = World()
    plain.run()
    # Looked at before, written down that a release is tried, released: from then on it is the job.
    tried = plain.calls.index("b.release") - 4
    for at in moments(Way.RESUBMIT):
        world = World()
        held: list[bool] = []

        def cancel(world: World = world, held: list[bool] = held) -> None:
            copies = [job for job in world.alive if job is not world.job]
            held.extend(job.held and world.calls[-1] != "b.release" for job in copies)
            for job in copies:
                job.state = "CANCELLED"

        world.before_call[at] = cancel
        world.run()
        assert len(world.alive) == (0 if held == [False] or (held and at > tried) else 1), at


def test_its_user_releases_the_job_at_the_source() -> None:
    """They want it here: its copy goes. After the last look before the release it is too late."""
    plain = World()
    plain.run()
    before = plain.calls[: plain.calls.index("b.release")]
    for at in range(len(before) - before[::-1].index("a.look")):
        world = World()
        world.before_call[at] = lambda world=world: setattr(world.job, "held", False)
        world.run()
        assert len(world.alive) == 1, at


def test_its_user_releases_the_copy() -> None:
    """They see a held job there: it ends before the one at the source goes on."""
    plain = World()
    plain.run()
    for at in range(plain.calls.index("b.place") + 1, plain.calls.index("b.release")):
        world = World()

        def release(world: World = world) -> None:
            for job in world.sites["b"].own():
                job.held = False

        world.before_call[at] = release
        world.run()  # which sees two that compute
        assert len(world.alive) == 1, at


@pytest.mark.parametrize("silent", [False, True])
def test_its_user_releases_the_copy_of_a_move_that_is_given_up(silent: bool) -> None:
    """That one ends first; a destination that does not answer keeps nobody for long."""
    plain = World()
    plain.run()
    for at in range(plain.calls.index("b.place") + 1, plain.calls.index("b.release") - 3):
        world = World()

        def release(world: World = world) -> None:
            for job in world.sites["b"].own():
                job.held = False
            world.unwanted = lambda _: "the window has closed"
            if silent:
                world.can_start["b"] = False
                world.down.add("b")
                world.events[world.ticks + 30] = world.down.clear

        world.before_call[at] = release
        assert world.run().step is Step.STAYED  # which sees two that compute
        assert [job.cluster for job in world.alive] == ["a"], at


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_transfer_is_repeated_and_three_end_the_move(way: Way) -> None:
    for bad, ends in ((1, Step.DONE), (2, Step.DONE), (3, Step.STAYED)):
        for kind in ("bad_copies", "failing_copies"):
            for store in ("", "s3://b/x"):
                world = World(way=way, store=store)
                setattr(world, kind, set(range(1, bad + 1)))
                assert check(world) is ends


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_work_leaves_the_job_at_the_source(way: Way) -> None:
    """A full destination; a link that is slower than promised; no start there."""
    full = World(way=way)
    full.free_bytes = 99
    slow = World(way=way)
    slow.copy_ticks = 200
    stuck = World(way=way)
    stuck.can_start["b"] = False
    for world, words in ((full, "99 bytes free"), (slow, "too slow"), (stuck, "did not start")):
        assert check(world) is Step.STAYED
        assert words in world.journal.load("m1-abc").why
    # Given up as soon as it can be known, not when the time is over.
    assert slow.ticks < 30


@pytest.mark.parametrize("fault", [Fault.DIES_AFTER, Fault.TIMES_OUT])
def test_a_release_that_nobody_saw_while_its_copy_waits_for_a_place(fault: Fault) -> None:
    """Nobody else released it: it is waited for, and not taken for somebody's wish."""
    plain = World()
    plain.run()
    world = World(faults={plain.calls.index("b.release"): fault})
    world.can_start["b"] = False
    world.after["b.release"] = lambda: world.events.update(
        {world.ticks + 10: lambda: world.can_start.update(b=True)}
    )
    assert check(world) is Step.DONE


@pytest.mark.parametrize("way", WAYS)
def test_a_transfer_from_a_store_that_takes_too_long_is_ended(way: Way) -> None:
    """It would write into what is swept."""
    world = World(way=way, store="s3://b/x")
    world.after["b.copy"] = lambda: setattr(world, "copy_ticks", LONG)
    assert check(world) is Step.STAYED
    assert [job.state for job in world.sites["b"].jobs.values() if job.copy] == ["CANCELLED"]
    assert world.store == {}


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_was_put_off_keeps_its_begin_time_where_its_move_is_given_up(way: Way) -> None:
    """Hours from now: it is released once, and the move is over."""
    world = World(way=way, pending=True)
    world.job.begin_s = world.now_s + 7200.0
    world.newest = world.sites["a"].files[CHECKPOINT] = 5
    world.free_bytes = 1
    assert check(world) is Step.STAYED
    assert world.calls.count("a.release") == 1
    assert world.job.begin_s == 1000.0 + 7200.0


@pytest.mark.parametrize(("way", "forgets"), [*((way, False) for way in WAYS), (WAYS[1], True)])
def test_a_job_that_was_put_off_starts_there_at_once(way: Way, forgets: bool) -> None:
    """Its begin time was for power here; kept, it would outlast the wait for its start there."""
    world = World(way=way, pending=True)
    world.job.begin_s = begin_s = world.now_s + 7200.0
    world.newest = world.sites["a"].files[CHECKPOINT] = 5

    def forget() -> None:
        world.job.held, world.job.begin_s = True, begin_s

    if forgets:  # its slurmctld the release
        world.after["a.release"] = forget
    assert check(world) is Step.DONE
    assert [job.state for job in world.alive] == ["RUNNING"]


@pytest.mark.parametrize("delta", [True, False])
def test_every_transfer_heeds_what_the_link_is_worth(delta: bool) -> None:
    world = World()
    record = world.journal.records["m1-abc"]
    world.journal.records["m1-abc"] = replace(record, limits=replace(record.limits, delta=delta))
    world.bad_copies = {1}
    assert check(world) is Step.DONE
    copies = [job.copy for job in world.sites["a"].jobs.values() if job.copy is not None]
    assert [copy.delta for copy in copies] == [delta, delta]


def test_a_transfer_that_begins_slowly_is_not_judged_at_once() -> None:
    """It has a tenth of its time, here 6 s, before what has arrived counts."""
    world = World()
    world.copy_ticks = 10
    there = world.sites["b"]
    there.arrived = lambda *_: 0 if there._ticks() < 5 else 50  # type: ignore[method-assign]
    assert check(world) is Step.DONE


@pytest.mark.parametrize("way", WAYS)
def test_a_window_that_closes_ends_a_move_that_can_be_ended(way: Way) -> None:
    for until in range(12):
        world = World(way=way)
        records = world.journal.records
        records["m1-abc"] = replace(records["m1-abc"], until_s=world.now_s + until)
        step = check(world)
        assert step is (Step.STAYED if until < 6 else step)


@pytest.mark.parametrize("way", WAYS)
def test_a_move_that_no_longer_makes_sense_ends_where_it_can(way: Way) -> None:
    """The window closes early: from any moment on the forecast says so."""
    for at in range(12):
        world = World(way=way)
        until_s = world.now_s + at
        world.unwanted = lambda _, world=world, until_s=until_s: (
            "closed" if world.now_s >= until_s else ""
        )
        step = check(world)
        assert step is (Step.STAYED if at < 6 else step)


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize("way", WAYS)
def test_a_site_that_goes_and_comes_back(way: Way, site: str) -> None:
    """From any moment, for longer than any step may take."""
    for at in range(1, 14):
        world = World(way=way)
        world.events[at] = lambda world=world: world.down.add(site)
        world.events[at + 70] = world.down.clear
        check(world)


def test_a_destination_that_never_comes_back_does_not_keep_the_job() -> None:
    """Before the release: the job runs at the source though its copy cannot be cancelled yet."""
    for at in range(1, 8):
        world = World()
        world.events[at] = lambda world=world: world.down.add("b")
        with pytest.raises(AssertionError, match="not settled"):
            world.run(150)
        move = world.journal.load("m1-abc")
        if not move.release_tried:
            assert move.step is Step.SWEEP
            assert world.job.state == "RUNNING"


def test_a_release_that_nobody_answered_is_never_taken_for_none() -> None:
    """The destination let it run and went silent: the job stays held here, however long."""
    for fault in (Fault.DIES_AFTER, Fault.TIMES_OUT):
        plain = World()
        plain.run()
        world = World(faults={plain.calls.index("b.release"): fault})
        world.after["b.release"] = lambda world=world: world.down.add("b")
        world.events[150] = world.down.clear
        assert check(world) is Step.DONE


def test_a_signal_that_is_not_heard_is_sent_again() -> None:
    """Python had no handler yet; not sooner than what a checkpoint may take to appear."""
    world = World()
    world.after["a.signal"] = lambda: setattr(world.job, "asked", False)
    assert check(world) is Step.DONE
    first, second = world.journal.load("m1-abc").signals_s
    assert second - first > world.journal.load("m1-abc").limits.again_s


def test_a_job_without_a_signal_is_waited_for() -> None:
    """Until it writes a checkpoint by itself."""
    world = World()
    world.journal.records["m1-abc"] = replace(world.journal.records["m1-abc"], signal=None)
    world.events[12] = lambda: setattr(world.job, "asked", True)
    assert check(world) is Step.DONE
    assert "a.signal" not in world.calls


def test_why_no_checkpoint_came() -> None:
    """The job wrote none, or was never asked for one."""
    world = World()
    world.journal.records["m1-abc"] = replace(world.journal.records["m1-abc"], signal=None)
    assert check(world) is Step.STAYED
    assert world.journal.load("m1-abc").why.startswith("no new checkpoint within 20 s")

    def claim(*_: str) -> bool:
        raise SlurmError("a: srun failed: no node is free")

    busy = World()
    busy.sites["a"].claim = claim  # type: ignore[method-assign]
    assert check(busy) is Step.STAYED
    why = busy.journal.load("m1-abc").why
    assert why == "step signal took more than 20 s: a: srun failed: no node is free"
    assert "a.signal" not in busy.calls


def test_a_job_is_not_stopped_while_its_checkpoint_grows() -> None:
    """Several files, or one that is not written beside its place as it should be."""
    world = World()
    stopped: list[int] = []

    def grow() -> None:
        world.newest += 1
        world.sites["a"].files[CHECKPOINT] = world.newest

    for ticks in range(2, 9):
        world.events[ticks] = grow
    world.after["a.stop"] = lambda: stopped.append(world.ticks)
    assert check(world) is Step.DONE
    assert stopped[0] > 8


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_takes_too_long_to_stop_is_let_go_again(way: Way) -> None:
    world = World(way=way)
    world.stop_ticks = 30
    assert check(world) is Step.STAYED


def test_a_stop_that_comes_late_is_seen() -> None:
    """Slurm did it after everybody had given up; the destination keeps the move open till then."""
    world = World()

    def refuse(_: int) -> None:
        raise SlurmError("no answer")

    def late() -> None:
        world.job.state, world.job.held = "COMPLETING", True

    world.sites["a"].stop = refuse  # type: ignore[method-assign]
    world.events[10] = lambda: world.down.add("b")
    world.events[40] = late
    world.events[60] = world.down.clear
    assert check(world) is Step.STAYED


@pytest.mark.parametrize("here_s", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("there_s", [-300.0, 0.0, 300.0])
@pytest.mark.parametrize("way", WAYS)
def test_clocks_that_are_apart(way: Way, here_s: float, there_s: float) -> None:
    """By as much as munge lets them, from ours and from each other: forwards, and back.

    Only a job that was queued anew waits for the clock of its site, if that is behind ours.
    """
    for bad in ((), (1, 2, 3)):
        world = World(way=way)
        world.clocks_s = {"a": here_s, "b": there_s}
        world.bad_copies = set(bad)
        record = world.journal.records["m1-abc"]
        usual = Limits()
        limits = replace(record.limits, lease_s=usual.lease_s, start_s=usual.start_s)
        world.journal.records["m1-abc"] = replace(record, limits=limits)
        move = world.run()
        assert move.step is (Step.STAYED if bad else Step.DONE)
        for _ in range(round(max(-here_s, 0.0)) if bad else 0):
            world.tick()
        assert [job.cluster for job in world.running] == ["a" if bad else "b"]
        if way is Way.RESUBMIT and not bad:
            left_s = dict(move.history)
            assert left_s[Step.START] - left_s[Step.RELEASE] < 5


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("site", ["a", "b"])
def test_a_slurmctld_that_forgets_its_last_moments(site: str, refuses: bool) -> None:
    """Killed at any moment, it comes back as it was four before: it writes its state so late.

    And where it lets the job start once more, slurmd may refuse, which ends the job for good.
    """
    ends = set()
    for at in range(5, 60):
        world = World()
        world.events[at] = lambda world=world: world.forget(site, refuses=refuses)
        move = world.run()
        assert move.settled
        assert len(world.alive) == 1, (at, world.jobs(), move)
        assert not world.alive[0].held, (at, move)
        ends.add(move.why)
    assert ("its copy failed at the destination right after its start" in ends) == (
        refuses and site == "b"
    )


def forgets_after(world: World, call: str, site: str, ticks: int) -> None:
    """That site's slurmctld is killed so long after the call."""

    def arm() -> None:
        world.events[world.ticks + ticks] = lambda: world.forget(site)

    world.after[call] = arm


@pytest.mark.parametrize("ticks", range(1, 8))
def test_a_copy_that_is_forgotten_right_after_its_release(ticks: int) -> None:
    """Its submission, too: a long transfer leaves no time between them."""
    world = World()
    world.copy_ticks = 15
    forgets_after(world, "b.release", "b", ticks)
    check(world)


@pytest.mark.parametrize("ticks", range(1, 8))
def test_what_a_move_that_is_given_up_did_is_forgotten(ticks: int) -> None:
    """The release at the source; that its copy was cancelled."""
    world = World()
    world.free_bytes = 1
    forgets_after(world, "a.release", "a", ticks)
    assert check(world) is Step.STAYED

    world = World()
    world.can_start["b"] = False
    forgets_after(world, "b.cancel", "b", ticks)
    assert check(world) is Step.STAYED


@pytest.mark.parametrize("ticks", range(1, 8))
def test_that_a_copy_is_held_again_is_forgotten(ticks: int) -> None:
    """And it can start at last: it does, or the job here goes on."""
    world = World()
    world.can_start["b"] = False

    def armed() -> None:
        world.events[world.ticks + ticks] = forgotten

    def forgotten() -> None:
        world.forget("b")
        world.can_start["b"] = True

    world.after["b.hold"] = armed
    check(world)


def test_a_release_is_forgotten_by_a_site_that_is_away_for_long() -> None:
    """It is made again: nobody had seen the copy without its hold."""
    world = World()
    forgets_after(world, "b.release", "b", 1)
    armed = world.after["b.release"]

    def away() -> None:
        armed()
        world.can_start["b"] = False
        world.down.add("b")
        world.events[world.ticks + 40] = world.down.clear
        world.events[world.ticks + 41] = lambda: world.can_start.update(b=True)

    world.after["b.release"] = away
    assert check(world) is Step.DONE


def test_a_site_that_takes_no_updates_does_not_keep_the_move() -> None:
    """Then its start is written down when Slurm does so by itself."""
    world = World()

    def refuse(_: int) -> None:
        raise SlurmError("denied")

    world.sites["b"].note = refuse  # type: ignore[method-assign]
    assert check(world) is Step.DONE


def test_a_copy_that_fails_at_once_and_one_that_fails_later() -> None:
    """The destination is not as the source is: the job goes on there; its own failure is its."""
    for ran_s, step, alive in ((3.0, Step.STAYED, 1), (30.0, Step.DONE, 0)):
        world = World()

        def fail(world: World = world, ran_s: float = ran_s) -> None:
            for job in world.sites["b"].own():
                job.fails_s = ran_s

        world.after["b.release"] = fail
        assert world.run().step is step
        assert len(world.alive) == alive


@pytest.mark.parametrize(
    ("call", "ticks", "step"),
    [
        ("b.release", 1, Step.STAYED),
        ("b.note", 1, Step.STAYED),
        ("b.note", 8, Step.STAYED),
        ("b.note", 40, Step.DONE),
    ],
)
def test_a_start_that_a_node_refuses(call: str, ticks: int, step: Step) -> None:
    """A prolog fails there: Slurm queues the copy anew and holds it, and the job goes on here.

    Once it has run for its ten seconds it is the job, whatever becomes of it.
    """
    world = World()
    world.can_start["b"] = call != "b.release"

    def refuse() -> None:
        (copy,) = [job for job in world.alive if job.cluster == "b"]
        copy.state, copy.held, copy.noted, copy.restarts = "PENDING", True, True, 1

    def arm() -> None:
        world.events[world.ticks + ticks] = refuse

    world.after[call] = arm
    assert world.run().step is step
    here, held = step is Step.STAYED, step is Step.DONE
    assert [(job.cluster, job.held) for job in world.alive] == [("a" if here else "b", held)]


@pytest.mark.parametrize("configured", [0, 1, 50])
def test_a_start_that_a_node_refuses_after_a_while_in_the_queue(configured: int) -> None:
    """However long it waited, for a place or for nodes to be started: it has not run there."""
    world = World()
    world.can_start["b"] = False
    record = world.journal.records["m1-abc"]
    world.journal.records["m1-abc"] = replace(record, limits=replace(record.limits, start_s=1000.0))

    def become(state: str) -> None:
        (copy,) = [job for job in world.alive if job is not world.job]
        copy.state = state
        if state == "PENDING":
            copy.held, copy.restarts = True, 1

    def arm() -> None:
        start = world.ticks + 100
        for at in range(start, start + configured):
            world.events[at] = lambda: become("CONFIGURING")
        world.events[start + configured] = lambda: become("PENDING")

    world.after["b.release"] = arm
    assert check(world) is Step.STAYED


@pytest.mark.parametrize("call", ["b.release", "b.note"])
def test_a_copy_that_is_queued_anew_and_not_held_is_the_job(call: str) -> None:
    """It was preempted: it starts again there."""
    world = World()
    world.can_start["b"] = call != "b.release"

    def preempt() -> None:
        (copy,) = [job for job in world.alive if job.cluster == "b"]
        copy.state, copy.noted, copy.restarts = "PENDING", True, 1
        world.can_start["b"] = False
        world.events[world.ticks + 5] = lambda: world.can_start.update(b=True)

    world.after[call] = lambda: world.events.update({world.ticks + 1: preempt})
    assert check(world) is Step.DONE


def until(world: World, step: Step) -> tuple[MoveRecord, FakeJob]:
    """The move at that step, and its copy."""
    move = world.journal.load("m1-abc")
    while move.step is not step:
        move, _ = step_once(move, world.pair, world.journal, lambda: world.now_s)
        world.tick()
    (copy,) = [job for job in world.alive if job is not world.job]
    return move, copy


@pytest.mark.parametrize(
    ("away_s", "end", "accounting", "step"),
    [
        (3600.0, "FAILED", True, Step.BACK),
        (3600.0, "COMPLETED", True, Step.CANCEL),
        (3600.0, "FAILED", False, Step.BACK),
        (3600.0, "COMPLETED", False, Step.BACK),
        (3600.0, "held", True, Step.CANCEL),
        (1.0, "held", True, Step.BACK),
    ],
)
def test_a_copy_that_was_seen_to_run_and_then_not_looked_at(
    away_s: float, end: str, accounting: bool, step: Step
) -> None:
    """Accounting says how it ended; one that is held later than its ten seconds has run.

    Without it the first look may have been at the moment before it failed.
    """
    world = World()
    world.accounting = accounting
    move, copy = until(world, Step.CANCEL)
    assert move.noted_s is not None
    if end == "held":
        copy.state, copy.held, copy.restarts = "PENDING", True, 1
    else:
        copy.state, copy.fails_s = end, 3.0
        world.purge()
    found = turn(move, world.pair, move.noted_s + away_s)
    found = found.record or move if isinstance(found, Wait) else found
    assert found.step is step
    assert ("a.cancel" in world.calls) == (step is Step.CANCEL)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_copy_that_lasted_is_the_job(accounting: bool) -> None:
    """Though the source could not cancel its own for so long that the copy ended meanwhile."""
    world = World()
    world.accounting = accounting
    cancel, tried = world.sites["a"].cancel, []

    def refuse(job_id: int) -> None:
        if len(tried) < 10:
            tried.append(job_id)
            raise SlurmError("no answer")
        cancel(job_id)

    def end() -> None:
        for job in world.sites["b"].own():
            job.state, job.fails_s = "FAILED", 300.0
        world.purge()

    world.sites["a"].cancel = refuse  # type: ignore[method-assign]
    world.after["b.note"] = lambda: world.events.update({world.ticks + 18: end})
    assert world.run().step is Step.DONE
    assert len(tried) == 10
    assert world.alive == []


def test_a_copy_that_is_queued_anew_after_nobody_looked_may_have_run() -> None:
    """Its user, or whoever took its nodes, did that to a job that had perhaps run for an hour."""
    world = World()
    world.can_start["b"] = False
    move, copy = until(world, Step.START)
    copy.restarts, copy.state = 1, "CONFIGURING"
    again = turn(move, world.pair, world.now_s + 60.0)
    assert isinstance(again, Wait)
    assert again.record is None, "it starts once more, and may have run before"
    copy.held, copy.state = True, "PENDING"
    world.now_s += 3600.0
    # As `drive` does where another move's checkpoint was read meanwhile.
    read = replace(move, since_s=move.since_s + 3600.0)
    for one in (move, read):
        found = turn(one, world.pair, world.now_s)
        assert isinstance(found, MoveRecord)
        assert found.step is Step.CANCEL


def test_a_copy_that_its_user_holds_stays_held() -> None:
    """A hold that comes soon after the release may be one that was forgotten; a later one is not.

    One job then: held there. When it is let go it runs, and the move ends.
    """
    world = World()
    world.can_start["b"] = False
    record = world.journal.records["m1-abc"]
    world.journal.records["m1-abc"] = replace(record, limits=replace(record.limits, start_s=1000.0))
    seen: list[bool] = []

    def copy() -> FakeJob:
        (found,) = [job for job in world.alive if job.cluster == "b"]
        return found

    def arm() -> None:
        free = world.ticks
        for ticks, held in ((5, True), (20, True), (33, True), (90, False)):
            world.events[free + ticks] = lambda held=held: setattr(copy(), "held", held)
        for ticks in (10, 30, 40, 80):
            world.events[free + ticks] = lambda: seen.append(copy().held)
        world.events[free + 91] = lambda: world.can_start.update(b=True)

    world.after["b.release"] = arm
    assert check(world) is Step.DONE
    assert seen == [False, False, True, True]


@pytest.mark.parametrize("accounting", [True, False])
@pytest.mark.parametrize("end", ["FAILED", "COMPLETED", "CANCELLED"])
def test_a_copy_that_ended_while_nobody_looked(end: str, accounting: bool) -> None:
    """For longer than Slurm shows it: the mover was dead, or read another checkpoint.

    Accounting knows whether it failed at once. Without, one that nobody saw run counts as never
    started: its last part is perhaps computed twice, one after the other, and never lost.
    """
    plain = World()
    plain.run()
    released = plain.calls.index("b.release")
    # What was done and not written down, and every call up to the note that it runs.
    for at in range(released, plain.calls.index("b.note") + 1):
        fault = Fault.DIES_AFTER if at == released else Fault.DIES_BEFORE
        world = World(faults={at: fault})
        with pytest.raises(Killed):
            world.once()
        (copy,) = [job for job in world.alive if job is not world.job]
        copy.state, copy.held, copy.starts = end, False, 1
        copy.fails_s = 3.0 if end == "FAILED" else 300.0
        for _ in range(20):
            world.tick()
        world.purge()
        world.accounting = accounting
        move = world.run()
        stays = end == "FAILED" or not accounting
        assert [job.cluster for job in world.alive] == (["a"] if stays else []), at
        assert not any(job.held for job in world.alive)
        assert move.step is (Step.STAYED if stays else Step.DONE)
        assert bool(move.why) == stays


def test_a_destination_that_has_forgotten_a_job_that_waits() -> None:
    """A slurmctld that is started without its state: nothing there will ever run."""
    world = World()
    world.can_start["b"] = False

    def forget() -> None:
        world.events[world.ticks + 3] = world.sites["b"].jobs.clear

    world.after["b.release"] = forget
    assert check(world) is Step.STAYED


@pytest.mark.parametrize("site", ["a", "b"])
@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_that_takes_long_to_read(way: Way, site: str) -> None:
    """Half an hour at either site; the steps after it have their own time all the same."""
    world = World(way=way)
    record = world.journal.records["m1-abc"]
    world.journal.records["m1-abc"] = replace(
        record, limits=replace(record.limits, lease_s=Limits().lease_s)
    )

    def read() -> None:
        world.now_s += 1800.0

    world.after[f"{site}.manifest"] = read
    assert check(world) is Step.DONE


def test_what_the_job_did_while_nobody_looked_is_not_thrown_away() -> None:
    """The lease is over, the job ran on here and waits again: what was carried is old by now."""
    world = World()
    move = world.journal.load("m1-abc")
    while not move.copies:
        move, _ = step_once(move, world.pair, world.journal, lambda: world.now_s)
        world.tick()
    for _ in range(100):
        world.tick()
    world.job.asked = True
    world.tick()
    world.job.state, world.job.begin_s = "PENDING", world.now_s + 1000.0  # requeued by Slurm
    assert check(world) is Step.STAYED
