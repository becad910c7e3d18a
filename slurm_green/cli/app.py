# SPDX-License-Identifier: Apache-2.0
"""What a verb works with: clock, configuration and Slurm, each made when first asked for.

Tests hand in their own; nothing here is imported before it is needed, so that help stays quick.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from slurm_green.config.settings import Config
    from slurm_green.slurm.client import SlurmClient

__all__ = ["App", "pass_app"]


def _config(environ: Mapping[str, str]) -> "Config":
    from slurm_green.config.load import load

    return load(environ=environ)


def _connect(config: "Config") -> "SlurmClient":
    from slurm_green.slurm.select import client_from

    return client_from(config.general.slurm_backend)


@dataclass(kw_only=True)
class App:
    """The edges of the command line; a test replaces `load_config`, `connect`, `now`, `sleep`."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    load_config: Callable[[Mapping[str, str]], "Config"] = _config
    connect: Callable[["Config"], "SlurmClient"] = _connect

    @cached_property
    def config(self) -> "Config":
        """The site's configuration; raises ConfigError."""
        return self.load_config(self.environ)

    @cached_property
    def slurm(self) -> "SlurmClient":
        """Slurm, through the backend the site chose."""
        return self.connect(self.config)

    def now_s(self) -> datetime:
        """Now in whole seconds: Slurm's times have no finer ones, and ours must equal them."""
        return self.now().replace(microsecond=0)


pass_app = click.make_pass_decorator(App, ensure=True)
