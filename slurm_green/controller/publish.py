# SPDX-License-Identifier: Apache-2.0
"""The files of each cycle: one for the courier, one for everybody's commands.

The courier's holds decisions about plain jobs, made ahead, where it reads instead of asking.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from slurm_green.config.settings import Config
from slurm_green.controller.rules import Rules
from slurm_green.controller.runner import Report
from slurm_green.controller.status import write_status
from slurm_green.controller.users import slurm_uid
from slurm_green.errors import SlurmGreenError
from slurm_green.hook.decide import decide
from slurm_green.hook.published import Published, Row, write_published
from slurm_green.hook.record import kept_start
from slurm_green.hook.request import Request
from slurm_green.hook.view import PartitionView, View

__all__ = ["Publisher", "published_of"]

_LOG = logging.getLogger(__name__)
_LENGTHS_S = tuple(hours * 3600 for hours in (1, 2, 4, 8, 12, 24, 48))


class Publisher:
    """Writes both files, each whatever becomes of the other; `write` never stops a cycle.

    Each change, from written to failing, to another reason or back, is logged once.
    """

    def __init__(self, config: Config, rules: Rules) -> None:
        self._config = config
        self._rules = rules
        self._failing: dict[Path, str] = {}

    def write(self, report: Report) -> None:
        """What a cycle has to say."""
        paths = self._config.paths
        self._try(paths.published, lambda: self._write_published(paths.published, report))
        self._try(paths.status, lambda: write_status(paths.status, report.status))

    def _write_published(self, path: Path, report: Report) -> None:
        uid = slurm_uid(report.slurm_user)
        published = published_of(report.view, self._rules, self._config, slurm_uid=uid)
        write_published(path, published)

    def _try(self, path: Path, write: Callable[[], None]) -> None:
        try:
            write()
        except SlurmGreenError as error:
            said = str(error)
        except OSError as error:
            said = f"{path}: cannot be written: {error.strerror}"
        else:
            if self._failing.pop(path, None) is not None:
                _LOG.info("%s is written again", path)
            return
        if self._failing.get(path) != said:
            _LOG.warning("not published: %s", said)
        self._failing[path] = said


def published_of(view: View, rules: Rules, config: Config, *, slurm_uid: int) -> Published:
    """The file's content; rows only where the site asks for them (hook.publish_rows)."""
    now = view.taken_utc
    rows: list[Row] = []
    if config.hook.publish_rows and not view.off:
        for partition in view.partitions.values():
            if rules.policy_for(partition.name, "").mode == "enforce":
                rows += _rows(partition, view, rules)
    return Published(
        published_utc=now,
        valid_until_utc=now + timedelta(seconds=3 * rules.interval_s),
        slurm_uid=slurm_uid,
        user_may_pull=config.hook.user_may_pull,
        record_field=rules.record_field,
        comment_prefix=rules.comment_prefix,
        excluded_users=config.policy.exclude_users,
        excluded_accounts=config.policy.exclude_accounts,
        excluded_qos=config.policy.exclude_qos,
        rows=tuple(rows),
    )


def _rows(partition: PartitionView, view: View, rules: Rules) -> list[Row]:
    """One row per size and length, smallest first: the first that a job fits into is its own."""
    policy = rules.policy_for(partition.name, "")
    rows: list[Row] = []
    for gpus in _sizes(partition.gpus):
        for length_s in _LENGTHS_S:
            request = Request(
                submit_utc=view.taken_utc,
                partition=partition.name,
                gpus=gpus,
                cpus=max(gpus, 1),
                time_limit_s=length_s,
            )
            decision = decide(request, policy, view, view.taken_utc)
            if not (decision.defer and decision.start_utc and decision.latest_utc):
                continue
            latest_in_s = int((decision.latest_utc - view.taken_utc).total_seconds())
            # The courier takes no hold beyond the promise, and would log each job that asks.
            if latest_in_s >= int(rules.hold_s):
                rows.append(
                    Row(
                        partition=partition.name,
                        max_gpus=gpus,
                        max_length_s=length_s,
                        hold_s=int(rules.hold_s),
                        latest_in_s=latest_in_s,
                        start_utc=kept_start(decision.start_utc, decision.latest_utc),
                        message=decision.sentence,
                    )
                )
    return rows


def _sizes(most: int) -> list[int]:
    """1, 2, 4 ... GPUs up to the partition's; 0 for a partition without GPUs."""
    if most == 0:
        return [0]
    sizes = [1]
    while sizes[-1] * 2 <= most:
        sizes.append(sizes[-1] * 2)
    return sizes
