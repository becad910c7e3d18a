# SPDX-License-Identifier: Apache-2.0
"""What the journal holds of one move: how far it is and what must be known to go on. Pure.

    signal -> stop -> list -> copy [-> fetch] -> submit -> verify -> place -> release -> start
           -> cancel -> clean -> done
    any step before a release was tried -> back -> sweep -> stayed (runs at the source again)
                                       \\--------> sweep -> ended  (it finished, or its user
                                                                   cancelled it)

`fetch` is for a transfer through an object store. `submit` and `cancel` fall away in a federation,
where the job keeps its id.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from slurm_green.errors import BadInputError

__all__ = ["ABORTABLE", "FINAL", "Limits", "MoveRecord", "Order", "Step", "Way"]


class Way(StrEnum):
    """How a job gets to the other cluster."""

    RESUBMIT = "resubmit"  # independent clusters: a new job there
    FEDERATION = "federation"  # one slurmdbd: the same job there


class Step(StrEnum):
    """What is to be done next; the last three say how a move ended."""

    SIGNAL = "signal"
    STOP = "stop"
    LIST = "list"
    COPY = "copy"
    FETCH = "fetch"
    SUBMIT = "submit"
    VERIFY = "verify"
    PLACE = "place"
    RELEASE = "release"
    START = "start"
    CANCEL = "cancel"
    CLEAN = "clean"
    BACK = "back"
    SWEEP = "sweep"
    DONE = "done"
    STAYED = "stayed"
    ENDED = "ended"


FINAL = frozenset({Step.DONE, Step.STAYED, Step.ENDED})
# From `release` on only as long as no release was tried.
ABORTABLE = frozenset(Step) - FINAL - {Step.START, Step.CANCEL, Step.CLEAN, Step.BACK, Step.SWEEP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long steps may take, in s, and the link: what it promises and what we may use of it."""

    signal_s: float = 600.0
    again_s: float = 15.0
    stop_s: float = 120.0
    copy_s: float = 3600.0
    other_s: float = 300.0
    start_s: float = 1800.0
    settle_s: float = 10.0
    """A slurmctld that is killed may forget what it did so shortly before: twice its five."""
    lease_s: float = 7200.0
    """Between independent clusters a stopped job starts by itself here, so long after the last
    sign of life; two thirds of it are longer than reading a checkpoint takes."""
    copies: int = 3
    kib_per_s: int = 0
    """0 is as fast as it goes."""
    delta: bool = True
    """Whether rsync looks for unchanged parts in an older checkpoint and in what a transfer left:
    on a slow link that takes no longer than to send them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to submit the job again: sbatch's options, the script and its arguments."""

    options: tuple[str, ...]
    comment: str
    script: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRecord:
    """One move. Directories are those of the checkpoint, absolute, as each site sees them.

    Times are of the clock of this process's machine: the clocks of the sites are never compared.
    """

    token: str
    way: Way
    job_id: int
    user: str
    source: str
    destination: str
    origin: str = ""
    """In a federation the cluster that keeps the job's record."""
    reason: str = ""
    """Why the job is moved."""
    directory: str
    target: str
    store: str = ""
    """The URL of an object store that the checkpoint goes through; "" where rsync carries it."""
    earlier: tuple[str, ...] = ()
    """Tokens of the moves of this job from there that this journal knows as ended."""
    signal: str | None
    order: Order | None
    limits: Limits = field(default_factory=Limits)
    step: Step = Step.SIGNAL
    since_s: float
    began_s: float
    until_s: float | None = None
    """Past this moment the move is given up, as long as it can be."""
    window_end_s: float | None = None
    """When the window closes for which the job moves."""
    before: str = ""
    listing: str = ""
    signals_s: tuple[float, ...] = ()
    held: bool = False
    stopped_s: float | None = None
    parked_s: float | None = None
    freed_s: float | None = None
    """When the job of a move that was given up was released here."""
    manifest: str = ""
    bytes: int | None = None
    copies: int = 0
    bad_copies: int = 0
    copying_since_s: float | None = None
    new_job: int | None = None
    free_there_s: float | None = None
    """When its copy was first seen to wait there without being held."""
    waited_s: float | None = None
    """When its copy was last seen to wait there for its first start, or to be started; in steps."""
    noted_s: float | None = None
    """When its copy was seen to run there, and the cluster asked to write that down."""
    noted_start: str = ""
    """Which start of it that was."""
    lasted: bool = False
    """Whether it was seen to go on running there."""
    release_tried: bool = False
    taking_back: bool = False
    trouble: str = ""
    """What a site last said at this step, when it did not do what it was asked for."""
    why: str = ""
    outcome: Step | None = None
    history: tuple[tuple[str, float], ...] = ()

    @property
    def ran(self) -> bool:
        """Whether the job ran when the move began."""
        return bool(self.signals_s)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.step in FINAL

    @property
    def abortable(self) -> bool:
        """Whether the job can still go on at the source, and nowhere else."""
        return self.step in ABORTABLE and not self.release_tried

    def left_s(self, step: Step) -> float | None:
        """When that step was done, if it was."""
        return dict(self.history).get(step.value)

    def at(self, step: Step, now_s: float, **changes: Any) -> "MoveRecord":
        """The same move one step further."""
        history = (*self.history, (self.step.value, now_s))
        return replace(
            self, **{"trouble": "", **changes}, step=step, since_s=now_s, history=history
        )

    def entered(self, now_s: float) -> "MoveRecord":
        """The same move, its step begun only now: the one before may have read for long."""
        done, _ = self.history[-1]
        return replace(self, since_s=now_s, history=(*self.history[:-1], (done, now_s)))

    def back(self, why: str, now_s: float) -> "MoveRecord":
        """The move given up: the job goes on where it was."""
        return self.at(Step.BACK, now_s, why=why, outcome=Step.STAYED)

    def left(self, why: str, now_s: float) -> "MoveRecord":
        """The job is somebody else's to stop and to release: it was not touched, and is not."""
        return self.at(Step.SWEEP, now_s, why=why, outcome=Step.STAYED)

    def ended(self, why: str, now_s: float) -> "MoveRecord":
        """There is nothing left to move."""
        return self.at(Step.SWEEP, now_s, why=why, outcome=Step.ENDED)

    def to_json(self) -> dict[str, Any]:
        """As the journal holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "MoveRecord":
        """Back from the journal; raises BadInputError for what is no record."""
        try:
            given = _known(cls, values)
            order = given["order"]
            outcome = given["outcome"]
            return cls(
                **{
                    **given,
                    "way": Way(given["way"]),
                    "step": Step(given["step"]),
                    "outcome": None if outcome is None else Step(outcome),
                    "limits": Limits(**_known(Limits, given["limits"])),
                    "order": None
                    if order is None
                    else Order(
                        options=tuple(order["options"]),
                        comment=order["comment"],
                        script=order["script"],
                        arguments=tuple(order["arguments"]),
                    ),
                    "earlier": tuple(given.get("earlier", ())),
                    "signals_s": tuple(given["signals_s"]),
                    "history": tuple((str(step), float(at)) for step, at in given["history"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInputError(f"no record of a move: {error}") from error


def _known(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of it: a newer one may have written more."""
    names = {one.name for one in fields(kind)}
    return {key: value for key, value in values.items() if key in names}
