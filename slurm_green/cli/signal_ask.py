# SPDX-License-Identifier: Apache-2.0
"""Asks the providers now, as `sgreen fetch` would, and leaves nothing behind."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from slurm_green.cli.signal_state import State
from slurm_green.config.settings import Config
from slurm_green.errors import SlurmGreenError
from slurm_green.fetch.build import build_sources
from slurm_green.fetch.refresh import Forecaster
from slurm_green.fetch.run import new_client, refreshed
from slurm_green.fetch.store import Store

__all__ = ["ask"]


def ask(
    config: Config,
    states: Sequence[State],
    now_utc: datetime,
    forecaster: Forecaster | None = None,
) -> list[State]:
    """The same states with what the providers of each say now; raises ConfigError.

    Who wants to be left alone is left alone here too.
    """
    with (
        new_client() as client,
        tempfile.TemporaryDirectory(prefix="sgreen-ask-") as directory,
    ):
        # All chains first: a mistake in one of them must not cost the questions of another.
        chains = [build_sources(config, state.quantity.name, client) for state in states]
        store = Store(directory=_copied(config.paths.signals, Path(directory)))
        return [
            replace(
                state,
                asked=refreshed(
                    config, sources, state.quantity.name, store, forecaster or _built_in(), now_utc
                ),
            )
            if sources
            else state
            for state, sources in zip(states, chains, strict=True)
        ]


def _built_in() -> Forecaster:
    from slurm_green.signals.forecast import forecast

    return forecast


def _copied(original: Path, directory: Path) -> Path:
    """A copy of what the fetching process keeps, as far as it is ours to read."""
    copy = directory / "signals"
    copy.mkdir()
    try:
        for path in original.iterdir():
            if path.suffix in {".csv", ".json"} and path.is_file():
                shutil.copy(path, copy / path.name)
    except FileNotFoundError:
        pass  # nothing was ever fetched
    except OSError as error:
        raise SlurmGreenError(
            f"{original}: cannot be read: {error.strerror}; --ask is for root or the fetching user"
        ) from error
    return copy
