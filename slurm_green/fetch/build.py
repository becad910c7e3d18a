# SPDX-License-Identifier: Apache-2.0
"""From [provider.NAME] tables to the sources of a chain, and what tells one zone from another."""

import json
from dataclasses import fields, replace

import httpx

from slurm_green.config import providers as kinds
from slurm_green.config.chains import CHAINS
from slurm_green.config.settings import Config
from slurm_green.errors import ConfigError, SignalError
from slurm_green.fetch.builders import BUILDERS, Wanted
from slurm_green.fetch.keys import KeyFileError
from slurm_green.fetch.work import Source

__all__ = ["build_sources"]


def build_sources(config: Config, quantity: str, client: httpx.Client) -> list[Source]:
    """The providers of a quantity, in the order the site trusts them; raises ConfigError."""
    found = []
    for name in getattr(config.signal, CHAINS[quantity]):
        settings = config.provider[name]
        wanted = Wanted(name=name, quantity=quantity, client=client)
        try:
            source = BUILDERS[type(settings)](settings, wanted)
        except KeyFileError as error:
            # Keys are rotated while we run: that costs this provider and no other.
            source = Source(name=name, problem=str(error))
        except SignalError as error:
            raise ConfigError(f"provider.{name}: {error}") from error
        found.append(replace(source, settings=_meaning(settings)))
    return found


def _meaning(settings: kinds.ProviderSettings) -> str:
    """What tells a provider's zone and kind from another's: all but how it is reached."""
    # A web API of somebody's own may have its zone in the address.
    only_how = _ONLY_HOW - ({"url"} if isinstance(settings, kinds.HttpJsonSettings) else set())
    shown = {
        one.name: str(getattr(settings, one.name))
        for one in fields(settings)
        if not one.name.endswith("_file") and one.name not in only_how
    }
    return json.dumps({"type": type(settings).__name__, **shown}, sort_keys=True)


_ONLY_HOW = {"url", "user", "horizon_h", "horizon_s", "version", "key_prefix"}
