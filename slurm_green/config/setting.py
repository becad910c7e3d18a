# SPDX-License-Identifier: Apache-2.0
"""A setting: its type, default, unit and words, kept with the field that holds its value."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from slurm_green.config.kinds import Kind, optional

__all__ = ["Setting", "setting", "settings_of", "unset"]

T = TypeVar("T")
_KEY = "slurm_green.setting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key of the configuration file."""

    key: str
    attribute: str
    kind: Kind[Any]
    default: Any
    unit: str
    doc: str


def setting(kind: Kind[T], default: T, doc: str, *, key: str = "", unit: str = "") -> T:
    """A dataclass field that is also a setting; `key` only where it differs from the field's name.

    Typed as its value, as `dataclasses.field` is, so that a field reads `name: int = setting(...)`.
    """
    metadata = {_KEY: (key, kind, default, unit, " ".join(doc.split()))}
    # A factory, because a table or another mutable default is refused as a plain one.
    return field(default_factory=lambda: default, metadata=metadata)


def unset(kind: Kind[Any], doc: str, *, key: str = "", unit: str = "") -> Any:
    """The same for a setting that has no value until somebody gives it one."""
    return setting(optional(kind), None, doc, key=key, unit=unit)


def settings_of(section: type) -> tuple[Setting, ...]:
    """All settings of a section, in the order they are written in."""
    found = []
    for one in fields(section):
        if _KEY in one.metadata:
            key, kind, default, unit, doc = one.metadata[_KEY]
            found.append(
                Setting(
                    key=key or one.name,
                    attribute=one.name,
                    kind=kind,
                    default=default,
                    unit=unit,
                    doc=doc,
                )
            )
    return tuple(found)
