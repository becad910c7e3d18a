# SPDX-License-Identifier: Apache-2.0
"""Reads the router's TOML file into `Settings`, or says what is wrong and where."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from serving.router.settings import (
    Breaking,
    Checks,
    Limits,
    Listen,
    Registrations,
    Retry,
    Route,
    RoutePolicy,
    Settings,
    Site,
    StaticReplica,
    Tenant,
    Timeouts,
)  # fmt: skip
from slurm_green.errors import ConfigError

__all__ = ["check_ports", "load", "loads"]

_ONE = {
    "listen": Listen, "limits": Limits, "timeouts": Timeouts, "retry": Retry, "breaker": Breaking,
    "health": Checks, "policy": RoutePolicy, "registrations": Registrations,
}  # fmt: skip
_MANY = {"site": Site, "replica": StaticReplica, "model": Route, "tenant": Tenant}
_KEY = re.compile(r"[\x21-\x7e]{8,512}")


def load(path: Path) -> Settings:
    """The settings in a file, and the keys in the files that it names; raises ConfigError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return loads(text, path)


def loads(text: str, source: Path | None = None) -> Settings:
    """The settings in a text; `source` names it in errors."""
    where = str(source or "configuration")
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOML's own, or a number of thousands of digits
        raise ConfigError(f"{where}: not TOML: {error}") from error
    _known(document, {*_ONE, *_MANY}, where, "table")
    parts: dict[str, Any] = {
        name: _table(cls, document.get(name, {}), f"{where}: [{name}]")
        for name, cls in _ONE.items()
    }
    for name, cls in _MANY.items():
        rows = document.get(name, [])
        if not isinstance(rows, list):
            raise ConfigError(f"{where}: [{name}]: there may be several; write [[{name}]]")
        parts[name] = tuple(
            _table(cls, row, f"{where}: [[{name}]] {at}") for at, row in enumerate(rows, 1)
        )
    settings = Settings(**parts)
    _check(settings, where)
    return replace(settings, keys=_keys(settings, where))


def _table(cls: Any, table: object, where: str) -> Any:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: is not a table; write that line, and its keys below it")
    known = {one.name: one for one in fields(cls)}
    _known(table, known, where, "key")
    values = {}
    for name, value in table.items():
        kind = known[name].metadata["kind"]
        try:
            values[name] = kind.read(value)
        except ValueError as error:
            raise ConfigError(
                f"{where}: {name} = {str(value)[:60]!r} {error}; allowed: {kind.allowed}"
            ) from error
    for name, one in known.items():
        if one.default is MISSING and name not in values:
            raise ConfigError(
                f"{where}: {name} is missing; allowed: {one.metadata['kind'].allowed}"
            )
    return cls(**values)


def _known(table: Mapping[str, object], known: Iterable[str], where: str, noun: str) -> None:
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            raise ConfigError(f"{where}: {name!r}: no such {noun}; {hint}")


def _check(settings: Settings, where: str) -> None:
    sites = [one.name for one in settings.site] or ["local"]
    for noun, names in (
        ("site", sites),
        ("model", [one.name for one in settings.model]),
        ("tenant", [one.name for one in settings.tenant]),
        ("replica", [one.url.rstrip("/") for one in settings.replica]),
    ):
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"{where}: [[{noun}]]: {min(twice)!r} is there twice; leave one out")
    named: list[tuple[str, tuple[str, ...]]] = [
        (f"[[replica]] {one.url}", (one.site,)) for one in settings.replica
    ]
    named += [(f"[[model]] {one.name}", one.sites or ()) for one in settings.model]
    named += [(f"[[tenant]] {one.name}", one.sites or ()) for one in settings.tenant]
    for place, theirs in named:
        for name in theirs:
            if name not in sites:
                raise ConfigError(
                    f"{where}: {place}: site {name!r} is none of [[site]]: {', '.join(sites)}"
                )
    for one in settings.site:
        if one.supply_file is not None and one.supply_url is not None:
            raise ConfigError(
                f"{where}: [[site]] {one.name}: supply_file and supply_url; give one of them"
            )
        if (one.supply_file or one.supply_url) and one.supply_low_w is None:
            raise ConfigError(
                f"{where}: [[site]] {one.name}: supply_low_w is missing: the watts to count on "
                "when its telemetry is old or gone"
            )
    check_ports(settings, where)
    if settings.breaker.open_max_s < settings.breaker.open_s:
        raise ConfigError(f"{where}: [breaker]: open_max_s is below open_s; wanted no less")
    if (settings.listen.tls_cert is None) != (settings.listen.tls_key is None):
        raise ConfigError(f"{where}: [listen]: TLS needs both tls_cert and tls_key")
    if not settings.replica and settings.registrations.dir is None:
        raise ConfigError(
            f"{where}: names no replicas; write [[replica]] with url and model, or "
            "[registrations] with dir"
        )


def check_ports(settings: Settings, where: str) -> None:
    """Raises ConfigError where ports meet, or are none."""
    listen = settings.listen
    last = listen.admin_port + listen.workers - 1
    if listen.admin_port and last > 65_535:
        raise ConfigError(
            f"{where}: [listen]: admin_port {listen.admin_port} and {listen.workers} workers reach "
            f"to port {last}; the highest is 65535"
        )
    # Both would be bound, and clients land on either.
    if listen.admin_port and listen.admin_port <= listen.port <= last:
        raise ConfigError(
            f"{where}: [listen]: port {listen.port} is one of the {listen.workers} from admin_port "
            f"{listen.admin_port} on; give others"
        )
    for one in settings.replica:
        if not 1 <= int(one.url.rstrip("/").rpartition(":")[2]) <= 65_535:
            raise ConfigError(f"{where}: [[replica]] {one.url}: wanted a port from 1 to 65535")


def _keys(settings: Settings, where: str) -> dict[Path, tuple[str, ...]]:
    found: dict[Path, tuple[str, ...]] = {}
    paths = [*(one.key_file for one in settings.tenant)]
    for path in (*paths, *(one.key_file for one in settings.replica)):
        if path is None or path in found:
            continue
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is not UTF-8"
            raise ConfigError(f"{where}: key_file {path}: cannot be read: {why}") from error
        keys = tuple(line.strip() for line in lines if line.strip() and line[0] != "#")
        if not keys or not all(_KEY.fullmatch(key) for key in keys):
            raise ConfigError(
                f"{where}: key_file {path}: wanted a key per line, 8 to 512 printable characters "
                "without spaces"
            )
        found[path] = keys
    owners: dict[str, str] = {}
    for tenant in settings.tenant:
        for key in found[tenant.key_file]:
            if owners.setdefault(key, tenant.name) != tenant.name:
                raise ConfigError(
                    f"{where}: tenants {owners[key]} and {tenant.name} share a key; a key tells "
                    "who comes in"
                )
    return found
