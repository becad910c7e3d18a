# SPDX-License-Identifier: Apache-2.0
"""Power: what a site has, what is assumed when nobody says, and what follows."""

import asyncio
import errno
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving.router.ceilings import Ceilings
from serving.router.group import Group
from serving.router.policy.protocol import Moment, Orders, RequestView, SiteOrder, SiteView
from serving.router.replica import Replica
from serving.router.settings import Breaking, Site
from serving.router.steer import Steer
from serving.router.supply import Fetcher, Supply
from serving.vllm.site import read_ceiling
from slurm_green.plan.outcome import Objective, Prices
from slurm_green.plan.price_file import PriceFile, write_prices


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


async def unasked(url: str) -> bytes:
    raise AssertionError(url)


def test_telemetry_ages_by_our_clock_and_its_own_age(tmp_path: Path) -> None:
    path, clock, view = tmp_path / "supply", Clock(), SiteView("a", 0.0, 8)
    supply = Supply(
        Site(name="a", supply_file=path, supply_low_w=70.0, supply_stale_s=60.0), clock, unasked
    )

    def told(text: str | None, after_s: float) -> float | None:
        if text is not None:
            path.write_text(text)
        clock.now_s += after_s
        asyncio.run(supply.read())
        supply.fill(view)
        return view.supply_w

    assert told(None, 0) == 70.0  # never said anything
    assert supply.fault is not None
    assert told('{"supply_w": 500, "draw_w": 300}', 1) == 500.0
    assert view.draw_w == 300.0
    assert told(None, 59) == 500.0
    assert told(None, 2) == 70.0
    assert (view.draw_w, supply.assumed) == (None, True)
    assert told('{"supply_w": 400, "age_s": 50}', 1) == 400.0
    assert told(None, 11) == 70.0
    assert told('{"supply_w": 300, "low_w": 200}', 1) == 300.0
    assert view.supply_low_w == 200.0
    for bad in (
        "{}", "[]", "x", '{"supply_w": -1}', '{"supply_w": true}', '{"supply_w": null}',
        '{"supply_w": 1, "outlook": 5}',
    ):  # fmt: skip
        assert told(bad, 1) == 300.0
        assert supply.fault is not None
    row = {"in_s": 300, "supply_w": 250, "low_w": 100}
    assert told(json.dumps({"supply_w": 310, "outlook": [row, {"in_s": 1}, 3]}), 1) == 310.0
    (step,) = view.outlook
    assert (step.start_s, step.low_w) == (clock.now_s + 300, 100.0)


