# SPDX-License-Identifier: Apache-2.0
"""Before a server starts: does its profile fit? After it: clocks given back."""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from profiling.device.apply import Setting
from profiling.device.journal import Journal
from profiling.device.lease import restore_left
from profiling.device.nvml import Nvml
from profiling.errors import ProfileError, ProfilingError
from profiling.files import read_profile
from profiling.shipped import shipped
from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.governor.registry import policy_named
from serving.vllm.settings import Settings
from slurm_green.errors import BadInputError

__all__ = ["give_back", "gpus_here", "gpus_named", "profile_here"]

_LOG = logging.getLogger("slurm_green.serve")
_ANY = Slo(ttft_s=1.0, tpot_s=1.0)


def profile_here(settings: Settings, gpus: Sequence[int], tp: int = 1) -> str | None:
    """Why nothing can be governed here, None where it can; `tp` GPUs share each layer.

    Raises BadInputError for a profile of another GPU: with it clocks would be wrong, not only high;
    and for a policy of a clock that the profile has not.
    """
    if settings.profile is None:
        return "no --profile"
    path = shipped(settings.profile)
    if not path.is_dir():
        return f"--profile {settings.profile}: no such directory and no shipped profile"
    profile = read_profile(path)
    if not profile.inference:
        return f"--profile {settings.profile}: it has no inference.csv, only training"
    try:
        engine = EngineModel(profile, tp=tp)
    except ProfileError as error:
        return f"--profile {settings.profile}: {error}"
    policy_named(settings.policy, engine, _ANY)
    try:
        with Nvml(settings.nvml_library) as nvml:
            names = {one.identity.index: one.identity.name for one in nvml.gpus()}
    except ProfilingError as error:
        _LOG.warning("the profile cannot be compared with the GPU: %s", error)
        return None
    for index, name in names.items():
        if (not gpus or index in gpus) and profile.gpu_name not in (None, name):
            raise BadInputError(
                f"--profile {settings.profile} is of {profile.gpu_name}, GPU {index} here is"
                f" {name}: nothing was started; give a profile of this GPU (sgreen profile run"
                " makes one) or none"
            )
    return None


def gpus_here(settings: Settings) -> tuple[int, ...]:
    """Numbers of this machine's GPUs; none where NVML shows none."""
    try:
        with Nvml(settings.nvml_library) as nvml:
            return tuple(one.identity.index for one in nvml.gpus())
    except ProfilingError:
        return ()


def gpus_named(settings: Settings, uuids: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the GPUs whose UUIDs are, or begin, so; raises BadInputError for one unknown."""
    try:
        with Nvml(settings.nvml_library) as nvml:
            found = {one.identity.uuid: one.identity.index for one in nvml.gpus()}
    except ProfilingError as error:
        raise BadInputError(str(error)) from error
    numbers = []
    for begin in uuids:
        fits = [uuid for uuid in found if uuid.startswith(begin)]
        if len(fits) != 1:
            raise BadInputError(f"{len(fits) or 'no'} further GPUs here have a UUID {begin}")
        numbers.append(found.pop(fits[0]))
    return tuple(numbers)


def give_back(settings: Settings) -> None:
    """Clocks that a server set itself and left behind; those of sgreen-noded end with its lease."""
    if settings.clocks != "nvml":
        return
    try:
        with (
            Nvml(settings.nvml_library) as nvml,
            # We live on: what stays owed must not be ours until we end.
            closing(Journal(Path(settings.journal))) as journal,
        ):
            default = Setting(clock_mhz=settings.default_clock_mhz)
            failed = restore_left(journal, nvml.gpus(), default)
    except ProfilingError as error:
        failed = (str(error),)
    for words in failed:
        _LOG.error("a clock is not given back: %s; sgreen restore does it, as root", words)
