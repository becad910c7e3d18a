# SPDX-License-Identifier: Apache-2.0
"""One finding of `sgreen doctor`."""

from dataclasses import dataclass

__all__ = ["Check", "fail", "ok", "warn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was looked at, how it is (ok, warn or fail), what was seen, and what to do."""

    name: str
    status: str
    seen: str
    todo: str = ""


def ok(name: str, seen: str) -> Check:
    """As it should be."""
    return Check(name=name, status="ok", seen=seen)


def warn(name: str, seen: str, todo: str) -> Check:
    """Works, but not as well as it could, or cannot be told from here."""
    return Check(name=name, status="warn", seen=seen, todo=todo)


def fail(name: str, seen: str, todo: str) -> Check:
    """Jobs will not be deferred, or worse."""
    return Check(name=name, status="fail", seen=seen, todo=todo)