def test_prices_are_those_of_now_and_why_there_are_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock, view = tmp_path / "prices.json", Clock(), SiteView("a", 0.0, 8)
    supply = Supply(Site(name="a", price_file=path), clock, unasked)

    def price(*mu: float, starts_s: float = 0.0) -> float | None:
        if mu:
            now = datetime.now(UTC)
            path.unlink(missing_ok=True)
            file = PriceFile(
                start_s=now.timestamp() + starts_s,
                step_s=3600.0,
                gpus=8,
                objective=Objective.PPC,
                prices=Prices(mu=np.asarray(mu), lam=np.zeros(2), nu=np.zeros(2)),
                made_utc=now,
            )
            write_prices(path, file)
        supply.fill(view)
        return view.mu_g_per_kwh

    def cannot(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    assert price() is None
    assert supply.price_fault == (
        f"site a: price_file: [Errno 2] No such file or directory: '{path}'"
    )
    assert price(300.0, 20.0, starts_s=-1.0) == 300.0
    assert supply.price_fault is None
    assert price(300.0, 20.0, starts_s=-3601.0) == 20.0
    path.chmod(0o600)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", cannot)
        assert price() is None
        assert "cannot be read: Too many open files" in str(supply.price_fault)
    assert price() == 20.0  # also where nobody wrote it anew
    for starts_s in (-7201.0, 60.0):
        assert price(300.0, 20.0, starts_s=starts_s) is None
        assert str(supply.price_fault).endswith("says nothing of now")
    path.write_text("{")
    for _ in range(2):
        assert price() is None
        assert "is no JSON" in str(supply.price_fault)


def test_addresses_are_asked_by_one_client_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[httpx.AsyncClient] = []
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(200 if len(asked) != 3 else 500, json={"supply_w": 500})

    class Client(httpx.AsyncClient):
        def __init__(self, timeout: float) -> None:
            super().__init__(timeout=timeout, transport=httpx.MockTransport(answer))
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", Client)

    async def run() -> None:
        fetcher = Fetcher()
        await fetcher.close()  # nobody asked it
        supplies = [
            Supply(Site(name=name, supply_url=f"http://{name}/"), Clock(), fetcher.get)
            for name in ("a", "b")
        ]
        faults = []
        for _ in range(2):
            for one in supplies:
                await one.read()
                faults.append(one.fault)
        assert faults == [None, None, "site a: supply: http://a/: answers 500", None]
        assert supplies[0].now() == (500.0, None)
        await fetcher.close()

    asyncio.run(run())
    assert asked == ["a", "b", "a", "b"]
    assert [one.is_closed for one in made] == [True]


def test_what_is_no_address_is_a_fault_of_its_site_alone() -> None:
    supply = Supply(Site(name="a", supply_url="http://h:port/?key=x"), Clock(), Fetcher().get)
    asyncio.run(supply.read())
    assert supply.fault is not None
    assert supply.fault.startswith("site a: supply: supply_url is no address")
    assert "key" not in supply.fault


def test_a_site_that_nobody_limits_has_no_supply() -> None:
    view = SiteView("a", 0.0, 8)
    Supply(Site(name="a"), Clock(), unasked).fill(view)
    assert view.supply_w is None


class Watchful:
    """As many replicas as there are hundreds of watts, at a clock of the watts."""

    period_s, retry_after_s = 100.0, 1.0

    def __init__(self) -> None:
        self.asked = 0

    def control(self, moment: Moment) -> Orders:
        self.asked += 1
        watts = [one.supply_w if one.supply_w is not None else 1e6 for one in moment.sites]
        return Orders([SiteOrder(awake=int(w // 100), ceiling_mhz=w) for w in watts])

    def route(self, request: RequestView, moment: Moment) -> int | None:
        return None

    def finished(self, *what: object) -> None:
        """Nothing."""


class Held:
    files = ("a",)

    def __init__(self) -> None:
        self.wanted: Mapping[str, float | None] = {}

    def hold(self, wanted: Mapping[str, float | None]) -> None:
        self.wanted = wanted


@pytest.mark.parametrize(("draw", "orders"), [(None, 2), (150.0, 1), (450.0, 2)])
def test_orders_come_at_once_when_there_is_less_power_than_is_drawn(
    tmp_path: Path, draw: float | None, orders: int
) -> None:
    clock, policy, lost = Clock(), Watchful(), list[str]()
    group = Group("m", policy, clock())
    group.arrange(
        [Replica(f"http://h:{at}", "m", "ab"[at // 4], None, Breaking(), 9) for at in range(1, 7)],
        {},
    )
    for one in group.replicas:
        one.healthy = True
        one.changed(clock())
    path = tmp_path / "supply"
    site = Site(name="a", supply_file=path, supply_low_w=0.0)
    supplies = {"a": Supply(site, clock, unasked)}
    bugs: list[BaseException] = []
    steer, held = Steer(lambda one, _: lost.append(one.url), bugs.append), Held()

    def say(supply_w: float) -> None:
        told = {"supply_w": supply_w} | ({} if draw is None else {"draw_w": draw})
        path.write_text(json.dumps(told))
        asyncio.run(supplies["a"].read())
        clock.now_s += 1
        steer.tick([group], supplies, held, clock())

    say(500.0)
    assert (policy.asked, lost) == (1, [])
    say(200.0)
    assert policy.asked == orders
    if orders == 2:
        assert lost == ["http://h:3"]  # the last of its site
        assert [one.view.ready for one in group.replicas] == [True, True, False, True, True, True]
        assert held.wanted == {"a": 200.0, "b": 1e6}
        assert [one.view.clock_mhz for one in group.replicas] == [200.0] * 3 + [None] * 3
    say(600.0)
    assert policy.asked == orders  # a rise waits for its turn
    clock.now_s += 100
    say(600.0)
    assert all(one.view.ready for one in group.replicas)
    assert bugs == []


def test_who_is_down_or_drains_takes_nobody_elses_power() -> None:
    clock, lost, bugs = Clock(), list[str](), list[BaseException]()
    group = Group("m", Watchful(), clock())
    three = [Replica(f"http://h:{at}", "m", "a", None, Breaking(), 9) for at in (1, 2, 3)]
    group.arrange(three, {})
    group.moment.sites[0].supply_w = 100.0  # for one
    steer = Steer(lambda one, _: lost.append(one.url), bugs.append)

    def awake(*healthy: int) -> list[str]:
        for at, one in enumerate(three, 1):
            one.healthy = at in healthy
            one.changed(clock())
        steer.tick([group], {}, Held(), clock())
        return [one.url for one in three if one.view.ready]

    assert awake(1, 2, 3) == ["http://h:1"]
    assert awake(2, 3) == ["http://h:2"]
    three[1].draining = True
    assert awake(2, 3) == ["http://h:3"]
    assert [one.state(clock()) for one in three] == ["down", "draining", "ready"]
    three[1].draining, three[1].drain_until_s = False, clock() + 1
    assert awake(2, 3) == ["http://h:3"]
    clock.now_s += 1
    assert awake(1, 2, 3) == ["http://h:1"]
    assert lost[-1] == "http://h:3"
    assert awake() == []


def test_a_new_site_does_not_move_what_others_may_use() -> None:
    group = Group("m", Watchful(), 0.0)
    one, other = (Replica(f"http://h:{at}", "m", "ba"[at], None, Breaking(), 9) for at in (0, 1))
    group.arrange([one], {})
    assert group.allowed(frozenset("b")) == {one.view.site} == {0}
    group.arrange([one, other], {})
    assert group.allowed(frozenset("b")) == {one.view.site} == {1}


def test_ceilings_are_files_that_governors_read_and_that_end(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "ceiling"
    ceilings = Ceilings({"a": path}, clock)
    ceilings.hold({"a": 1200.0, "b": 900.0})
    ceiling, until_s = read_ceiling(path)
    assert ceiling.clock_mhz == 1200.0
    assert 60 < until_s - datetime.now(UTC).timestamp() < 200
    path.write_text("not written anew")
    ceilings.hold({"a": 1200.0})
    assert path.read_text() == "not written anew"
    clock.now_s += 31
    ceilings.hold({"a": 1200.0})
    assert read_ceiling(path)[0].clock_mhz == 1200.0
    ceilings.hold({"a": None})
    assert not path.exists()
    ceilings.files = {"a": tmp_path / "none" / "x"}
    ceilings.hold({"a": 1.0})
    assert "no ceiling written" in ceilings.faults["a"]
    assert math.isfinite(until_s)
