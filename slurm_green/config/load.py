# SPDX-License-Identifier: Apache-2.0
"""Reads the site's configuration file, or says exactly what is wrong with it and where.

No file at the usual place is no error: every setting then has its default, which defers nothing.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from slurm_green.config.policy import Overrides, PolicySection
from slurm_green.config.settings import Config
from slurm_green.config.signal import SignalSection
from slurm_green.config.tree import NAMED, SECTIONS, Section
from slurm_green.errors import ConfigError

__all__ = ["DEFAULT_PATH", "VARIABLE", "config_path", "load", "loads"]

DEFAULT_PATH = Path("/etc/slurm-green/slurm-green.toml")
VARIABLE = "SLURM_GREEN_CONF"


def config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration file is, whether it exists or not."""
    return Path(environ.get(VARIABLE) or DEFAULT_PATH)


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration; a file that somebody named must exist, the usual one need not."""
    named = path is not None or bool(environ.get(VARIABLE))
    where = path or config_path(environ)
    try:
        text = where.read_bytes().decode().removeprefix("\ufeff")  # some editors begin with it
    except FileNotFoundError as error:
        if named:
            raise ConfigError(
                f"{where}: no such file; {VARIABLE} or --config names it. "
                "`sgreen config example` prints one to start from"
            ) from error
        return Config()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror}") from error
    return loads(text, where)


def loads(text: str, source: Path | None = None) -> Config:
    """The configuration in a text; `source` names it in errors."""
    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOML's own, or a number of thousands of digits
        raise ConfigError(f"{source or 'configuration'}: not TOML: {error}") from error
    return _Reader(document, source, _lines(text)).config()


class _Reader:
    """One pass over one parsed file."""

    def __init__(
        self, document: Mapping[str, Any], source: Path | None, lines: Mapping[str, int]
    ) -> None:
        self.document = document
        self.source = source
        self.lines = lines
        self.given: dict[str, int | None] = {}

    def config(self) -> Config:
        """Everything read and checked."""
        plain = [section for section in SECTIONS if not section.named]
        top = {section.table.split(".")[0] for section in SECTIONS}
        for key in self.document:
            if key not in top:
                self._unknown(key, key, "section", top)
        built = {section.table: self._section(section) for section in plain}
        signal = SignalSection(**_values(built["signal"], "signal"), csv=built["signal.csv"])
        named = {table: self._named(variants) for table, variants in NAMED.items()}
        parts = {table: value for table, value in built.items() if "." not in table}
        config = Config(**parts | {"signal": signal} | named, source=self.source, given=self.given)
        self._check_delays(config)
        self._check_gpu_types(config)
        self._check_providers(config)
        return config

    def _section(self, section: Section) -> Any:
        table: Any = self.document
        for part in section.table.split("."):
            table = table.get(part, {}) if isinstance(table, dict) else table
        return self._table(section, section.table, table)

    def _named(self, variants: Mapping[str, Section]) -> dict[str, Any]:
        section = next(iter(variants.values()))
        tables = self.document.get(section.table, {})
        if not isinstance(tables, dict):
            self._fail(section.table, f"is not a table; write [{section.table}.NAME]")
        found = {}
        for name, table in tables.items():
            title = f"{section.table}.{name}"
            if not isinstance(table, dict):
                self._fail(
                    title,
                    f"stands outside a {section.table}; write [{section.table}.NAME] above it",
                )
            found[name] = self._variant(variants, title, table)
        return found

    def _variant(self, variants: Mapping[str, Section], title: str, table: dict[str, Any]) -> Any:
        if "" in variants:
            return self._table(variants[""], title, table)
        name = f"{title}.type"
        variant = table.get("type")
        if variant is None:
            self._fail(title, f"has no type; it is one of: {', '.join(variants)}")
        if not isinstance(variant, str) or variant not in variants:
            self._fail(name, f"= {_shown(variant)} is not known; one of: {', '.join(variants)}")
        self.given[name] = self.lines.get(name)
        rest = {key: value for key, value in table.items() if key != "type"}
        return self._table(variants[variant], title, rest)

    def _table(self, section: Section, title: str, table: Any) -> Any:
        if not isinstance(table, dict):
            self._fail(title, f"is not a table; write [{title}]")
        known = {setting.key: setting for setting in section.settings}
        below = {
            other.table.rpartition(".")[2]
            for other in SECTIONS
            if other.table.startswith(f"{section.table}.")
        }
        values = {}
        for key, value in table.items():
            if key in below and not section.named:
                continue
            name = f"{title}.{key}"
            if key not in known:
                self._unknown(name, key, f"key in [{title}]", {*known, *below})
            try:
                values[known[key].attribute] = known[key].kind.read(value)
            except ValueError as error:
                self._fail(name, f"= {_shown(value)} {error}; allowed: {known[key].kind.allowed}")
            self.given[name] = self.lines.get(name)
        return section.type(**values)

    def _check_delays(self, config: Config) -> None:
        """A default above the maximum set beside it is a slip, not a wish."""
        pairs: list[tuple[str, PolicySection | Overrides]] = [("policy", config.policy)]
        pairs += [(f"partition.{name}", one) for name, one in config.partition.items()]
        pairs += [(f"qos.{name}", one) for name, one in config.qos.items()]
        for title, one in pairs:
            default_s, max_s = one.default_delay_s, one.max_delay_s
            if default_s is not None and max_s is not None and default_s > max_s:
                self._fail(
                    f"{title}.default_delay",
                    f"is longer than max_delay of [{title}]; lower it or raise max_delay",
                )

    def _check_gpu_types(self, config: Config) -> None:
        """A partition's GPU type must be one whose watts are known."""
        for name, one in config.partition.items():
            if one.gpu_type is not None and one.gpu_type.lower() not in config.power.gpu_types:
                known = ", ".join(sorted(config.power.gpu_types))
                self._fail(
                    f"partition.{name}.gpu_type",
                    f"= {one.gpu_type!r} is not in power.gpu_types; known: {known}",
                )

    def _check_providers(self, config: Config) -> None:
        """A chain may only name providers that have a table; their files are named after them."""
        for name in config.provider:
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
                self._fail(
                    f"provider.{name}", "is no name for a provider: letters, digits, - and _ only"
                )
        signal = config.signal
        for key in ("carbon", "price", "renewable", "base_power"):
            for name in getattr(signal, key):
                if name not in config.provider:
                    known = ", ".join(config.provider) or "none yet"
                    self._fail(
                        f"signal.{key}",
                        f"names {name!r}, but there is no [provider.{name}]; there are: {known}",
                    )

    def _unknown(self, name: str, key: str, what: str, known: Iterable[str]) -> NoReturn:
        close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
        self._fail(name, f"is an unknown {what}; {hint}")

    def _fail(self, name: str, what: str) -> NoReturn:
        line = self.lines.get(name)
        where = f"{self.source or 'configuration'}{f':{line}' if line else ''}"
        raise ConfigError(f"{where}: {name} {what}")


def _values(section: Any, table: str) -> dict[str, Any]:
    """The settings of a section that is to be built again with its sub-sections."""
    settings = next(one for one in SECTIONS if one.table == table).settings
    return {one.attribute: getattr(section, one.attribute) for one in settings}


def _shown(value: object) -> str:
    """A value in an error message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")


def _lines(text: str) -> dict[str, int]:
    """Line of each key and table header: tomllib does not tell, so this reads headers itself.

    Only for messages: what it misses (dotted keys, keys inside inline tables) has no line there.
    """
    found: dict[str, int] = {}
    title = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            title = re.sub(r"[\"'\s]", "", header[1])
            found.setdefault(title, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = assignment[1].strip("\"'")
            found.setdefault(f"{title}.{key}" if title else key, number)
    return found
