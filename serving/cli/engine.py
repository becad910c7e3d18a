# SPDX-License-Identifier: Apache-2.0
"""The replica that the options name: a profile and how many GPUs share the model."""

from pathlib import Path
from typing import TYPE_CHECKING

from profiling.errors import ProfileError

if TYPE_CHECKING:
    from serving.governor.engine import EngineModel

__all__ = ["engine_of"]


def engine_of(profile_dir: Path, tp: int) -> "EngineModel":
    """The replica of a profile; ProfileError names the profile that has not what it takes."""
    from profiling.files import read_profile
    from serving.governor.engine import EngineModel

    profile = read_profile(profile_dir)
    try:
        return EngineModel(profile, tp=tp)
    except ProfileError as error:
        raise ProfileError(f"{profile_dir}: {error}") from None
