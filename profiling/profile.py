# SPDX-License-Identifier: Apache-2.0
"""What a GPU and a model do at each setting: the types of a profile. Pure.

The trap: what a source does not say is None, never 0 and never a guess. Where a reader cannot do
without, `assumed_gpu` and `assumed_engine` fill the gaps and say which they filled.
"""

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum

from profiling.errors import ProfileError

__all__ = [
    "PHASES",
    "Engine",
    "Gpu",
    "InferencePoint",
    "Profile",
    "Provenance",
    "TrainingPoint",
    "assumed_engine",
    "assumed_gpu",
]

PHASES = ("prefill", "decode")

_SWITCH_LATENCY_S = 0.1  # the slow end of what Hopper takes
_IDLE_SHARE = 0.12  # of the highest power in the profile: A100, H100, V100 and A40 idle near it
# What vLLM takes on GPUs of less than 70 GiB.
_MAX_BATCHED_TOKENS = 2048
_MAX_NUM_SEQS = 256
_EMULATED = "emulated"


class Provenance(StrEnum):
    """Where a profile's numbers come from."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class InferencePoint:
    """One iteration at one setting; power of the whole tensor-parallel group.

    Prefill runs `batch` prompts of `context_tokens` each; decode makes one token for each of
    `batch` sequences that hold `context_tokens`.
    """

    phase: str
    batch: int
    latency_s: float
    context_tokens: int | None = None
    clock_mhz: float | None = None
    power_w: float | None = None
    tp: int = 1
    n: int | None = None
    ci95_latency_s: float | None = None
    ci95_power_w: float | None = None
    power_cap_w: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What no two points of a profile share."""
        return (
            self.phase, self.tp, self.batch, self.context_tokens, self.clock_mhz, self.power_cap_w,
        )  # fmt: skip

    @property
    def gpus(self) -> int:
        """GPUs of the tensor-parallel group."""
        return self.tp


@dataclass(frozen=True, kw_only=True)
class TrainingPoint:
    """A shape of a training job: work units per second, and power, of the whole shape."""

    workers: int
    rate: float
    gpus_per_worker: int = 1
    clock_mhz: float | None = None
    power_w: float | None = None
    n: int | None = None
    ci95_rate: float | None = None
    ci95_power_w: float | None = None
    power_cap_w: float | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What no two points of a profile share."""
        return (self.workers, self.gpus_per_worker, self.clock_mhz, self.power_cap_w)

    @property
    def gpus(self) -> int:
        """GPUs of the whole shape."""
        return self.workers * self.gpus_per_worker


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What a profile says of the GPU itself; power per GPU."""

    idle_w: float | None = None
    parked_w: float | None = None
    switch_latency_s: float | None = None
    clocks: tuple[float, ...] = ()  # MHz, rising


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Limits of the serving engine that was profiled."""

    kv_tokens: int | None = None
    max_batched_tokens: int | None = None
    max_num_seqs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile; raises ProfileError where its parts contradict each other."""

    provenance: Provenance
    gpu_name: str | None = None
    driver: str | None = None
    engine_name: str | None = None
    engine_version: str | None = None
    model: str | None = None
    dtype: str | None = None
    date: str | None = None
    source: str | None = None
    fitted: bool = False  # points are a fit's, not what was seen
    gpu: Gpu = field(default_factory=Gpu)
    engine: Engine = field(default_factory=Engine)
    inference: tuple[InferencePoint, ...] = ()
    training: tuple[TrainingPoint, ...] = ()

    def __post_init__(self) -> None:
        """Nothing emulated is measured, and no two points are the same."""
        if self.provenance is Provenance.MEASURED and _EMULATED in (self.driver or "").lower():
            raise ProfileError(
                f"provenance measured with driver {self.driver!r}: what an emulated GPU feeds is "
                "simulated"
            )
        for keys in ([one.key for one in self.inference], [one.key for one in self.training]):
            twice = [key for key, count in Counter(keys).items() if count > 1]
            if twice:
                raise ProfileError(f"two points for the setting {twice[0]}; leave one out")

    @property
    def clocks_mhz(self) -> tuple[float, ...]:
        """The clocks the GPU supports, else those that were set; MHz, rising.

        One under a power cap is what came of the cap.
        """
        occurring = [one.clock_mhz for one in self.inference if one.power_cap_w is None]
        occurring += [one.clock_mhz for one in self.training if one.power_cap_w is None]
        return self.gpu.clocks or tuple(sorted({one for one in occurring if one is not None}))


def assumed_gpu(profile: Profile) -> tuple[Gpu, tuple[str, ...]]:
    """The GPU without gaps, and the names of what was assumed.

    Idle: 12 % of the profile's highest power per GPU, None without any; parked: as idle; a switch
    takes 0.1 s; clocks: those that were set.
    """
    given = profile.gpu
    powers = [one.power_w / one.tp for one in profile.inference if one.power_w is not None]
    powers += [one.power_w / one.gpus for one in profile.training if one.power_w is not None]
    idle_w = given.idle_w
    if idle_w is None and powers:
        idle_w = _IDLE_SHARE * max(powers)
    filled = Gpu(
        idle_w=idle_w,
        parked_w=idle_w if given.parked_w is None else given.parked_w,
        switch_latency_s=(
            _SWITCH_LATENCY_S if given.switch_latency_s is None else given.switch_latency_s
        ),
        clocks=profile.clocks_mhz,
    )
    return filled, _filled(given, filled)


def assumed_engine(profile: Profile) -> tuple[Engine, tuple[str, ...]]:
    """The engine without gaps, and the names of what was assumed.

    KV cache: room for the largest decode in the profile, None without any; the rest as vLLM.
    """
    given = profile.engine
    held = [
        one.batch * one.context_tokens
        for one in profile.inference
        if one.phase == "decode" and one.context_tokens
    ]
    filled = Engine(
        kv_tokens=max(held, default=None) if given.kv_tokens is None else given.kv_tokens,
        max_batched_tokens=given.max_batched_tokens or _MAX_BATCHED_TOKENS,
        max_num_seqs=given.max_num_seqs or _MAX_NUM_SEQS,
    )
    return filled, _filled(given, filled)


def _filled(given: Gpu | Engine, filled: Gpu | Engine) -> tuple[str, ...]:
    names = [one.name for one in fields(given)]
    return tuple(name for name in names if getattr(given, name) != getattr(filled, name))
