# SPDX-License-Identifier: Apache-2.0
"""The sections of the configuration file, by the name of their TOML table."""

from dataclasses import dataclass

from slurm_green.config.ledger import LedgerSection
from slurm_green.config.node import NodeSection, NodesSection, NvmlSection
from slurm_green.config.plan import PlanSection
from slurm_green.config.policy import Overrides, PartitionOverrides, PolicySection
from slurm_green.config.providers import PROVIDERS
from slurm_green.config.setting import Setting, settings_of
from slurm_green.config.settings import (
    Budget,
    Controller,
    General,
    Hook,
    Paths,
    Power,
    Priority,
)
from slurm_green.config.signal import CsvSignal, SignalSection

__all__ = ["NAMED", "SECTIONS", "Section"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One TOML table; a named one (`partition.NAME`) may occur once per name.

    A named table may have variants: its key `type` then says which settings it has.
    """

    table: str
    type: type
    named: bool = False
    variant: str = ""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The settings of the table."""
        return settings_of(self.type)

    @property
    def title(self) -> str:
        """The table's header without brackets, as people read it."""
        return f"{self.table}.{self.variant or 'NAME'}" if self.named else self.table

    @property
    def doc(self) -> str:
        """What the table is for."""
        return " ".join((self.type.__doc__ or "").split())


SECTIONS = (
    Section(table="general", type=General),
    Section(table="paths", type=Paths),
    Section(table="hook", type=Hook),
    Section(table="policy", type=PolicySection),
    Section(table="power", type=Power),
    Section(table="budget", type=Budget),
    Section(table="controller", type=Controller),
    Section(table="plan", type=PlanSection),
    Section(table="signal", type=SignalSection),
    Section(table="signal.csv", type=CsvSignal),
    *(
        Section(table="provider", type=settings, named=True, variant=variant)
        for variant, settings in PROVIDERS.items()
    ),
    Section(table="priority", type=Priority),
    Section(table="ledger", type=LedgerSection),
    Section(table="nodes", type=NodesSection),
    Section(table="node", type=NodeSection),
    Section(table="nvml", type=NvmlSection),
    Section(table="partition", type=PartitionOverrides, named=True),
    Section(table="qos", type=Overrides, named=True),
)
# Table -> its variants by the value of `type`; "" where it has none.
NAMED: dict[str, dict[str, Section]] = {}
for _section in SECTIONS:
    if _section.named:
        NAMED.setdefault(_section.table, {})[_section.variant] = _section
