# SPDX-License-Identifier: Apache-2.0
"""What accounting does not say and a replay must assume, and the sentences that tell so. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from slurm_green.replay.classes import Speed, Watts
from slurm_green.slurm.times import format_duration
from slurm_green.words import clean

__all__ = ["Assumed", "Notes"]

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What accounting does not say. `slack_s` is how much longer than its limit a job may take.

    Only jobs that became eligible from `since_s` to before `until_s` (POSIX) are replayed.
    `given_types` are the GPU types, lower case, whose watts were given for this replay.
    """

    slack_s: float = _DAY_S
    slack_by_partition_s: Mapping[str, float] = field(default_factory=dict)
    watts: Watts = field(default_factory=Watts)
    given_types: frozenset[str] = frozenset()
    speeds: tuple[Speed, ...] = ()
    zone: tzinfo = UTC
    since_s: float | None = None
    until_s: float | None = None
    comment_prefix: str = "green:"


class Notes:
    """How often each assumption was needed."""

    def __init__(self, assumed: Assumed) -> None:
        self.assumed = assumed
        self.count: Counter[str] = Counter()

    def sentences(
        self, on_gpus: bool, no_limit_s: float, types: set[str], partitions: set[str]
    ) -> tuple[str, ...]:
        """One for each assumption that any job rests on, and for each that none does."""
        assumed, watts, count = self.assumed, self.assumed.watts, self.count
        slack = f"Every job may end {format_duration(assumed.slack_s)} after its earliest start"
        by = ", ".join(
            f"{clean(name)} {format_duration(slack_s)}"
            for name, slack_s in assumed.slack_by_partition_s.items()
        )
        power = f"A core draws {watts.cpu_core_w:g} W while a job has it, PUE {watts.pue:g}."
        if on_gpus:
            named = [f"{one} {watts.by_type[one]:g} W" for one in sorted(types & {*watts.by_type})]
            if types - {*watts.by_type}:
                named.append(f"{watts.gpu_w:g} W where the type is not known")
            power = (
                f"A busy GPU draws {', '.join(named)}, an idle one {watts.gpu_idle_w:g} W, both"
                f" with its share of the node. {power}"
            )
        kinds = "GPU type and number of GPUs" if on_gpus else "number of cores"
        found = [
            f"{slack} and its time limit{f' ({by})' if by else ''}.",
            f"{power} Assumed, not measured.",
            f"Jobs of equal {kinds} are one class; each runs as wide as it did.",
            "A job could not start before it became eligible, also where that was another job's"
            " doing (dependencies, held jobs).",
        ]
        found += _unused("partition", assumed.slack_by_partition_s, "slack", partitions)
        found += _unused("GPU type", assumed.given_types, "watts", types)
        if assumed.speeds:
            found.append("Every job on GPUs slows down at lower clocks as the profile's does.")
        for key, words in (
            ("user", "Jobs with the slack that their comment names (green:...)"),
            ("off", "Jobs without slack because their comment says green:off"),
            ("ours", "Jobs that we deferred; their earliest start is their submission"),
            (
                "no-limit",
                f"Jobs without a time limit; they are given {format_duration(no_limit_s)}",
            ),
            ("over", "Jobs that ran longer than their limit, which is raised to what they took"),
            ("no-eligible", "Jobs without an eligible time; they could start when submitted"),
            ("again", "Runs that ended in a requeue; each counts as a job of its own"),
            ("het", "Heterogeneous jobs; their parts run together, as one job"),
        ):
            if count[key]:
                found.append(f"{words}: {count[key]:,}.")
        return tuple(found)


def _unused(noun: str, given: Iterable[str], what: str, known: set[str]) -> Iterator[str]:
    """A sentence for each name that no job has: mistyped, or not of this time."""
    there = ", ".join(map(clean, sorted(known - {""}))) or f"none, as the export names no {noun}"
    for name in sorted(set(given) - known):
        yield f"No job is of {noun} {clean(name)}, whose {what} changed nothing; there are {there}."
