# SPDX-License-Identifier: Apache-2.0
"""Any interleaving of set, kill, restart and end: what is not at its default is in the journal,
and in the end everything is at its default."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from profiling.device.gpu import Why
from slurm_green.errors import BadInputError
from slurm_green.node.core import GRACE_S
from slurm_green.node.state import Cap, Orders, Plan
from tests.slurm_green.node.rig import Rig

pytestmark = pytest.mark.slow

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
JOBS = st.integers(1, 3)
CLOCKS = st.sampled_from([600, 1095, 1500])
PLANS = st.sampled_from(
    [
        None,
        Plan(clock_mhz=1095),
        Plan(clock_mhz=1500, floor_mhz=900),
        Plan(power_limit_w=350.0),
        Plan(clock_mhz=600, power_limit_w=350.0),
        Plan(clock_mhz=600, own=True),
    ]
)
GPUS = st.sampled_from([(0,), (1,), (0, 1)])
# After how many steps of hardware and journal the node is killed; mostly it is not.
STEPS = st.sampled_from([None, None, None, None, 0, 1, 2, 3, 5, 8])


class Everything(RuleBasedStateMachine):
    """`running` are jobs that truly run, whatever the node knows of them."""

    @initialize()
    def a_node(self) -> None:
        # Not on a disk: thousands of fsyncs.
        self.directory = tempfile.TemporaryDirectory(dir=MEMORY, prefix="sgreen-test-")
        self.rig = Rig(Path(self.directory.name), gpus=2)
        self.running: dict[int, tuple[int, ...]] = {}
        self.rig.start()

    @rule(job=JOBS, gpus=GPUS, plan=PLANS, kill=STEPS)
    def prolog(self, job: int, gpus: tuple[int, ...], plan: Plan | None, kill: int | None) -> None:
        """Slurm may give one GPU to two jobs; its prolog runs whether the node is up or not."""
        if job in self.running:
            return
        self.running[job] = gpus
        self.rig.sight.live.add(job)
        self.rig.orders = Orders(
            {**self.rig.orders.plans, job: plan} if plan else self.rig.orders.plans,
            self.rig.orders.cap,
        )
        self._maybe_killed(
            kill, lambda: self.rig.node.begin(job, 1000 + job, gpus, plan, self.rig.now_s)
        )

    @rule(job=JOBS, kill=STEPS)
    def epilog(self, job: int, kill: int | None) -> None:
        """Also without a prolog; the plan of a job that ended may be ordered for long."""
        self.running.pop(job, None)
        self.rig.sight.live.discard(job)
        self._maybe_killed(kill, lambda: self.rig.node.end(job, self.rig.now_s))
        assert not self.rig.up or job not in self.rig.node.state.jobs

    @rule(job=JOBS, gpu=st.integers(0, 1), clock_mhz=CLOCKS, kill=STEPS)
    def ask(self, job: int, gpu: int, clock_mhz: int, kill: int | None) -> None:
        def asked() -> None:
            try:
                self.rig.ask(job, gpu, clock_mhz, uid=1000 + job)
            except BadInputError:
                pass

        self._maybe_killed(kill, asked)

    @rule(seconds=st.sampled_from([0.0, 1.0, 31.0, GRACE_S + 1]), kill=STEPS)
    def look(self, seconds: float, kill: int | None) -> None:
        self.rig.now_s += seconds
        self._maybe_killed(kill, self.rig.tick)

    @rule(clock_mhz=st.one_of(st.none(), CLOCKS))
    def cap(self, clock_mhz: int | None) -> None:
        self.rig.orders = Orders(self.rig.orders.plans, Cap(clock_mhz=clock_mhz))

    @rule(gpu=st.integers(0, 1), why=st.sampled_from([None, Why.LOST, Why.NO_PERMISSION]))
    def hardware(self, gpu: int, why: Why | None) -> None:
        """It fails, or comes back."""
        self.rig.gpus[gpu].refuses = {} if why is None else {"*": why}

    @rule(gpu=st.integers(0, 1), ignores=st.booleans(), pids=st.sampled_from([(), (7,)]))
    def odd(self, gpu: int, ignores: bool, pids: tuple[int, ...]) -> None:
        self.rig.gpus[gpu].ignores_locks = ignores
        self.rig.gpus[gpu].pids = pids
        self.rig.sight.jobs_of = {7: 99}

    @precondition(lambda self: self.rig.up)
    @rule()
    def kill(self) -> None:
        self.rig.kill()

    @precondition(lambda self: self.rig.up)
    @rule()
    def stop(self) -> None:
        """SIGTERM restores what can be restored, whoever still runs."""
        owed = self.rig.stop()
        changed = {gpu.uuid for gpu in self.rig.gpus if not gpu.at_default}
        assert changed <= set(owed)
        assert not any(gpu.refuses == {} for gpu in self.rig.gpus if gpu.uuid in changed)

    @precondition(lambda self: not self.rig.up)
    @rule(reboot=st.booleans(), kill=STEPS)
    def start(self, reboot: bool, kill: int | None) -> None:
        if reboot:
            self.rig.boot += "+"
            self.running.clear()
            self.rig.sight.live.clear()
            for gpu in self.rig.gpus:
                gpu.lock, gpu.limit_w = None, 700.0
        if kill is None:
            self.rig.start()
        else:
            self.rig.killed_after(kill, self.rig.start)

    @invariant()
    def what_is_not_at_its_default_is_owed(self) -> None:
        changed = {gpu.uuid for gpu in self.rig.gpus if not gpu.at_default}

        assert changed <= self.rig.owed

    @invariant()
    def only_live_jobs_change_a_gpu(self) -> None:
        """While the node is up, a healthy GPU that no job of it has is at its default."""
        if not self.rig.up:
            return
        state = self.rig.node.state
        used = {uuid for job in state.jobs.values() for uuid in job.gpus}
        for gpu in self.rig.gpus:
            if gpu.uuid not in used and not gpu.refuses and not state.devices[gpu.uuid].retry_s:
                assert gpu.at_default

    def teardown(self) -> None:
        rig = getattr(self, "rig", None)
        if rig is None:
            return
        for gpu in rig.gpus:
            gpu.refuses = {}
        epilogs = rig.up
        if not epilogs:
            rig.sight.live.clear()
            rig.start()
        for job in [*self.running, *rig.node.state.jobs] if epilogs else []:
            rig.end(job)
        # Jobs that ended while nobody was up had no epilog; a GPU that refused is tried again.
        rig.tick(31.0)
        assert [gpu.uuid for gpu in rig.gpus if not gpu.at_default] == []
        assert rig.owed == set()
        rig.stop()
        self.directory.cleanup()

    def _maybe_killed(self, kill: int | None, call: Callable[[], object]) -> None:
        if not self.rig.up:
            return
        if kill is None:
            call()
        else:
            self.rig.killed_after(kill, call)


Everything.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestEverythingGoesBack = Everything.TestCase
