# SPDX-License-Identifier: Apache-2.0
"""Decisions about plain jobs, made ahead, for a courier that reads a file instead of asking."""

from datetime import timedelta

from slurm_green.config.settings import Config
from slurm_green.controller.rules import Rules
from slurm_green.hook.decide import decide
from slurm_green.hook.published import Published, Row
from slurm_green.hook.record import kept_start
from slurm_green.hook.request import Request
from slurm_green.hook.view import PartitionView, View

__all__ = ["published_of"]

_LENGTHS_S = tuple(hours * 3600 for hours in (1, 2, 4, 8, 12, 24, 48))


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
