# SPDX-License-Identifier: Apache-2.0
"""A whole sweep: pre-flight, then rounds of windows until no load needs more.

Everything that is decided follows from the journal, so a sweep that goes on after a kill walks
the same way and measures only what is not there yet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from profiling.errors import DeviceError, ProfileError, ProfilingError
from profiling.sweep.asks import Ask, block, more_batches, more_clocks, reference_of, swept_clocks
from profiling.sweep.journal import SweepJournal
from profiling.sweep.preflight import Preflight, check_alone, check_clocks, preflight
from profiling.sweep.records import Window, left_out, points
from profiling.sweep.rig import Rig, total_w
from profiling.sweep.window import faults
from profiling.sweep_plan import first_clocks
from profiling.workload.protocol import Load, Workload

__all__ = ["ATTEMPTS", "Options", "Shown", "Swept", "sweep"]

ATTEMPTS = 3
_MOST_ROUNDS = 12
_WARM_S = 2.0
_NEW_CLOCKS = 3  # to begin with, for a batch between others: they stand behind the rest

Shown = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a sweep measures. Without `clocks_mhz` and `full_grid` it chooses its clocks."""

    window_s: float = 5.0
    repeats: int = 3
    seed: int = 0
    clocks_mhz: tuple[int, ...] = ()
    full_grid: bool = False
    read_only: bool = False

    @property
    def warm_s(self) -> float:
        """Length of the windows that tell whether power has settled."""
        return min(self.window_s, _WARM_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep found; `failed` are loads that did not start or broke, with the reason."""

    facts: Mapping[str, str]
    limits: Mapping[str, int]
    before: Preflight
    bare_w: float | None  # per GPU, before anything of ours ran
    loads: Sequence[Load]
    windows: Sequence[Window]
    failed: Mapping[str, str]


def sweep(
    rig: Rig,
    open_workload: Callable[[], Workload],
    options: Options,
    journal: SweepJournal,
    shown: Shown = lambda done, total, text: None,
) -> Swept:
    """Measure what the journal does not hold yet. Clocks are given back when `rig` ends.

    Raises ProfilingError: the GPU is not ours alone or is lost, it has no such clock, the workload
    cannot be opened, no load runs.
    """
    check_alone(rig.gpus)
    check_clocks(rig.gpus[0], () if options.read_only else options.clocks_mhz)
    bare = journal.of("bare")
    if not bare:
        shown(0, 0, "idle power")
        power_w = rig.settled(lambda: rig.idle(options.warm_s))
        bare = [journal.add("bare", power_w=power_w and power_w / len(rig.gpus))]
    workload = open_workload()
    try:
        run = _Run(rig, workload, options, journal, shown)
        before = run.preflight()
        run.rounds(before)
    finally:
        # Clocks first: whatever an engine does while it ends, the GPU is not left locked.
        try:
            rig.release()
        finally:
            workload.close()
    return Swept(
        facts=dict(workload.facts),
        limits=dict(workload.limits),
        before=before,
        bare_w=bare[0]["power_w"],
        loads=run.loads,
        windows=run.windows,
        failed=run.failed,
    )


@dataclass
class _Run:
    rig: Rig
    workload: Workload
    options: Options
    journal: SweepJournal
    shown: Shown
    windows: list[Window] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    up: Load | None = None
    reference: int | None = None
    round: int = -1

    def __post_init__(self) -> None:
        self._all = list(self.workload.loads())
        self.windows = [Window.from_json(one) for one in self.journal.of("window")]
        needs = {
            load.name: f"needs {load.gpus} GPUs, given {len(self.rig.gpus)}"
            for load in self._all
            if load.gpus > len(self.rig.gpus)
        }
        self.failed = needs
        self._broke = self.journal.of("failed")
        if {one.name for one in self._all} <= needs.keys() | {one["load"] for one in self._broke}:
            self._broke = []  # where all broke it was none of theirs: a GPU, a disk that is away
        self._begin(self.round)

    def _begin(self, round_: int) -> None:
        """A round, or what comes before the first; loads that broke in it before a kill are out.

        No sooner: the rounds before chose their clocks with them.
        """
        self.round = round_
        for one in self._broke:
            if one.get("round", round_) <= round_:  # an older journal does not tell
                self.failed[one["load"]] = one["why"]

    @property
    def loads(self) -> list[Load]:
        """Those that run, as far as is known."""
        return [one for one in self._all if one.name not in self.failed]

    def preflight(self) -> Preflight:
        """From the journal, or of the first load that runs; ProfileError where none does."""
        for entry in self.journal.of("preflight"):
            return Preflight.from_json(entry)
        for load in self.loads:
            if not self._start(load):
                continue
            self.shown(0, 0, "pre-flight")
            with self._at_its_cost(load):
                found = preflight(
                    self.rig,
                    self.workload,
                    load,
                    window_s=self.options.warm_s,
                    warm_s=self.options.warm_s,
                    read_only=self.options.read_only,
                )
            if self.up == load:
                self.journal.add("preflight", **found.to_json())
                return found
            self.rig.release()
        raise self._none_runs()

    def rounds(self, before: Preflight) -> None:
        """First the clocks to begin with, then what the fit asks for, then batches between.

        ProfileError where no load is left.
        """
        clocks = swept_clocks(before.clocks_mhz)
        first = self._first(before, clocks)
        self.reference = reference_of(first)
        wanted = dict.fromkeys(self.loads, first)
        adapts = not (before.observes or self.options.clocks_mhz or self.options.full_grid)
        refined = bool(before.observes)
        for round_ in range(2 * _MOST_ROUNDS):
            self._round(round_, wanted)
            if not self.loads:
                raise self._none_runs()
            # A sweep that goes on has later windows, too, which were chosen without themselves.
            known = [one for one in self.windows if one.round <= round_]
            wanted = {}
            if adapts and round_ < _MOST_ROUNDS:
                by_name = {one.name: one for one in self.loads}
                found = more_clocks(points(known), left_out(known, ATTEMPTS), by_name, clocks)
                wanted = {by_name[name]: list(more) for name, more in found.items()}
            if not wanted and not refined:
                refined = True
                new = more_batches(points(known), self.loads)
                self._all += new
                few = [int(one) for one in first_clocks(clocks, _NEW_CLOCKS)] if adapts else first
                reference = [] if self.reference in few else [self.reference]
                wanted = {one: sorted([*few, *reference], key=_or_0) for one in new}
            if not wanted:
                return

    def _none_runs(self) -> ProfileError:
        why = next(iter(self.failed.values()), "the workload has none")
        return ProfileError(f"no load could be run: {why}")

    def _first(self, before: Preflight, clocks: Sequence[int]) -> list[int | None]:
        if before.observes:
            return [None]
        if self.options.clocks_mhz:
            chosen = [one for one in self.options.clocks_mhz if one in before.clocks_mhz]
            if not chosen:
                raise ProfileError(
                    f"none of the clocks asked for is held; it holds {before.clocks_mhz[0]} to "
                    f"{before.clocks_mhz[-1]} MHz"
                )
            return list(chosen)
        if self.options.full_grid:
            return list(clocks)
        return [int(one) for one in first_clocks(clocks)]

    def _round(self, round_: int, wanted: Mapping[Load, Sequence[int | None]]) -> None:
        self._begin(round_)
        asks = {
            load: list(
                block(
                    load,
                    clocks,
                    round_=round_,
                    reference=self.reference,
                    repeats=self.options.repeats,
                    seed=self.options.seed,
                )
            )
            for load, clocks in wanted.items()
        }
        total, done = sum(map(len, asks.values())), 0
        for load, own in asks.items():
            for ask in own:
                self.shown(done, total, f"round {round_ + 1}: {load.name}")
                if load.name not in self.failed:
                    self._measured(round_, load, ask)
                done += 1
        self.shown(done, total, f"round {round_ + 1}")

    def _measured(self, round_: int, load: Load, ask: Ask) -> None:
        """Until a window is good, or given up as often as that is worth it."""
        if (load.name, ask.clock_mhz) in left_out(self.windows, ATTEMPTS):
            return
        place = (round_, load.name, ask.order)
        tried = [one for one in self.windows if (one.round, one.load, one.order) == place]
        if tried and not tried[-1].faults:
            return
        if self.up != load and not self._start(load):
            return
        for attempt in range(len(tried) + 1, ATTEMPTS + 1):
            with self._at_its_cost(load):
                window = self._window(round_, load, ask, attempt)
            if self.up != load:
                return
            self.journal.add("window", **asdict(window))
            self.windows.append(window)
            if not window.faults:
                return

    def _start(self, load: Load) -> bool:
        self.up = None
        with self._at_its_cost(load):
            self.workload.start(load)
            self.up = load
            self._warm = False
        return self.up == load

    @contextmanager
    def _at_its_cost(self, load: Load) -> Iterator[None]:
        """Whatever a workload fails at costs this load, which is down then; a GPU's failure all."""
        try:
            yield
        except DeviceError:
            raise
        except ProfilingError as error:
            self.up = None
            self.failed[load.name] = str(error)
            self.journal.add("failed", round=self.round, load=load.name, why=str(error))

    def _window(self, round_: int, load: Load, ask: Ask, attempt: int) -> Window:
        rig, workload, options = self.rig, self.workload, self.options
        changed = rig.set_clock(load.gpus, ask.clock_mhz)
        if changed or not self._warm:
            rig.settled(lambda: rig.run(workload, load.gpus, options.warm_s)[0])
            self._warm = True
        # Not a rest, in which power falls: at work, until the sensors are at another place.
        workload.run(ask.delay_s)
        seen, steps = rig.run(workload, load.gpus, options.window_s)
        clocks = [one.mean_mhz for one in seen if one.mean_mhz is not None]
        passed_s = steps.end_s - steps.begin_s
        return Window(
            round=round_,
            load=load.name,
            order=ask.order,
            attempt=attempt,
            clock_mhz=ask.clock_mhz,
            reference=ask.reference,
            faults=faults(seen, steps, asked_mhz=ask.clock_mhz, least_s=options.window_s),
            step_s=passed_s / max(steps.count, 1),
            rate=steps.units / passed_s,
            power_w=total_w(seen),
            observed_mhz=min(clocks, default=None),
        )


def _or_0(clock_mhz: int | None) -> int:
    return clock_mhz or 0
