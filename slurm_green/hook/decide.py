# SPDX-License-Identifier: Apache-2.0
"""The decision about one job: defer it, until when at the latest, or let it pass and why. Pure.

The submit hook, the controller's cycle and shadow mode all call `decide`; none decides by itself.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from slurm_green.hook.extent import Extent
from slurm_green.hook.options import Options, parse_options
from slurm_green.hook.policy import Policy
from slurm_green.hook.promise import Promise, promise_for
from slurm_green.hook.request import Request
from slurm_green.hook.respond import respond
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.start import Start, choose_start
from slurm_green.words import grams

__all__ = ["Decision", "decide", "exclusion", "plan_start", "policy_name"]

POLICY_NAME = "lowest-window"
PRICES_NAME = "prices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do with one job. `reason` is a stable code, `sentence` is for the user.

    Times and grams are None where a job passes before they are known.
    """

    defer: bool
    reason: str
    sentence: str = ""
    partition: str = ""
    start_utc: datetime | None = None
    latest_utc: datetime | None = None
    binding: str = ""
    extent: Extent | None = None
    margin_s: float | None = None
    power_w: float | None = None
    save_g: float | None = None
    late_chance: float | None = None
    policy: str = POLICY_NAME


def _pass(reason: str, sentence: str = "") -> Decision:
    return Decision(defer=False, reason=reason, sentence=sentence)


def decide(
    request: Request,
    policy: Policy,
    view: View,
    now_utc: datetime,
    *,
    no_later_utc: datetime | None = None,
) -> Decision:
    """Decide about one job with what is known now; never raises for anything a user wrote.

    `no_later_utc` bounds the latest start where somebody was promised one before.
    """
    # Relative times are the submission's: "08:00" must not become tomorrow's between two looks.
    options = parse_options(
        request.comment, prefix=view.comment_prefix, now_utc=request.submit_utc, zone=view.zone
    )
    refused = exclusion(request, options, policy, view)
    if refused is not None:
        return refused
    partition = view.partition(request.partition)
    if partition is None:
        return _pass("unknown-partition")
    extent = partition.extent(request, options)
    if extent is None:
        return _told(options, "no-time-limit", "without a time limit it cannot wait: give --time")
    margin_s = partition.margin_s(request, policy)
    promise = promise_for(request, options, policy, run_s=extent.run_s, margin_s=margin_s)
    if promise is None:
        return _pass("no-slack")
    if extent.limit_s < policy.min_length_s and not promise.marked:
        return _pass("short")
    if no_later_utc is not None and no_later_utc < promise.latest_utc:
        promise = replace(promise, latest_utc=no_later_utc)
    if promise.latest_utc <= now_utc:
        return _told(options, "no-slack-left", "its deadline leaves no time to wait")
    if view.signal is None:
        return _told(options, "no-signal", "there is no carbon forecast now")
    placed = _place(request, extent, promise, policy, view, partition, now_utc)
    return placed if placed.defer else _told(options, placed.reason, placed.sentence)


def _told(options: Options, reason: str, why: str) -> Decision:
    """A pass that is explained to whoever asked to wait; nobody else needs a word."""
    sentence = f"starts as soon as it can: {why}" if options.marked else ""
    return _pass(reason, sentence)


def exclusion(request: Request, options: Options, policy: Policy, view: View) -> Decision | None:
    """Why a job is none of our business, or None when it may be deferred."""
    if options.off:
        return _pass("opted-out")
    if view.off:
        return _pass("switched-off")
    if options.errors:
        return _pass("bad-options", f"green options ignored: {options.errors[0]}")
    for reason, unwanted in (
        ("interactive", not request.batch),
        ("heterogeneous", request.heterogeneous),
        ("held", request.held),
        ("restarted", request.restarted),
        ("begin-set", request.begin_set),
        ("reservation", bool(request.reservation)),
        ("dependent", request.dependent),
        ("excluded-user", request.user in policy.exclude_users),
        ("excluded-account", request.account in policy.exclude_accounts),
        ("excluded-qos", bool(request.qos) and request.qos in policy.exclude_qos),
        ("excluded-name", _named(request.name, policy.exclude_names)),
    ):
        if unwanted:
            return _pass(reason)
    return None


