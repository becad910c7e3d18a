# SPDX-License-Identifier: Apache-2.0
"""`balanced`: no herds, no detours, sessions that stay."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serving.router.balance import Balanced
from serving.router.policy.protocol import Moment, ReplicaView, RequestView, SiteView


def moment(running: list[int], sites: int = 1) -> Moment:
    views = [ReplicaView(site=at % sites, running=one) for at, one in enumerate(running)]
    return Moment(0.0, [SiteView(f"s{at}", 0.0, 8) for at in range(sites)], views)


def test_four_routers_that_see_old_loads_do_not_herd() -> None:
    """Each sees the others' requests only every 50 of its own."""
    routers = [Balanced(seed) for seed in range(4)]
    views = [moment([0] * 8) for _ in routers]
    real = [0] * 8
    own = [[0] * 8 for _ in routers]
    worst = 0
    for step in range(2000):
        if step % 50 == 0:
            for view in views:
                for place, one in enumerate(view.replicas):
                    one.running = real[place]
        for at, router in enumerate(routers):
            chosen = router.route(RequestView(prompt_tokens=10), views[at])
            assert chosen is not None
            views[at].replicas[chosen].running += 1
            real[chosen] += 1
            own[at][chosen] += 1
        if step >= 10:  # each replica ends a request now and then: the longest queue first
            for place in range(8):
                if real[place] and (step + place) % 2 == 0:
                    real[place] -= 1
        worst = max(worst, max(real) - min(real))
    mean = sum(real) / 8
    assert worst < 0.5 * mean + 60
    for counts in own:
        assert max(counts) < 1.5 * sum(counts) / 8


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 50)), min_size=1, max_size=12),
    st.sets(st.integers(0, 2)),
    st.sets(st.integers(0, 11)),
    st.none() | st.integers(0, 2**64 - 1),
)
def test_only_those_that_may_serve_are_chosen_and_always_one_if_there_is_any(
    rows: list[tuple[bool, int]], sites: set[int], tried: set[int], session: int | None
) -> None:
    now = moment([one for _, one in rows], 3)
    for view, (ready, _) in zip(now.replicas, rows, strict=True):
        view.ready = ready
    policy = Balanced(1)
    policy.members([f"u{at}" for at in range(len(rows))])
    request = RequestView(
        prompt_tokens=1, sites=frozenset(sites), tried=frozenset(tried), session=session
    )
    able = {
        at
        for at, one in enumerate(now.replicas)
        if one.ready and one.site in sites and at not in tried
    }
    chosen = policy.route(request, now)
    assert chosen in able if able else chosen is None


def test_sessions_stay_also_when_another_replica_leaves_and_leave_a_busy_one() -> None:
    names = [f"http://r{at}:80" for at in range(6)]
    policy, now = Balanced(1), moment([0] * 6)
    policy.members(names)

    def homes(at_most: Moment, known: list[str]) -> dict[int, str]:
        policy.members(known)
        found = {}
        for session in range(300):
            mixed = session * 0x9E3779B97F4A7C15 % 2**64
            chosen = policy.route(RequestView(prompt_tokens=1, session=mixed), at_most)
            assert chosen is not None
            found[session] = known[chosen]
        return found

    before = homes(now, names)
    assert max(Counter(before.values()).values()) < 2 * 300 / 6
    after = homes(moment([0] * 5), names[1:])
    moved = [one for one, home in before.items() if after[one] != home]
    assert {before[one] for one in moved} == {names[0]}
    busy = moment([0, 40, 0, 0, 0, 0])
    assert names[1] not in homes(busy, names).values()


def test_near_sites_come_first_until_they_are_busy() -> None:
    now = moment([0, 0], 2)
    now.sites[1].rtt_s = 0.1
    policy = Balanced(1)
    assert {policy.route(RequestView(prompt_tokens=1), now) for _ in range(20)} == {0}
    now.replicas[0].running = 30
    assert {policy.route(RequestView(prompt_tokens=1), now) for _ in range(20)} == {1}
