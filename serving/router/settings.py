# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - _set() and its like are dataclass fields, not values shared by mistake
"""What the router is told: one class per table of its TOML file. Pure.

A field says in its metadata what it may hold.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from slurm_green.config import kinds
from slurm_green.config.kinds import Kind

__all__ = [
    "MODEL",
    "URL",
    "Breaking",
    "Checks",
    "Limits",
    "Listen",
    "Registrations",
    "Retry",
    "Route",
    "RoutePolicy",
    "Settings",
    "Site",
    "StaticReplica",
    "Tenant",
    "Timeouts",
]

T = TypeVar("T")
_MIB = 2**20
_NAME = kinds.text("letters, digits and . _ - / :", r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
# The host is a name, an IPv4 address, or an IPv6 address in brackets; parts of a name that are
# empty or of 64 letters nobody can look up.
URL = r"https?://([^\s/:.\[\]]{1,63}+(\.[^\s/:.\[\]]{1,63}+)*+\.?|\[[0-9A-Fa-f:.]+(%[\w.]+)?\]):\d{1,5}"
# Whatever vLLM was told to serve: also a directory; what is no UTF-8 (surrogates) nobody can write.
MODEL = r"[^\s\x00-\x1f\x7f\ud800-\udfff]{1,200}"
_MODEL = kinds.text("the name that clients ask for, without blanks", MODEL)
_URL = kinds.text("http://HOST:PORT or https://HOST:PORT", rf"{URL}/?")
_LINK = kinds.text("an http:// or https:// address", r"https?://\S+")
_WORD = kinds.text("one line of text", r"[^\n\x00]+")


def _set(kind: Kind[T], default: Any = ...) -> Any:
    if default is ...:
        return field(metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


def _time(default_s: float) -> Any:
    return _set(kinds.duration(0.001, 86_400.0), default_s)


def _some() -> Any:
    listed = kinds.names(once=True)

    def read(value: object) -> tuple[str, ...]:
        if value == []:
            raise ValueError("is empty, so that nothing would be allowed")
        return listed.read(value)

    wanted = "a list of at least one text; leave it out to allow all"
    return _set(Kind(wanted, read, listed.write), None)


def _count(default: int, least: int = 1, most: int = 2**40) -> Any:
    return _set(kinds.whole(least, most), default)


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where clients come in; `admin_port` + n is the n-th process's /metrics (0: none)."""

    host: str = _set(_WORD, "127.0.0.1")
    port: int = _count(8000, 0, 65_535)
    admin_host: str = _set(_WORD, "127.0.0.1")
    admin_port: int = _count(0, 0, 65_535)
    workers: int = _count(1, 1, 256)
    tls_cert: Path | None = _set(kinds.path(), None)
    tls_key: Path | None = _set(kinds.path(), None)
    access_log: Path | None = _set(kinds.path(), None)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Sizes in bytes; `queue` requests wait up to `queue_s` for a replica, per model."""

    header_bytes: int = _count(32_768, 256)
    body_bytes: int = _count(16 * _MIB)
    answer_bytes: int = _count(64 * _MIB)
    connections: int = _count(20_000)
    running_per_replica: int = _count(1024)
    queue: int = _count(1000, 0)
    queue_s: float = _time(5.0)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """`answer_s` bounds an answer that is not streamed, `progress_s` a stream's gaps."""

    head_s: float = _time(10.0)
    body_s: float = _time(60.0)
    idle_s: float = _time(75.0)
    connect_s: float = _time(2.0)
    first_byte_s: float = _time(60.0)
    progress_s: float = _time(20.0)
    answer_s: float = _time(600.0)
    client_s: float = _time(60.0)
    drain_s: float = _time(120.0)
    # vLLM closes idle connections after 5 s.
    keepalive_s: float = _time(4.0)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often one request is sent at most, also with what a broken stream needs."""

    attempts: int = _count(4, 1, 100)


@dataclass(frozen=True, kw_only=True)
class Breaking:
    """A replica that fails so often in a row is left alone for `open_s`, then longer and longer."""

    failures: int = _count(3)
    open_s: float = _time(2.0)
    open_max_s: float = _time(60.0)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Active health checks; `scrape` reads vLLM's /metrics for load that other routers bring."""

    period_s: float = _time(2.0)
    timeout_s: float = _time(2.0)
    failures: int = _count(2)
    scrape: bool = _set(kinds.flag(), True)


@dataclass(frozen=True, kw_only=True)
class RoutePolicy:
    """Who chooses replicas: `balanced`, or a policy that needs a profile and SLOs."""

    name: str = _set(_NAME, "balanced")
    profile: str | None = _set(_WORD, None)
    tp: int = _count(1)
    slo_ttft_ms: float = _set(kinds.number(1e-3, 1e9), 1000.0)
    slo_tpot_ms: float = _set(kinds.number(1e-3, 1e9), 100.0)


@dataclass(frozen=True, kw_only=True)
class Registrations:
    """Where `sgreen serve` says which replicas there are; a heartbeat ends after `stale_s`."""

    dir: Path | None = _set(kinds.path(), None)
    stale_s: float = _time(60.0)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site; `supply_low_w` stands in for telemetry that is older than `supply_stale_s`.

    `ceiling_file` is written by the router, for the governors of the site's replicas.
    """

    name: str = _set(_NAME)
    rtt_ms: float = _set(kinds.number(0.0, 1e5), 0.0)
    gpus: int | None = _set(kinds.whole(0, 10**6), None)
    supply_file: Path | None = _set(kinds.path(), None)
    supply_url: str | None = _set(_LINK, None)
    supply_stale_s: float = _time(120.0)
    supply_low_w: float | None = _set(kinds.number(0.0, 1e12), None)
    price_file: Path | None = _set(kinds.path(), None)
    ceiling_file: Path | None = _set(kinds.path(), None)


@dataclass(frozen=True, kw_only=True)
class StaticReplica:
    """A replica that does not register itself; `key_file` holds what it wants as a bearer token."""

    url: str = _set(_URL)
    model: str = _set(_MODEL)
    site: str = _set(_NAME, "local")
    key_file: Path | None = _set(kinds.path(), None)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A model's own rules; `resume`: a stream whose replica dies goes on at another one."""

    name: str = _set(_MODEL)
    sites: tuple[str, ...] | None = _some()
    resume: bool = _set(kinds.flag(), False)


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """Who may come in, with one of the keys in `key_file` (a line each), and what it may use."""

    name: str = _set(_NAME)
    key_file: Path = _set(kinds.path())
    models: tuple[str, ...] | None = _some()
    sites: tuple[str, ...] | None = _some()
    running: int | None = _set(kinds.whole(1), None)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of it; `keys` are the files' contents, read with the configuration."""

    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    breaker: Breaking = field(default_factory=Breaking)
    health: Checks = field(default_factory=Checks)
    policy: RoutePolicy = field(default_factory=RoutePolicy)
    registrations: Registrations = field(default_factory=Registrations)
    site: tuple[Site, ...] = ()
    replica: tuple[StaticReplica, ...] = ()
    model: tuple[Route, ...] = ()
    tenant: tuple[Tenant, ...] = ()
    keys: dict[Path, tuple[str, ...]] = field(default_factory=dict)
