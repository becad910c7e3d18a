# SPDX-License-Identifier: Apache-2.0
"""What a node does for jobs, users, caps and GPUs that fail, one situation a test."""

from pathlib import Path

import pytest

from profiling.device.gpu import Why
from slurm_green.config.node import NodeSection
from slurm_green.errors import BadInputError
from slurm_green.node.core import GRACE_S
from slurm_green.node.state import Cap, Orders, Plan
from tests.slurm_green.node.rig import Rig


def _locks(rig: Rig) -> list[int | None]:
    return [None if gpu.lock is None else gpu.lock[1] for gpu in rig.gpus]


def _energies(rig: Rig) -> list[tuple[int, float | None, str]]:
    found = rig.books.unreported().values()
    return [(one["job_id"], one["energy_j"], one["why"]) for one in found]


class TestJobs:
    def test_a_planned_job_has_its_clock_as_a_ceiling(self, rig: Rig) -> None:
        shown = rig.begin(7, 0, clock_mhz=1095)

        assert rig.gpus[0].lock == (210, 1095)
        assert rig.gpus[1].at_default
        assert shown["0"]["clock_mhz"] == 1095
        assert rig.owed == {"GPU-0"}

        rig.end(7)
        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_two_jobs_have_different_clocks(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.begin(8, 1, clock_mhz=1500)
        assert _locks(rig) == [1095, 1500]

        rig.end(7)
        assert _locks(rig) == [None, 1500]

    def test_a_plan_of_watts_alone_sets_no_clock(self, rig: Rig) -> None:
        """Nor does a floor, which is for caps."""
        shown = rig.begin(7, 0, power_limit_w=350, floor_mhz=900)
        assert (rig.gpus[0].lock, rig.gpus[0].limit_w) == (None, 350)
        assert (shown["0"]["clock_mhz"], shown["0"]["power_limit_w"]) == (None, 350)
        for _ in range(4):
            rig.node.tick()
        assert rig.gpus[0].limit_w == 350

        rig.end(7)
        assert rig.gpus[0].at_default

    def test_no_plan_no_clock(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.orders = Orders(cap=Cap(clock_mhz=900))
        rig.tick()

        assert _locks(rig) == [None, None]
        assert "lock_clocks" not in rig.gpus[0].calls

    def test_a_job_that_chose_its_clocks_is_left_alone(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095, own=True)
        with pytest.raises(BadInputError, match="--gpu-freq"):
            rig.ask(7, 0, 1095)
        rig.end(7)

        assert not {"lock_clocks", "reset_clocks"} & set(rig.gpus[0].calls)

    def test_an_epilog_without_a_prolog_does_nothing(self, rig: Rig) -> None:
        rig.end(99)

        assert _energies(rig) == []

    def test_a_shared_gpu_is_only_observed_while_it_is(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.begin(8, 0, clock_mhz=1500)
        assert _locks(rig) == [None, None]

        rig.end(7)
        assert _locks(rig) == [1500, None]
        rig.end(8)
        why = "it shared a GPU with another job"
        assert _energies(rig) == [(7, None, why), (8, None, why)]

    def test_a_job_that_once_shared_stays_one_that_did(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.begin(8, 0)
        rig.end(7)
        rig.begin(9, 1)
        rig.end(8)
        assert (8, None, "it shared a GPU with another job") in _energies(rig)

    def test_one_shared_gpu_of_two_is_enough(self, rig: Rig) -> None:
        rig.begin(7, 0, 1)
        rig.begin(8, 1)
        rig.end(8)
        rig.end(7)
        why = "it shared a GPU with another job"
        assert sorted(_energies(rig)) == [(7, None, why), (8, None, why)]

    def test_a_requeued_job_begins_anew(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.begin(7, 1, clock_mhz=1095)

        assert _locks(rig) == [None, 1095]
        assert _energies(rig) == [(7, None, "no epilog told when it ended")]

    def test_a_job_without_processes_loses_its_clock_until_it_is_seen_again(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.sight.live.clear()
        rig.tick(GRACE_S)
        assert _locks(rig) == [1095, None]
        rig.tick(1)
        assert _locks(rig) == [None, None]

        rig.sight.live.add(7)
        rig.tick(1)
        assert _locks(rig) == [1095, None]

    def test_a_job_seen_at_the_last_look_lives_until_the_next(self, rig: Rig) -> None:
        """`interval` may be ten minutes."""
        rig.begin(7, 0, clock_mhz=1095)
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.tick(1)
        rig.now_s += 10 * GRACE_S
        rig.begin(8, 1)
        assert _locks(rig) == [1095, None]
        assert rig.ask(7, 0, 900)["clock_mhz"] == 900
        rig.begin(9, 0)
        assert set(rig.node.state.jobs) == {7, 8, 9}

        rig.end(9)
        rig.sight.live.discard(7)
        rig.tick()
        assert _locks(rig) == [None, None]

    def test_where_looks_fail_a_clock_does_not_stay_for_ever(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.tick(1)
        monkeypatch.setattr(rig.sight, "live_jobs", lambda: 1 / 0)
        for seconds, lock_mhz in ((659, 1095), (2, None)):
            with pytest.raises(ZeroDivisionError):
                rig.tick(seconds)
            rig.begin(8, 1)
            assert _locks(rig)[0] == lock_mhz

    def test_a_new_job_on_its_gpu_shows_that_it_is_gone(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.sight.live.clear()
        rig.tick(GRACE_S + 1)
        rig.begin(8, 0, clock_mhz=1500)

        assert _locks(rig) == [1500, None]
        assert set(rig.node.state.jobs) == {8}

    def test_a_new_job_on_another_gpu_shows_nothing_of_it(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.sight.live.clear()
        rig.tick(GRACE_S + 1)
        rig.begin(8, 1)

        assert set(rig.node.state.jobs) == {7, 8}
        assert _energies(rig) == []

    def test_a_job_that_nobody_saw_for_a_day_is_over(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.sight.live.clear()
        rig.tick(86_400)
        assert _energies(rig) == []
        rig.tick(1)

        assert _energies(rig) == [(7, None, "no epilog told when it ended")]
        assert (dict(rig.node.state.jobs), [*rig.books.begun()]) == ({}, [])

    def test_a_gpu_that_is_not_there_is_refused(self, rig: Rig) -> None:
        with pytest.raises(BadInputError, match="GPU 5: the GPUs here are 0, 1"):
            rig.begin(7, 5)

    @pytest.mark.parametrize("plan", [{"clock_mhz": 600}, {"power_limit_w": 300}])
    def test_a_plan_beyond_what_the_site_allows_is_no_plan(
        self, tmp_path: Path, plan: dict[str, int]
    ) -> None:
        settings = NodeSection(min_clock_mhz=900, min_power_limit_w=400.0)
        rig = Rig(tmp_path, settings=settings)
        rig.start()
        rig.begin(7, 0, **plan)

        assert rig.gpus[0].at_default

    def test_the_sites_default_is_restored(self, tmp_path) -> None:
        settings = NodeSection(default_clock_mhz=1800, default_power_limit_w=650.0)
        rig = Rig(tmp_path, settings=settings)
        rig.start()
        rig.begin(7, 0, clock_mhz=1095, power_limit_w=300)
        assert (rig.gpus[0].lock, rig.gpus[0].limit_w) == ((210, 1095), 300)

        rig.end(7)
        assert (rig.gpus[0].lock, rig.gpus[0].limit_w) == ((210, 1800), 650)


class TestOrders:
    def test_a_cap_reclocks_running_jobs_and_goes(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500)
        plans = {7: Plan(clock_mhz=1500)}
        rig.orders = Orders(plans, Cap(clock_mhz=1200))
        rig.tick()
        assert _locks(rig) == [1200, None]

        rig.orders = Orders(plans)
        rig.tick()
        assert _locks(rig) == [1500, None]

    def test_no_cap_goes_below_what_the_time_limit_needs(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500, floor_mhz=1300)
        rig.orders = Orders({7: Plan(clock_mhz=1500, floor_mhz=1300)}, Cap(clock_mhz=600))
        rig.tick()

        assert _locks(rig) == [1290, None]  # 1300 is no clock of this GPU

    def test_a_cap_above_what_the_time_limit_needs_is_not_undercut(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500, floor_mhz=1200)
        rig.orders = Orders({7: Plan(clock_mhz=1500, floor_mhz=1200)}, Cap(clock_mhz=1410))
        rig.tick()

        assert _locks(rig) == [1410, None]

    def test_a_cap_in_watts(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500)
        rig.orders = Orders({7: Plan(clock_mhz=1500)}, Cap(power_limit_w=400.0))
        rig.tick()
        assert rig.gpus[0].limit_w == 400

        rig.orders = Orders({7: Plan(clock_mhz=1500)})
        rig.tick()
        assert (rig.gpus[0].limit_w, _locks(rig)) == (700, [1500, None])

    def test_a_withdrawn_plan_gives_the_clock_back(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.tick()

        assert _locks(rig) == [None, None]

    def test_orders_asked_for_before_a_job_began_leave_it_its_plan(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.node.tick(Orders())

        assert _locks(rig) == [1095, None]

    def test_orders_for_a_job_that_has_ended_meanwhile_change_nothing(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.node.tick(Orders({7: Plan(clock_mhz=1095), 8: Plan(clock_mhz=1500)}))

        assert _locks(rig) == [1095, None]

    def test_a_silent_sgreend_changes_nothing(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.node.tick(None)

        assert _locks(rig) == [1095, None]


class TestUsers:
    def test_a_lease_lasts_as_long_as_it_is_renewed(self, rig: Rig) -> None:
        rig.begin(7, 0)
        assert rig.ask(7, 0, 1095)["clock_mhz"] == 1095
        rig.now_s += 1.9
        rig.ask(7, 0, 1200)
        rig.now_s += 1.9
        rig.node.look()
        assert _locks(rig) == [1200, None]
        rig.now_s += 0.2
        rig.node.look()
        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_a_lease_ends_with_its_job_and_with_no_other(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.begin(8, 1)
        for job, gpu in ((7, 0), (8, 1)):
            rig.ask(job, gpu, 1095)
        rig.end(7)
        assert _locks(rig) == [None, 1095]
        rig.begin(7, 0)  # requeued within the lease's time
        assert _locks(rig) == [None, 1095]

    def test_a_lease_never_asks_for_more_than_the_plan_or_the_cap(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500)
        rig.orders = Orders({7: Plan(clock_mhz=1500)}, Cap(clock_mhz=1200))
        rig.tick()
        assert rig.ask(7, 0, 1980)["clock_mhz"] == 1200
        assert rig.ask(7, 0, 600)["clock_mhz"] == 600

        rig.now_s += 3
        rig.node.look()
        assert _locks(rig) == [1200, None]

    def test_a_lease_may_go_below_what_a_cap_may_not(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500, floor_mhz=900)
        rig.orders = Orders({7: Plan(clock_mhz=1500, floor_mhz=900)}, Cap(clock_mhz=600))
        rig.tick()
        assert _locks(rig) == [900, None]
        assert rig.ask(7, 0, 700)["clock_mhz"] == 700

    def test_only_the_first_of_a_governors_clocks_is_news(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        rig.begin(7, 0)
        for clock_mhz in (1100, 1095, 1200):
            rig.ask(7, 0, clock_mhz)
        told = [line for line in caplog.messages if "set to" in line]
        assert told == [
            "job 7: GPU-0 set to at most 1100 MHz; 1095 MHz is the clock it has for 1100 MHz"
        ]
        rig.node.withdraw(7, uid=1000, pid=4242)
        rig.ask(7, 0, 1200)
        assert caplog.messages[-1] == "job 7: GPU-0 set to at most 1200 MHz"

    def test_renewing_writes_nothing(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A governor asks ten times a second: the journal knows that something is owed."""
        rig.begin(7, 0)
        rig.ask(7, 0, 1095)
        monkeypatch.setattr("os.fsync", lambda _: pytest.fail("synced"))
        rig.ask(7, 0, 1200)

        assert _locks(rig) == [1200, None]

    def test_released(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.ask(7, 0, 1095)
        rig.node.withdraw(7, uid=1000, pid=4242)

        assert rig.gpus[0].at_default

    @pytest.mark.parametrize(
        ("job", "gpu", "options"),
        [
            (8, 1, {}),  # another user's job
            (7, 1, {}),  # another job's GPU
            (9, 0, {}),  # no job
            (7, 0, {"uid": 1001}),
            (7, 0, {"pid": 88}),  # a process of job 8
        ],
    )
    def test_nobody_has_anothers_gpu(self, rig: Rig, job: int, gpu: int, options: dict) -> None:
        rig.begin(7, 0)
        rig.begin(8, 1, uid=1001)
        rig.sight.jobs_of = {88: 8}

        with pytest.raises(BadInputError, match=f"job {job} is not yours, not live here, or"):
            rig.ask(job, gpu, 1095, **options)
        assert _locks(rig) == [None, None]

    def test_nobody_gives_up_anothers_lease(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.ask(7, 0, 1095)

        with pytest.raises(BadInputError, match="job 7 is not yours"):
            rig.node.withdraw(7, uid=1001, pid=88)
        assert _locks(rig) == [1095, None]

    def test_root_may_ask_for_any_job(self, rig: Rig) -> None:
        rig.begin(7, 0)
        assert rig.ask(7, 0, 1095, uid=0)["clock_mhz"] == 1095

    def test_a_gpu_of_two_jobs_is_set_for_none(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.begin(8, 0)

        with pytest.raises(BadInputError, match="a GPU is shared with another job"):
            rig.ask(7, 0, 1095)
        assert _locks(rig) == [None, None]

    def test_after_the_end_nothing_may_be_asked(self, rig: Rig) -> None:
        rig.begin(7, 0)
        rig.end(7)

        with pytest.raises(BadInputError, match="not yours, not live here"):
            rig.ask(7, 0, 1095)

    @pytest.mark.parametrize("clock_mhz", [210, 1980])
    def test_the_ends_of_the_range_are_in_it(self, rig: Rig, clock_mhz: int) -> None:
        rig.begin(7, 0)

        assert rig.ask(7, 0, clock_mhz)["clock_mhz"] == clock_mhz

    @pytest.mark.parametrize("clock_mhz", [1, 209, 1981, 99_999])
    def test_out_of_range(self, rig: Rig, clock_mhz: int) -> None:
        rig.begin(7, 0)

        with pytest.raises(BadInputError, match=f"clock_mhz {clock_mhz}: allowed are 210 to 1980"):
            rig.ask(7, 0, clock_mhz)


class TestHardware:
    def test_a_gpu_lost_during_a_job_costs_its_energy_only(self, rig: Rig) -> None:
        rig.begin(7, 0, 1, clock_mhz=1095)
        rig.gpus[0].refuses = {"*": Why.LOST}
        rig.tick(1)
        rig.end(7)

        assert rig.gpus[1].at_default
        assert rig.owed == {"GPU-0"}
        assert _energies(rig) == [(7, None, "GPU-0 told no counter")]

        rig.gpus[0].refuses = {}
        rig.tick(31)
        assert rig.gpus[0].at_default
        assert rig.owed == set()

    @pytest.mark.parametrize("why", [Why.NOT_SUPPORTED, Why.NO_PERMISSION])
    def test_a_gpu_that_cannot_be_set_is_only_observed(self, rig: Rig, why: Why) -> None:
        rig.gpus[0].refuses = {"lock_clocks": why}
        shown = rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].joules = 1500.0
        rig.tick(10)
        rig.end(7)

        assert "only observed" in shown["0"]["reasons"][0]
        assert rig.gpus[0].calls.count("lock_clocks") == 1
        assert rig.owed == set()
        assert _energies(rig) == [(7, 500.0, "")]

    def test_a_gpu_that_tells_no_clocks_is_metered_all_the_same(self, tmp_path: Path) -> None:
        rig = Rig(tmp_path)
        rig.gpus[0].refuses = {"supported_clocks_mhz": Why.NOT_SUPPORTED}
        rig.start()
        rig.begin(7, 0, clock_mhz=1095)
        with pytest.raises(BadInputError, match="clock_mhz 1095: cannot be set on this GPU"):
            rig.ask(7, 0, 1095)
        rig.gpus[0].joules = 1500.0
        rig.tick(10)
        rig.end(7)

        assert _locks(rig) == [None, None]
        assert _energies(rig) == [(7, 500.0, "")]

    def test_a_gpu_that_was_taken_out_costs_the_others_nothing(self, tmp_path: Path) -> None:
        before = Rig(tmp_path, gpus=3)
        before.start()
        before.begin(7, 2, clock_mhz=1095)
        before.kill()
        rig = Rig(tmp_path)
        rig.sight.live = {7}
        rig.orders = Orders({7: Plan(clock_mhz=1095), 8: Plan(clock_mhz=1500)})
        rig.start()
        rig.begin(8, 0, clock_mhz=1500)
        rig.tick(1)
        rig.end(7)

        assert _locks(rig) == [1500, None]
        assert rig.owed == {"GPU-0", "GPU-2"}
        assert _energies(rig) == [(7, None, "GPU-2 told no counter")]

    def test_a_gpu_that_fails_while_it_is_held_goes_back(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1500)
        rig.gpus[0].refuses = {"lock_clocks": Why.OTHER}
        shown = rig.ask(7, 0, 900)

        assert rig.gpus[0].at_default
        assert rig.owed == set()
        assert "only observed" in str(shown["reasons"])

    def test_the_next_job_gets_another_try(self, rig: Rig) -> None:
        rig.gpus[0].refuses = {"lock_clocks": Why.OTHER}
        rig.begin(7, 0, clock_mhz=1095)
        rig.end(7)
        rig.gpus[0].refuses = {}
        rig.begin(8, 0, clock_mhz=1095)

        assert _locks(rig) == [1095, None]

    def test_mig_is_only_observed(self, rig: Rig) -> None:
        rig.gpus[0].cut = True
        shown = rig.begin(7, 0, clock_mhz=1095)

        assert rig.gpus[0].at_default
        assert "MIG" in shown["0"]["reasons"][0]

    def test_somebody_elses_process_ends_it(self, rig: Rig) -> None:
        """It came outside Slurm, or the GPU is not the one that Slurm means."""
        rig.begin(7, 0, clock_mhz=1095)
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.gpus[0].pids = (10, 11)
        rig.sight.jobs_of = {10: 7, 11: 3}
        rig.tick()
        assert rig.gpus[0].at_default

        rig.gpus[0].pids = (10,)
        rig.tick()
        assert _locks(rig) == [1095, None]

    def test_a_leftover_of_the_job_before_delays_the_clock(self, rig: Rig) -> None:
        rig.gpus[0].pids = (11,)
        rig.sight.jobs_of = {11: 3}
        shown = rig.begin(7, 0, clock_mhz=1095)
        assert rig.gpus[0].at_default
        assert "process 11 of somebody else" in shown["0"]["reasons"][0]

        rig.gpus[0].pids = ()
        rig.node.tick()
        assert _locks(rig) == [1095, None]

    def test_the_next_job_is_not_taken_for_one_beside_that_leftover(self, rig: Rig) -> None:
        rig.gpus[0].pids = rig.gpus[1].pids = (11,)
        rig.sight.jobs_of = {11: 3}
        rig.begin(7, 0, clock_mhz=1095)
        rig.begin(9, 1, clock_mhz=1095)
        rig.end(7)
        rig.gpus[0].pids = ()
        shown = rig.begin(8, 0, clock_mhz=1095)

        assert _locks(rig) == [1095, None]
        assert shown["0"]["reasons"] == []

    def test_obeyed_it_is_kept(self, rig: Rig) -> None:
        shown = rig.begin(7, 0, clock_mhz=1095)
        for _ in range(5):
            rig.node.tick()

        assert shown["0"]["observed_mhz"] == 1095
        assert _locks(rig) == [1095, None]
        assert rig.gpus[0].calls.count("lock_clocks") == 1, "what is held is not set again"

    def test_clamped_below_is_told_and_kept(self, rig: Rig) -> None:
        rig.gpus[0].clamp_mhz = 900
        shown = rig.begin(7, 0, clock_mhz=1095)
        for _ in range(5):
            rig.node.tick()

        assert shown["0"]["observed_mhz"] == 900
        assert _locks(rig) == [1095, None]

    def test_ignored_three_times_is_given_up(self, rig: Rig) -> None:
        rig.gpus[0].ignores_locks = True
        rig.begin(7, 0, clock_mhz=1095)
        rig.node.tick()
        rig.node.tick()
        assert _locks(rig) == [1095, None]
        rig.node.tick()

        assert rig.gpus[0].at_default
        assert "runs at 1980 MHz" in (rig.node.state.devices["GPU-0"].barred or "")

    def test_each_gpu_is_looked_at_for_itself(self, rig: Rig) -> None:
        """The first is free, or does not tell its clock."""
        rig.gpus[1].ignores_locks = True
        rig.begin(7, 1, clock_mhz=1095)
        rig.gpus[0].refuses = {"clock_mhz": Why.OTHER}
        for _ in range(3):
            rig.node.tick()
        assert rig.gpus[1].at_default

        rig.begin(8, 0, clock_mhz=1095)
        for _ in range(4):
            rig.node.tick()
        assert _locks(rig) == [1095, None]

    def test_a_new_setting_is_given_three_looks_of_its_own(self, rig: Rig) -> None:
        rig.gpus[0].ignores_locks = True
        rig.begin(7, 0, clock_mhz=1500)
        rig.node.tick()
        rig.node.tick()
        rig.ask(7, 0, 1095, ttl_s=60)
        rig.node.tick()
        rig.node.tick()
        assert _locks(rig) == [1095, None]
        rig.node.tick()
        assert rig.gpus[0].at_default

    def test_what_went_back_in_part_is_set_anew_for_the_next(self, rig: Rig) -> None:
        """Its clock did, its power limit did not: what it was set to holds no more."""
        plan = {"clock_mhz": 1095, "power_limit_w": 350}
        rig.begin(7, 0, **plan)
        rig.gpus[0].refuses = {"set_power_limit": Why.OTHER}
        rig.end(7)
        assert (rig.gpus[0].lock, rig.gpus[0].limit_w, rig.owed) == (None, 350, {"GPU-0"})

        rig.gpus[0].refuses = {}
        rig.begin(8, 0, **plan)
        assert (rig.gpus[0].lock, rig.gpus[0].limit_w) == ((210, 1095), 350)
        rig.end(8)
        assert (rig.gpus[0].at_default, rig.owed) == (True, set())

    def test_of_each_time_that_it_does_not_go_back_there_is_one_word(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A lost GPU stays lost for days."""
        for times in (1, 2):
            rig.begin(7, 0, clock_mhz=1095)
            rig.gpus[0].refuses = {"reset_clocks": Why.LOST}
            rig.end(7)
            rig.tick(31)
            rig.tick(31)
            assert caplog.text.count("GPU-0 is not restored") == times
            rig.gpus[0].refuses = {}
            rig.tick(31)
            assert rig.gpus[0].at_default

    def test_what_was_observed_under_the_job_before_is_not_shown_to_the_next(
        self, rig: Rig
    ) -> None:
        assert rig.begin(7, 0, clock_mhz=1095)["0"]["observed_mhz"] == 1095
        rig.end(7)
        assert rig.begin(8, 0)["0"]["observed_mhz"] is None

    def test_what_refused_to_go_back_is_tried_once_more_at_the_end(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].refuses = {"reset_clocks": Why.OTHER}
        rig.end(7)
        rig.gpus[0].refuses = {}

        assert rig.stop() == ()
        assert (rig.gpus[0].at_default, rig.owed) == (True, set())

    def test_a_gpu_that_refuses_to_go_back_is_tried_again(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].refuses = {"reset_clocks": Why.OTHER}
        rig.end(7)
        assert rig.owed == {"GPU-0"}
        rig.tick(1)
        assert rig.gpus[0].calls.count("reset_clocks") == 1

        rig.gpus[0].refuses = {}
        rig.tick(30)
        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_what_refused_once_and_was_set_again_goes_back_at_once(self, rig: Rig) -> None:
        """The next job of the GPU may have no plan: it is not to wait for the other's retry."""
        rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].refuses = {"reset_clocks": Why.OTHER}
        rig.end(7)
        rig.gpus[0].refuses = {}
        rig.now_s += 5
        rig.begin(8, 0, clock_mhz=1500)
        assert _locks(rig) == [1500, None]

        rig.end(8)
        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_what_refused_once_goes_back_as_soon_as_it_cannot_be_set(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].refuses = {"reset_clocks": Why.OTHER}
        rig.end(7)
        rig.gpus[0].refuses = {"lock_clocks": Why.OTHER}
        rig.begin(8, 0, clock_mhz=1500)

        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_a_full_disk_sets_nothing(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.pwrite", full)
        monkeypatch.setattr("slurm_green.node.books._write", full)
        shown = rig.begin(7, 0, clock_mhz=1095)

        assert rig.gpus[0].at_default
        assert "No space left" in shown["0"]["reasons"][0]
        assert "a restart will not know of it" in caplog.text
        assert "Traceback" not in caplog.text

    def test_a_job_that_ended_on_a_full_disk_is_over_for_later_lives(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Taken for one that runs, it would share its GPU with the next, which lost its energy."""

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        rig.begin(7, 0)
        with monkeypatch.context() as patch:
            patch.setattr("slurm_green.node.books._write", full)
            rig.end(7)
        rig.begin(8, 0)
        rig.kill()
        rig.start()
        rig.gpus[0].joules = 1500.0
        rig.end(8)

        assert _energies(rig) == [(8, 500.0, "")]

    def test_a_bug_costs_one_gpu(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rig.gpus[0], "lock_clocks", lambda *_: 1 / 0)
        rig.begin(7, 0, 1, clock_mhz=1095)

        assert _locks(rig) == [None, 1095]
        rig.end(7)
        assert all(gpu.at_default for gpu in rig.gpus)
        assert rig.owed == set()


class TestRestarts:
    def test_killed_and_restarted_during_a_job(self, rig: Rig) -> None:
        """The job keeps its clock and its energy."""
        rig.begin(7, 0, clock_mhz=1095)
        rig.kill()
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.now_s += 5
        rig.start()
        assert _locks(rig) == [1095, None]

        rig.gpus[0].joules = 1750.0
        rig.end(7)
        assert rig.gpus[0].at_default
        assert _energies(rig) == [(7, 750.0, "")]

    def test_the_job_ended_while_it_was_down(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.kill()
        rig.sight.live.clear()
        rig.orders = Orders({7: Plan(clock_mhz=1095)})
        rig.start()

        assert rig.gpus[0].at_default
        assert rig.owed == set()

    def test_after_a_reboot_no_job_is_left(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)
        rig.kill()
        rig.boot = "boot-2"
        rig.start()

        assert rig.node.state.jobs == {}
        assert rig.gpus[0].at_default

    def test_sigterm_restores_under_a_running_job(self, rig: Rig) -> None:
        rig.begin(7, 0, clock_mhz=1095)

        assert rig.stop() == ()
        assert rig.gpus[0].at_default

    @pytest.mark.parametrize("steps", range(8))
    def test_killed_in_the_middle_of_a_prolog(self, rig: Rig, steps: int) -> None:
        rig.killed_after(steps, lambda: rig.begin(7, 0, 1, clock_mhz=1095))
        if rig.up:
            rig.kill()
        rig.sight.live.clear()
        rig.start()

        assert all(gpu.at_default for gpu in rig.gpus)
        assert rig.owed == set()

    def test_a_dead_profiler_is_cleaned_up_after(self, rig: Rig, tmp_path) -> None:
        (tmp_path / "journal" / "GPU-1.owed").touch()
        rig.gpus[1].lock = (600, 600)
        rig.tick()

        assert rig.gpus[1].at_default


class TestEnergy:
    def test_of_a_job_is_that_of_its_gpus(self, rig: Rig) -> None:
        rig.begin(7, 0, 1)
        rig.gpus[0].joules, rig.gpus[1].joules = 1200.0, 1030.0
        rig.now_s += 60
        rig.end(7)

        assert _energies(rig) == [(7, 230.0, "")]
        record = next(iter(rig.books.unreported().values()))
        assert record["source"] == "emulated"
        assert record["gpus"] == ["GPU-0", "GPU-1"]
        assert (record["begin_utc"], record["end_utc"]) == (
            "2026-11-24T00:16:40+00:00",
            "2026-11-24T00:17:40+00:00",
        )

    @pytest.mark.parametrize(
        ("joules", "why"),
        [
            (10.0, "the counter of GPU-0 was reset"),
            (1000.0, "the counter of GPU-0 stood still"),
            (None, "GPU-0 told no counter"),
        ],
    )
    def test_is_unknown_rather_than_wrong(self, rig: Rig, joules: float | None, why: str) -> None:
        rig.begin(7, 0)
        rig.gpus[0].joules = joules
        rig.now_s += 60
        rig.end(7)

        assert _energies(rig) == [(7, None, why)]

    def test_the_log_says_what_a_job_had_and_used(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        rig.begin(7, 0, clock_mhz=1095, power_limit_w=300)
        rig.begin(8, 1, power_limit_w=350)
        rig.gpus[0].joules, rig.gpus[1].joules = 1230.0, None
        rig.end(7)
        rig.end(8)
        assert caplog.messages == [
            "job 7: GPU-0 set to at most 1095 MHz and 300 W",
            "job 8: GPU-1 set to 350 W",
            "GPU-0 restored",
            "job 7 ended: 230 J (emulated)",
            "GPU-1 restored",
            "job 8 ended: unknown (emulated), GPU-1 told no counter",
        ]

    def test_a_counter_that_failed_at_its_start_is_missed_at_its_end(self, rig: Rig) -> None:
        """The job has that GPU all the same: the other's joules are not all of it."""
        rig.gpus[0].refuses = {"energy_j": Why.OTHER}
        rig.begin(7, 0, 1)
        rig.gpus[0].refuses = {}
        rig.now_s += 60
        rig.end(7)

        assert _energies(rig) == [(7, None, "GPU-0 told no counter")]
        assert next(iter(rig.books.unreported().values()))["gpus"] == ["GPU-0", "GPU-1"]

    def test_hooks_that_were_heard_too_late_give_no_figure(self, rig: Rig) -> None:
        """We hung meanwhile: a job's first joules are lost, or its last ones are another's."""
        rig.begin(7, 0, clock_mhz=1095)
        rig.gpus[0].joules = 5000.0
        rig.now_s += 60
        rig.node.end(7, rig.now_s - 5)
        with pytest.raises(BadInputError, match="job 8: too late"):
            rig.node.begin(8, 1000, (1,), Plan(clock_mhz=1095), rig.now_s - 5)

        assert all(gpu.at_default for gpu in rig.gpus)
        assert _energies(rig) == [(7, None, "its epilog was heard too late")]

    def test_of_a_real_gpu_is_a_counters(self, rig: Rig) -> None:
        rig.gpus[0].driver = "580.65.06"
        rig.begin(7, 0)
        rig.end(7)

        assert next(iter(rig.books.unreported().values()))["source"] == "nvml-counter"
