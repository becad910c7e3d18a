# SPDX-License-Identifier: Apache-2.0
"""How old the carbon signal and sgreend's last cycle are, from the files this user may read."""

import json
from datetime import UTC, datetime
from typing import Any

from slurm_green.config.settings import Config

__all__ = ["Freshness", "most_age_s", "off_since", "signal_now", "silent_s", "status_of"]

Freshness = dict[str, Any]


def status_of(config: Config) -> dict[str, Any] | None:
    """sgreend's summary of itself; None when there is none to read."""
    try:
        found = json.loads(config.paths.status.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def most_age_s(config: Config) -> float:
    """How old what a cycle writes may be; older, and cycles have stopped."""
    return 3 * config.controller.interval_s + 10


def silent_s(config: Config, now_utc: datetime) -> float | None:
    """Seconds since sgreend's last cycle where that is too long; None also where nobody may say."""
    try:
        last = datetime.fromisoformat(str((status_of(config) or {})["at_utc"]))
        age_s = (now_utc - last).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return age_s if age_s > most_age_s(config) else None


def off_since(config: Config) -> datetime | None:
    """When the site was switched off; None when it is on, or nobody may say."""
    try:
        return datetime.fromtimestamp(config.paths.off.stat().st_mtime, UTC)
    except OSError:
        return None


def signal_now(config: Config, now_utc: datetime) -> Freshness | None:
    """Provider and age of the signal file as it is now; None when it cannot be read."""
    try:
        found = json.loads(config.paths.signal.read_bytes())
        issued = datetime.fromisoformat(found["issued_utc"])
        return {
            "provider": str(found["provider"]),
            "region": str(found.get("region", "")),
            "basis": str(found.get("basis", "")),
            "issued_utc": issued,
            "age_s": round((now_utc - issued).total_seconds()),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
