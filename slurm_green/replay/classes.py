# SPDX-License-Identifier: Apache-2.0
"""Classes and watts for jobs of which only GPUs or cores are known. Pure.

Every number here is assumed or published, none measured. The trap: a shape's power is what it
adds to the site, so what its GPUs draw when idle is taken off; the replay counts that for all.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from profiling.profile import Profile
from slurm_green.config.settings import Config
from slurm_green.errors import BadInputError

__all__ = ["Held", "Shape", "Speed", "Watts", "class_name", "make_shapes", "speeds_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One row of C.csv; `rate` 1 is a class's full speed, one second of work per second."""

    class_name: str
    workers: int
    power_w: float
    gpus_per_worker: int = 1
    clock_mhz: int = 0
    rate: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one job held. Without GPUs the unit of the replay is the core."""

    gpus: int
    cores: int
    gpu_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """One clock of a profile: speed relative to the fastest, and watts of a GPU's board."""

    clock_mhz: int
    rate: float
    gpu_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watts:
    """Watts of what jobs hold; GPUs with their share of the node, busy and idle."""

    gpu_w: float = 380.0
    gpu_idle_w: float = 120.0
    gpu_share_w: float = 60.0
    cpu_core_w: float = 5.0
    pue: float = 1.0
    by_type: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, given: Mapping[str, float] | None = None) -> "Watts":
        """The site's own `power` settings; `given` replaces them by type, "" for all types."""
        power, given = config.power, given or {}
        types = {
            name: board_w * power.gpu_load + power.gpu_share_w
            for name, board_w in power.gpu_types.items()
        }
        return cls(
            gpu_w=given.get("", power.gpu_w * power.gpu_load + power.gpu_share_w),
            gpu_idle_w=power.gpu_idle_w + power.gpu_share_w,
            gpu_share_w=power.gpu_share_w,
            cpu_core_w=power.cpu_core_w,
            pue=power.pue,
            by_type={name.lower(): w for name, w in ({} if "" in given else types).items()}
            | {name.lower(): w for name, w in given.items() if name},
        )

    @property
    def idle_w(self) -> float:
        """Facility watts of one idle GPU."""
        return self.pue * self.gpu_idle_w

    def added_w(self, held: Held, cores: float, board_w: float | None = None) -> float:
        """Facility watts of a job beyond what its GPUs draw when idle; never below 0."""
        busy_w = self.by_type.get(held.gpu_type.lower(), self.gpu_w)
        if board_w is not None:
            busy_w = board_w + self.gpu_share_w
        return self.pue * (held.gpus * max(busy_w - self.gpu_idle_w, 0.0) + cores * self.cpu_core_w)


def class_name(held: Held) -> str:
    """`h100-2` for two GPUs of that type, `gpu-2` where it is not known, `core-16` without any."""
    if held.gpus:
        return f"{held.gpu_type.lower() or 'gpu'}-{held.gpus}"
    return f"core-{held.cores}"


def make_shapes(
    jobs: Iterable[Held], watts: Watts, speeds: tuple[Speed, ...] = ()
) -> tuple[Shape, ...]:
    """A class for each type and number of GPUs, with the mean of its jobs' cores.

    With `speeds` a class of GPUs has a shape for each clock, else one for its jobs as they ran.
    """
    alike: dict[str, list[Held]] = defaultdict(list)
    for job in jobs:
        alike[class_name(job)].append(job)
    found: list[Shape] = []
    for name, members in sorted(alike.items(), key=lambda item: (item[1][0].gpus, item[0])):
        one, cores = members[0], fmean(member.cores for member in members)
        clocks = speeds if one.gpus and speeds else (None,)
        found += [
            Shape(
                class_name=name,
                workers=one.gpus or one.cores,
                clock_mhz=clock.clock_mhz if clock else 0,
                rate=clock.rate if clock else 1.0,
                power_w=watts.added_w(one, cores, clock.gpu_w if clock else None),
            )
            for clock in clocks
        ]
    return tuple(found)


def speeds_of(profile: Profile) -> tuple[Speed, ...]:
    """The clocks of a profile's training, of the shape for which it knows most of them."""
    by_shape = defaultdict(list)
    for one in profile.training:
        if one.clock_mhz is not None and one.power_w is not None and one.power_cap_w is None:
            by_shape[one.workers, one.gpus_per_worker].append((one, one.clock_mhz, one.power_w))
    if not by_shape:
        raise BadInputError(
            "the profile has no training points with clock and power; give one that has, or --gpu-w"
        )
    points = max(by_shape.values(), key=len)
    fastest = max(one.rate for one, _, _ in points)
    speeds = (
        Speed(clock_mhz=round(clock), rate=one.rate / fastest, gpu_w=power_w / one.gpus)
        for one, clock, power_w in points
    )
    return tuple(sorted(speeds, key=lambda speed: speed.clock_mhz))
