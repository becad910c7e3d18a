# SPDX-License-Identifier: Apache-2.0
"""Profiles that come with us, so that planner and governor run out of the box; all simulated."""

from pathlib import Path

__all__ = ["shipped", "shipped_names"]

_HERE = Path(__file__).parent


def shipped_names() -> list[str]:
    """What they are called."""
    return sorted(one.parent.name for one in _HERE.glob("*/profile.toml"))


def shipped(path: Path) -> Path:
    """The directory of the profile of this name; any other path as it is."""
    return _HERE / path if str(path) in shipped_names() else path