def _place(
    request: Request,
    extent: Extent,
    promise: Promise,
    policy: Policy,
    view: View,
    partition: PartitionView,
    now_utc: datetime,
) -> Decision:
    now_s = now_utc.timestamp()
    could_start = partition.queue.earliest_fit(extent.need, now_s, extent.run_s)
    if could_start is None or could_start > now_s + view.prompt_s:
        # It waits for other jobs anyway; holding it back as well would cost it its turn.
        return _pass("cluster-full", "other jobs are before it")
    latest_s = partition.room.latest_fit(
        extent.need, now_s, promise.latest_utc.timestamp(), extent.run_s
    )
    if latest_s is None or int(latest_s) <= now_s:
        return _pass("no-room", "there is no room for it later")
    power_w = view.power_w(request, extent)
    start = plan_start(view, partition, extent, power_w, earliest_s=now_s, latest_s=latest_s)
    if start is None:
        return _pass("signal-too-short", "the carbon forecast ends too soon")
    least_saving_g = policy.min_saving_percent / 100 * start.earliest_carbon_g
    if int(start.start_s) <= now_s or start.saved_g <= least_saving_g:
        return _pass("clean-now", "power is not cleaner within its time")
    margin_s = partition.margin_s(request, policy)
    late_chance = None
    if promise.binding == "deadline":
        late_chance = partition.late_chance(request, margin_s)
    latest = datetime.fromtimestamp(int(latest_s), UTC)
    return Decision(
        defer=True,
        reason="deferred",
        partition=partition.name,
        sentence=_sentence(latest, start, view, late_chance),
        start_utc=datetime.fromtimestamp(min(int(start.start_s), int(latest_s)), UTC),
        latest_utc=latest,
        binding=promise.binding,
        extent=extent,
        margin_s=margin_s,
        power_w=power_w,
        save_g=start.saved_g,
        late_chance=late_chance,
        policy=policy_name(view, partition),
    )


def plan_start(
    view: View,
    partition: PartitionView,
    extent: Extent,
    power_w: float,
    *,
    earliest_s: float,
    latest_s: float,
    earliest_needs_room: bool = False,
) -> Start | None:
    """The start in [earliest, latest] that the site's budget has room for.

    The best response to the prices of a fresh plan where that is to wait; else the cleanest. Prices
    at which many should wait leave each of them indifferent, so one that answers "now" is no reason
    to let it go: that is for the next plan to say, which sees all of them.
    """
    if view.signal is None:
        return None
    rooms = [(partition.planned, extent.need), *view.site_rooms(power_w)]
    found = respond(view, partition, extent, power_w, earliest_s=earliest_s, latest_s=latest_s)
    if found is not None and found.start_s > earliest_s and found.saved_g > 0:
        end_s = found.start_s + extent.expected_s
        if all(room.fits(need, found.start_s, end_s) for room, need in rooms):
            return found
    return choose_start(
        signal=view.signal,
        earliest_s=earliest_s,
        latest_s=latest_s,
        length_s=extent.expected_s,
        power_w=power_w,
        rooms=rooms,
        earliest_needs_room=earliest_needs_room,
    )


def policy_name(view: View, partition: PartitionView) -> str:
    """By what starts are chosen here and now, for records."""
    prices = view.prices.get(partition.name)
    fresh = prices is not None and view.taken_utc.timestamp() < prices.until_s
    return PRICES_NAME if fresh else POLICY_NAME


def _sentence(latest: datetime, start: Start, view: View, late_chance: float | None) -> str:
    percent = 100 * start.saved_g / start.earliest_carbon_g
    by = latest.astimezone(view.zone)
    risk = "" if late_chance is None else f" ({100 * late_chance:.0f}% chance to end late)"
    return (
        f"waits for cleaner power: becomes eligible by {by:%Y-%m-%d %H:%M:%S %Z}{risk}, "
        f"about {percent:.0f}% less CO2 ({grams(start.saved_g)}). "
        f"--comment={view.comment_prefix}off opts out."
    )


def _named(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)
