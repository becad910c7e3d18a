# SPDX-License-Identifier: Apache-2.0
"""The published file: what the courier in slurmctld may know without asking anybody.

Its header says whose changes pass and where the record goes; its rows are decisions about plain
jobs, made here in Python, for sites that choose `mode = "published"`. It is data, never code, and
replaced in one step, so that a reader sees the old file or the new one.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from profiling.whole import whole_file
from slurm_green.errors import SlurmGreenError
from slurm_green.hook.wire import percent_encode

__all__ = ["Published", "PublishedError", "Row", "write_published"]

_MAGIC = "sgreen-hook 1"
_END = "end"
_FIELDS = ("admin_comment", "comment", "extra")
# The courier reads no more than this.
_SIZE_LIMIT = 65536


class PublishedError(SlurmGreenError):
    """The published file cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A decision for plain jobs of a partition up to this size and time limit; first fit wins."""

    partition: str
    max_gpus: int
    max_length_s: int
    hold_s: int
    latest_in_s: int
    start_utc: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All of the file. `valid_until_utc` bounds the rows only; the header stays in force."""

    published_utc: datetime
    valid_until_utc: datetime
    slurm_uid: int
    user_may_pull: bool = True
    record_field: str = "admin_comment"
    comment_prefix: str = "green:"
    excluded_users: tuple[str, ...] = ()
    excluded_accounts: tuple[str, ...] = ()
    excluded_qos: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()

    def __str__(self) -> str:
        """The file's text."""
        if self.record_field not in _FIELDS:
            raise PublishedError(
                f"record field '{self.record_field}' is not one of {', '.join(_FIELDS)}"
            )
        lines = [
            _MAGIC,
            f"published\t{_epoch(self.published_utc)}",
            f"valid_until\t{_epoch(self.valid_until_utc)}",
            f"slurm_uid\t{self.slurm_uid}",
            f"user_may_pull\t{int(self.user_may_pull)}",
            f"record_field\t{self.record_field}",
            f"comment_prefix\t{_enc(self.comment_prefix)}",
        ]
        for kind, names in (
            ("user", self.excluded_users),
            ("account", self.excluded_accounts),
            ("qos", self.excluded_qos),
        ):
            lines += [f"exclude\t{kind}\t{_enc(name)}" for name in names]
        lines += [
            f"row\t{_enc(row.partition)}\t{row.max_gpus}\t{row.max_length_s}\t{row.hold_s}"
            f"\t{row.latest_in_s}\t{_epoch(row.start_utc)}\t{_enc(row.message)}"
            for row in self.rows
        ]
        return "\n".join([*lines, _END, ""])


def write_published(path: Path, published: Published) -> None:
    """Replace the file in one step; PublishedError when the place cannot be written."""
    text = str(published).encode("ascii")
    if len(text) > _SIZE_LIMIT:
        raise PublishedError(
            f"{path}: more than the {_SIZE_LIMIT} bytes that the courier reads; publish fewer rows"
        )
    try:
        # slurmctld may run as another user; nothing in here is secret.
        with whole_file(path, binary=True) as file:
            file.write(text)
    except OSError as error:
        raise PublishedError(f"{path}: cannot be written: {error.strerror}") from error


def _enc(text: str) -> str:
    return percent_encode(text.encode())


def _epoch(when: datetime) -> int:
    return int(when.timestamp())
