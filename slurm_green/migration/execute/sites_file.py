# SPDX-License-Identifier: Apache-2.0
"""The sites file of `sgreen migrate plan` and `run`: how to reach each site, and its outlook.

    [[site]]
    name = "a"                          # in a federation the cluster's name
    slurm_conf = "/etc/slurm-a/slurm.conf"
    signal = "a.csv"                    # start_s,carbon_g_per_kwh[,renewable_w][,base_power_w]
    [[link]]
    from = "a"
    to = "b"
    gbps = 10

Keys and their meaning are the fields of Site, Forecast and Connection; an unknown key is an error.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from slurm_green.errors import BadInputError
from slurm_green.migration.execute.site import Site

__all__ = ["Connection", "Forecast", "SitesFile", "read_sites"]

T = TypeVar("T")
_BIGGEST = 1 << 20
_MOST = 1e15  # TOML's whole numbers have no end; products of these stay far from overflow
_KEY_OF = {"source": "from", "destination": "to"}  # what the file calls them
_WORD_OF: dict[type, str] = {str: "text", float: "number", list: "list", dict: "table"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What decides whether a site is worth a move; without a signal nothing moves there by itself.

    `gpu_w` is what a busy GPU adds to the site (assumed, unless measured), `error_share` the usual
    error of the supply as a share of its highest, `queue_wait_s` the usual wait there.
    """

    signal: str = ""
    gpu_w: float = 400.0
    error_share: float = 0.14
    queue_wait_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A link, both ways unless the other way stands there too; `limit_mbps` is ours to use."""

    source: str
    destination: str
    gbps: float
    efficiency: float = 0.8
    limit_mbps: float = 0.0
    store: str = ""
    """A URL of fsspec: checkpoints go through this object store, and not by rsync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesFile:
    """What the file says."""

    path: Path
    sites: Mapping[str, Site]
    forecasts: Mapping[str, Forecast]
    links: tuple[Connection, ...]

    def link(self, source: str, destination: str) -> Connection | None:
        """The way from one to the other."""
        for one in self.links:
            if (one.source, one.destination) == (source, destination):
                return one
        return None

    def site(self, name: str) -> Site:
        """One of them; raises BadInputError for another name."""
        if name not in self.sites:
            known = ", ".join(self.sites)
            raise BadInputError(f"{self.path}: no site is called {name!r}; there are {known}")
        return self.sites[name]


def read_sites(path: Path) -> SitesFile:
    """Read it; raises BadInputError with one line."""
    try:
        if path.stat().st_size > _BIGGEST:
            raise BadInputError(f"{path}: more than 1 MiB; that is no sites file")
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, not UTF-8, or a number of thousands of digits
        raise BadInputError(f"{path}: {error}") from error
    if unknown := set(document) - {"site", "link"}:
        raise BadInputError(f"{path}: {min(unknown)}: unknown; allowed are [[site]] and [[link]]")
    sites: dict[str, Site] = {}
    forecasts: dict[str, Forecast] = {}
    for number, table in enumerate(_tables(document, "site", path), 1):
        where = f"{path}: site {number}"
        own = {one.name for one in fields(Forecast)}
        reach = {key: value for key, value in table.items() if key not in own}
        site = _made(Site, reach, where)
        for key, value in (("slurm_conf", site.slurm_conf), ("root", site.root)):
            if not value.startswith("/"):
                raise BadInputError(f"{where}: {key}: {value!r} does not begin with /")
        if site.name in sites:
            raise BadInputError(f"{where}: {site.name!r} stands there twice")
        sites[site.name] = site
        rest = {key: value for key, value in table.items() if key in own}
        forecasts[site.name] = _made(Forecast, rest, where)
    links = _links(_tables(document, "link", path), sites, path)
    if len(sites) < 2:
        raise BadInputError(f"{path}: a move needs two [[site]] at least")
    return SitesFile(path=path, sites=sites, forecasts=forecasts, links=links)


def _links(
    tables: list[dict[str, Any]], sites: Mapping[str, Site], path: Path
) -> tuple[Connection, ...]:
    found: dict[tuple[str, str], Connection] = {}
    names = {key: name for name, key in _KEY_OF.items()}
    for number, table in enumerate(tables, 1):
        where = f"{path}: link {number}"
        link = _made(Connection, {names.get(k, k): v for k, v in table.items()}, where)
        for name in (link.source, link.destination):
            if name not in sites:
                raise BadInputError(f"{where}: no site is called {name!r}")
        if link.source == link.destination:
            raise BadInputError(f"{where}: leads from {link.source} to itself; wanted two sites")
        if not link.gbps > 0 or not 0 < link.efficiency <= 1 or link.limit_mbps < 0:
            raise BadInputError(f"{where}: gbps > 0, efficiency in (0, 1], limit_mbps >= 0")
        found[link.source, link.destination] = link
    for (source, destination), link in list(found.items()):
        back = Connection(
            source=destination, destination=source, gbps=link.gbps, efficiency=link.efficiency,
            limit_mbps=link.limit_mbps, store=link.store,
        )  # fmt: skip
        found.setdefault((destination, source), back)
    return tuple(found.values())


def _tables(document: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise BadInputError(f"{path}: write [[{key}]], once for each {key}")
    return found


def _made(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass of plain values; each value has the type of its field."""
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    shown = [_KEY_OF.get(name, name) for name in known]
    if kind is Site:
        shown += [one.name for one in fields(Forecast)]
    for key, value in values.items():
        if key not in known:
            raise BadInputError(f"{where}: {key}: unknown; known are {', '.join(shown)}")
        wanted = str(known[key].type)
        kinds: tuple[type, ...] = (str,)
        if wanted.startswith("<class 'float'") or wanted == "float":
            kinds = (int, float)
        elif "tuple" in wanted:
            kinds = (list,)
        elif "Mapping" in wanted:
            kinds = (dict,)
        if not isinstance(value, kinds) or isinstance(value, bool):
            key = _KEY_OF.get(key, key)
            raise BadInputError(f"{where}: {key}: {value!r} is no {_WORD_OF[kinds[-1]]}")
        inner = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inner, list) and not all(isinstance(one, str) for one in inner):
            raise BadInputError(f"{where}: {key}: {value!r} holds something that is no text")
        if isinstance(value, int | float) and not 0 <= value <= _MOST:
            allowed = f"wanted a number from 0 to {_MOST:g}"
            raise BadInputError(f"{where}: {key}: {value!r} is not allowed; {allowed}")
    for name, one in known.items():
        if one.default is MISSING and one.default_factory is MISSING and name not in values:
            raise BadInputError(f"{where}: {_KEY_OF.get(name, name)} is missing")
    given = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
    return kind(**given)
