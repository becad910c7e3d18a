# SPDX-License-Identifier: Apache-2.0
"""The files behind the node API: profiles, prices, the cap. Read anew when they change.

A file that is wrong changes nothing: what it said before holds, and the log says what is wrong.
"""

import json
import logging
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import profiling
from profiling.errors import ProfilingError
from profiling.files import read_profile
from profiling.profile import Profile
from slurm_green.config.node import NodesSection
from slurm_green.controller.nodes.site import NodeSite
from slurm_green.errors import BadInputError, SlurmGreenError
from slurm_green.plan.price_file import read_prices
from slurm_green.plan.response import PriceCurve

__all__ = ["NodeFiles", "read_cap"]

_LOG = logging.getLogger(__name__)
_SHIPPED = Path(profiling.__file__).parent / "shipped"
_MOST_BYTES = 65536
_CAP = {"clock_mhz": (int,), "power_limit_w": (int, float)}

T = TypeVar("T")


class NodeFiles:
    """`read` gives all of it for one cycle; it never raises."""

    def __init__(self, settings: NodesSection) -> None:
        self._settings = settings
        # Path -> (what tells one version from the next, what it says).
        self._seen: dict[Path, tuple[object, Any]] = {}

    def read(self) -> NodeSite:
        """What holds now."""
        settings = self._settings
        return NodeSite(
            profiles=self._profiles(),
            prices=self._prices(),
            cap=self._cap(),
            safety=settings.safety,
            max_slowdown=settings.max_slowdown,
        )

    def _profiles(self) -> dict[str, Profile]:
        places = [_SHIPPED] if self._settings.shipped_profiles else []
        found: dict[str, Profile] = {}
        for place in (*places, self._settings.profiles):
            for path in sorted(place.glob("*/profile.toml")):
                profile = self._fresh(path, lambda path: read_profile(path.parent))
                if profile is not None:
                    found[path.parent.name] = profile
        return found

    def _prices(self) -> PriceCurve | None:
        path = self._settings.prices
        return (
            None if path is None else self._fresh(path, lambda it: PriceCurve.of(read_prices(it)))
        )

    def _cap(self) -> dict[str, object]:
        settings = self._settings
        own = {"clock_mhz": settings.cap_clock_mhz, "power_limit_w": settings.cap_power_limit_w}
        path = settings.cap_file
        said = (self._fresh(path, read_cap) if path is not None else None) or {}
        cap: dict[str, object] = {}
        for key, mine in own.items():
            amounts = [one for one in (mine, said.get(key)) if one is not None]
            if amounts:
                cap[key] = min(amounts)
        return cap

    def _fresh(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """What the file says, read when it changed; None where there is none."""
        key = _key(path)
        if key is None:
            if self._seen.pop(path, None) is not None:
                _LOG.info("%s is gone", path)
            return None
        known = self._seen.get(path)
        if known is None or known[0] != key:
            value = None if known is None else known[1]
            try:
                value = read(path)
                _LOG.info("%s is read", path)
            except (SlurmGreenError, ProfilingError, OSError) as error:
                _LOG.error("%s", error)
            self._seen[path] = (key, value)
        found: T | None = self._seen[path][1]
        return found


def read_cap(path: Path) -> Mapping[str, float]:
    """The cap in a file; BadInputError where it is wrong, as it slows jobs."""
    with path.open("rb") as file:
        data = file.read(_MOST_BYTES + 1)
    if path.stat().st_mode & stat.S_IWOTH:
        raise BadInputError(f"{path}: everybody may write to it, and it slows jobs; chmod o-w")
    try:
        cap = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON: {error}") from error
    if not isinstance(cap, dict) or not set(cap) <= set(_CAP):
        raise BadInputError(f"{path}: wanted an object with {' and '.join(_CAP)}, or one of them")
    for key, value in cap.items():
        if type(value) not in _CAP[key] or not 0 < value < 100_000:
            raise BadInputError(f"{path}: {key}: {str(value)[:40]!r} is not allowed")
    return cap


def _key(path: Path) -> object:
    """Something that changes when any file beside a profile.toml, or the file itself, does.

    Its mode and owner, too: who is told to `chmod` need not write it again. The time of change
    tells of both, but not of two changes within a tick of older kernels' clock.
    """
    files = sorted(path.parent.glob("*.csv")) if path.name == "profile.toml" else []
    try:
        found = [one.stat() for one in (path, *files)]
    except OSError:
        return None
    return tuple(
        (one.st_ino, one.st_ctime_ns, one.st_size, one.st_mode, one.st_uid, one.st_gid)
        for one in found
    )
