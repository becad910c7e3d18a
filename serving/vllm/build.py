# SPDX-License-Identifier: Apache-2.0
"""From settings to the parts of a governed replica, and to one line that says what it does.

Whatever is missing takes away as little as it can: without a profile nothing is governed, without
clocks that may be set it is watched, without a meter joules are modelled.
"""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from profiling.device.apply import obstacle
from profiling.device.gpu import Gpu
from profiling.device.nvml import Nvml
from profiling.errors import ProfilingError
from profiling.files import read_profile
from profiling.profile import Profile
from profiling.shipped import shipped
from serving.clocks.direct import DirectClocks
from serving.clocks.noded import NodedClocks
from serving.clocks.protocol import NoClocks, SetsClocks
from serving.clocks.setter import Setter
from serving.governor.ceiling import Capped, uncapped
from serving.governor.engine import EngineModel
from serving.governor.governor import Governor
from serving.governor.objective import Budget, Steering
from serving.governor.protocol import Policy, Slo
from serving.governor.registry import policy_named
from serving.vllm.learned import Learned, digest
from serving.vllm.metrics import Metrics, serve
from serving.vllm.pilot import Pilot
from serving.vllm.recorder import Recorder
from serving.vllm.settings import Settings
from serving.vllm.site import SiteWord
from slurm_green.errors import BadInputError
from slurm_green.plan.outcome import Objective

__all__ = ["Group", "Replica", "build"]

_LOG = logging.getLogger("slurm_green.serving")


@dataclass(frozen=True, kw_only=True)
class Group:
    """What of vLLM's configuration decides whether, and which GPUs are governed."""

    model: str
    tp: int = 1
    gpus: int = 1  # of this engine
    rank: int = 0  # of this engine among its node's data-parallel ones
    unfit: str | None = None  # why no policy may choose here
    max_num_seqs: int | None = None  # these are the profile's where vLLM does not say
    max_batched_tokens: int | None = None
    kv_tokens: int | None = None


@dataclass
class Replica:
    """The running parts."""

    pilot: Pilot
    setter: Setter
    recorder: Recorder
    nvml: ExitStack
    learned: Learned | None = None

    def close(self) -> None:
        """Clocks first."""
        self.setter.close()
        self.recorder.close()
        if self.learned is not None:
            self.learned.keep(last=True)
        self.nvml.close()


def build(settings: Settings, group: Group) -> Replica:
    """Everything started; raises BadInputError or ProfilingError for what a person must mend."""
    with ExitStack() as opened:
        gpus, blind = _gpus(settings, group, opened)
        return _built(settings, group, gpus, blind, opened)


def _built(
    settings: Settings, group: Group, gpus: Sequence[Gpu], blind: str | None, opened: ExitStack
) -> Replica:
    engine = policy = site = learned = None
    why = group.unfit
    if settings.profile is None:
        why = why or "no profile"
    else:
        profile = read_profile(shipped(settings.profile))
        if wrong := _other_gpu(profile, gpus, blind):
            raise BadInputError(f"profile {settings.profile}: {wrong}")
        engine = EngineModel(profile, tp=group.tp)
        # What it takes at once is this engine's own choice, whatever was profiled.
        engine.max_num_seqs = group.max_num_seqs or engine.max_num_seqs
        engine.max_batched_tokens = group.max_batched_tokens or engine.max_batched_tokens
        engine.kv_tokens = group.kv_tokens or engine.kv_tokens
    slo = _slo(settings)
    if engine is not None and why is None:
        if slo is None:
            raise BadInputError("slo_ttft_ms and slo_tpot_ms: both are wanted where a profile is")
        policy, site = _policy(settings, engine, slo)
        learned = _learned(settings, group, profile, policy)
        clocks, by = _clocks(settings, gpus)
        _LOG.info(
            "policy %s over %s, clocks set by %s; at most %d requests and %d tokens at once, %d in"
            " the cache", settings.policy, settings.profile, by, engine.max_num_seqs,
            engine.max_batched_tokens, engine.kv_tokens,
        )  # fmt: skip
    else:
        clocks = NoClocks()
        _LOG.warning("nothing is governed, clocks stay at their maximum: %s", why)
    if blind is not None:
        _LOG.warning("joules are not measured: %s", blind)
    return _replica(settings, group, gpus, engine, policy, slo, clocks, site, learned, opened)


def _replica(
    settings: Settings,
    group: Group,
    gpus: Sequence[Gpu],
    engine: EngineModel | None,
    policy: Policy | None,
    slo: Slo | None,
    clocks: SetsClocks,
    site: SiteWord | None,
    learned: Learned | None,
    opened: ExitStack,
) -> Replica:
    setter = Setter(clocks)
    recorder = Recorder(gpus, engine, holds_mhz=lambda: setter.holds_mhz)
    pilot = Pilot(
        setter,
        slo=slo or Slo(math.inf, math.inf),
        engine=engine,
        policy=policy,
        ran=recorder.ran,
        over=recorder.over,
        failed=_given_up,
        highest_mhz=min((max(one.supported_clocks_mhz(), default=0) for one in gpus), default=None),
    )
    recorder.busy = lambda: pilot.busy
    if site is not None:
        recorder.before_settle, recorder.mu = _all(site, learned), site.mu
    if settings.metrics:
        metrics = Metrics(
            recorder, pilot, setter, model=group.model, policy=settings.policy, site=site
        )
        try:
            recorder.on_settle = serve(metrics, settings.metrics)
        except OSError as error:
            _LOG.warning("metrics are not shown at %s: %s", settings.metrics, error)
        except BadInputError:
            setter.close()
            raise
    recorder.start()
    return Replica(pilot, setter, recorder, opened.pop_all(), learned)


