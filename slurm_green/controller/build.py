# SPDX-License-Identifier: Apache-2.0
"""From the site's configuration to running parts: the only place that knows all of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from slurm_green.config.chains import CHAINS, signal_path
from slurm_green.config.settings import Config
from slurm_green.controller.books import Books
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.files import NodeFiles
from slurm_green.controller.nodes.notes import Notes
from slurm_green.controller.planning.desk import PlanDesk
from slurm_green.controller.planning.planner import Planner
from slurm_green.controller.rules import Rules
from slurm_green.controller.runner import Runner
from slurm_green.controller.source import Source
from slurm_green.errors import ConfigError
from slurm_green.hook.policy import Policy
from slurm_green.ledger.guard import Ledger
from slurm_green.signals.chain import Chain
from slurm_green.signals.csv_trace import CsvTrace
from slurm_green.signals.provider import Provider
from slurm_green.signals.quantity import BASE_POWER, RENEWABLE
from slurm_green.signals.signal_file import SignalFile
from slurm_green.slurm.select import client_from

__all__ = ["build_provider", "build_rules", "build_runner"]


def build_runner(
    config: Config, desk: Desk | None = None, *, woken: Callable[[], None] = lambda: None
) -> Runner:
    """A runner on the live Slurm and the configured signal; `desk` serves the nodes.

    `woken` is called, from another thread, when a plan is there.
    """
    rules = build_rules(config)
    backend = config.general.slurm_backend
    if desk is not None and backend == "auto":
        backend = "commands"  # pyslurm does not show --gpu-freq
    client = client_from(backend, extra=config.general.record_field == "extra")
    books = Books(
        Ledger(config.paths.ledger),
        config.power_model(),
        record_field=config.general.record_field,
        hold_s=config.hook.hold_s,
        keep_s=config.ledger.keep_s,
    )
    # Where the record is in `extra`, somebody else has AdminComment.
    noting = desk is not None and config.general.record_field == "admin_comment"
    return Runner(
        source=Source(
            client=client,
            provider=build_provider(config),
            own=_own(config) if config.plan.enabled else {},
            off_marker=config.paths.off,
            nodes=None if desk is None else NodeFiles(config.nodes).read,
            now=lambda: datetime.now(UTC),
        ),
        rules=rules,
        books=books,
        desk=desk,
        notes=Notes(client, books.energies_of) if noting else None,
        planner=_planner(config, woken),
        settings=config.digest(),
    )


def _own(config: Config) -> dict[str, Provider]:
    """Who reads the site's own supply and base power, where the site has providers of them."""
    return {
        quantity: SignalFile(
            path=signal_path(config, quantity),
            max_age_s=config.controller.stale_signal_s,
            horizon_s=config.signal.horizon_s,
            region=config.signal.region,
        )
        for quantity in (RENEWABLE.name, BASE_POWER.name)
        if getattr(config.signal, CHAINS[quantity])
    }


def _planner(config: Config, woken: Callable[[], None]) -> Planner | None:
    """What asks for plans, None where the site wants none."""
    plan = config.plan
    if not plan.enabled:
        return None
    desk = PlanDesk(
        # Three plans may fail before what was planned is too old.
        valid_s=3 * plan.interval_s + plan.time_limit_s,
        limit_s=plan.time_limit_s,
        woken=woken,
    )
    return Planner(desk=desk, interval_s=plan.interval_s, prices_out=plan.prices_out)


def build_rules(config: Config) -> Rules:
    """What a cycle decides by."""
    overrides = (*config.partition.values(), *config.qos.values())
    longest_s = max(
        config.policy.max_delay_s,
        *(one.max_delay_s for one in overrides if one.max_delay_s is not None),
        1.0,
    )

    # Asked several times per job and cycle; sites have few partitions and QOS.
    @lru_cache(maxsize=4096)
    def policy_for(partitions: str, qos: str) -> Policy:
        return config.policy_for(partitions, qos)

    return Rules(
        policy_for=policy_for,
        power=config.power_model(),
        hold_s=config.hook.hold_s,
        prompt_s=min(30.0, max(longest_s / 100, 1.0)),
        interval_s=config.controller.interval_s,
        horizon_s=2 * longest_s,
        record_field=config.general.record_field,
        comment_prefix=config.general.comment_prefix,
        zone=config.general.zone,
        releases_per_cycle=config.controller.releases_per_cycle,
        ramp_w_per_min=config.plan.ramp_w_per_min,
        pause=config.plan.pause and config.plan.enabled,
        pause_cost_s=config.plan.pause_cost_s,
        budget_gpus_percent=config.budget.gpus_percent,
        budget_w=config.budget.watts,
        keep_place=config.priority.keep_place,
        max_credit_s=config.priority.max_credit_s,
        stale_signal_s=config.controller.stale_signal_s,
        usual_over_s=3 * longest_s,
        usual_least_s=longest_s,
        reserve_deviations=config.budget.reserve_deviations,
    )


def build_provider(config: Config) -> Chain:
    """The providers the daemon reads, in order; none of them meets a network."""
    links: list[Provider] = []
    for name in config.signal.read:
        if name == "file":
            links.append(
                SignalFile(
                    path=config.paths.signal,
                    max_age_s=config.controller.stale_signal_s,
                    horizon_s=config.signal.horizon_s,
                    region=config.signal.region,
                )
            )
            continue
        csv = config.signal.csv
        if csv.path is None:
            raise ConfigError("signal.read names csv, but signal.csv.path is not set")
        links.append(
            CsvTrace(
                path=csv.path,
                anchor_utc=csv.anchor_utc,
                repeat=csv.repeat,
                time_scale=csv.time_scale,
                region=config.signal.region,
            )
        )
    return Chain(links)