def _policy(settings: Settings, engine: EngineModel, slo: Slo) -> tuple[Policy, SiteWord]:
    """The policy under the site's ceiling, and who listens to the site."""
    site = SiteWord(
        engine,
        prices=settings.prices,
        ceiling=settings.ceiling,
        max_age_s=settings.prices_max_age_s,
    )
    grams = settings.carbon_budget_g_per_hour
    budget = None if grams is None else Budget(grams, 3600.0, lambda: site.mean_mu)
    steering = Steering(engine, Objective(settings.objective), site.mu, budget)
    made = policy_named(settings.policy, engine, slo, lambda: steering)()
    return Capped(made, site.most) if settings.ceiling is not None else made, site


def _all(site: SiteWord, learned: Learned | None) -> Callable[[], None]:
    """What is to be done once a second."""

    def done() -> None:
        site.refresh()
        if learned is not None:
            learned.keep()

    return done


def _learned(settings: Settings, group: Group, profile: Profile, policy: Policy) -> Learned | None:
    """What outlives this engine, where the policy learns and somebody says where to keep it."""
    under = uncapped(policy)
    if settings.learned is None or not isinstance(under, Governor):
        return None
    about = {
        "model": group.model, "tp": group.tp, "profile": digest(profile), "policy": settings.policy,
        "slo_ttft_ms": settings.slo_ttft_ms, "slo_tpot_ms": settings.slo_tpot_ms,
    }  # fmt: skip
    return Learned(settings.learned, under.caution, about)


def _given_up(error: Exception) -> None:
    _LOG.error("the policy failed (%r): clocks go back, serving goes on", error, exc_info=error)


def _slo(settings: Settings) -> Slo | None:
    if settings.slo_ttft_ms is None or settings.slo_tpot_ms is None:
        return None
    return Slo(settings.slo_ttft_ms / 1e3, settings.slo_tpot_ms / 1e3)


def _indices(settings: Settings, group: Group) -> list[int]:
    """This engine's GPUs, by NVML's number: its slice of the job's."""
    found: list[int] = []
    for part in settings.gpus.split(",") if settings.gpus else ():
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise BadInputError(f"gpus: wanted numbers like 0,1 or 0-3, not {settings.gpus!r}")
        found += range(int(first), int(last or first) + 1)
    if not found:
        return []
    own = found[group.rank * group.gpus :][: group.gpus]
    if len(own) < group.gpus:
        raise BadInputError(
            f"gpus: {settings.gpus} are {len(found)}; engine {group.rank} wants {group.gpus}"
        )
    return own


def _gpus(settings: Settings, group: Group, opened: ExitStack) -> tuple[list[Gpu], str | None]:
    """Those of this engine, and why they cannot be seen."""
    wanted = _indices(settings, group)
    if not wanted:
        return [], "which GPUs is not known: set gpus, or run in a Slurm job"
    try:
        nvml = opened.enter_context(Nvml(settings.nvml_library))
        there = {one.identity.index: one for one in nvml.gpus()}
    except ProfilingError as error:
        return [], str(error)
    lost = [index for index in wanted if index not in there]
    if lost:
        return [], f"NVML shows no GPU {lost[0]}"
    return [there[index] for index in wanted], None


def _other_gpu(profile: Profile, gpus: Sequence[Gpu], blind: str | None) -> str | None:
    """Why a profile is not for these GPUs; a name that nobody knows is no contradiction."""
    if blind is not None:
        return f"cannot be compared with the GPU ({blind})"
    for one in gpus:
        if profile.gpu_name is not None and profile.gpu_name != one.identity.name:
            return f"is of {profile.gpu_name}, and this is {one.identity.name}; nothing is governed"
    return None


def _clocks(settings: Settings, gpus: Sequence[Gpu]) -> tuple[SetsClocks, str]:
    kind = settings.clocks
    if kind == "auto":
        kind = "noded" if settings.socket.exists() and settings.job is not None else "none"
    if kind == "noded":
        if settings.job is None:
            raise BadInputError("clocks noded: which job is not known; set job")
        numbers = ",".join(str(one.identity.index) for one in gpus)
        made = NodedClocks(settings.socket, job_id=settings.job, gpus=numbers, ttl_s=settings.ttl_s)
        return made, f"sgreen-noded at {settings.socket}"
    if kind == "nvml":
        if why := next((why for why in map(obstacle, gpus) if why), None):
            return NoClocks(), f"nobody ({why})"
        default = settings.default_clock_mhz
        return DirectClocks(gpus, settings.journal, default_clock_mhz=default), "NVML"
    return NoClocks(), "nobody"
