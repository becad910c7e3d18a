# SPDX-License-Identifier: Apache-2.0
"""The replay's policies in the live router, and what it knows of load that others bring."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from profiling.files import read_profile
from profiling.shipped import shipped
from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.balance import Balanced
from serving.router.policy.prices import Prices
from serving.router.policy.protocol import Moment, ReplicaView, RequestView, SiteView
from tests.serving.router.fakes import (
    MODEL,
    Answer,
    Fault,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)

PRICES = (
    '[policy]\nname = "{}"\nprofile = "h100-sxm-8b"\nslo_ttft_ms = 2000\nslo_tpot_ms = 100\n'
    '[[site]]\nname = "s0"\nrtt_ms = 1\nsupply_file = "{}"\nsupply_low_w = 3000\n'
    '[[site]]\nname = "s1"\nrtt_ms = 2\n'
)


@pytest.mark.parametrize(
    "name",
    [
        "per-site",
        "per-site-admit",
        "wrr-power",
        "power-cap",
        "greedy-latency",
        "heron",
        "reactive",
        "prices",
    ],
)
def test_every_policy_answers_and_leaves_a_site_without_power(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        supply = tmp_path / "supply"
        supply.write_text('{"supply_w": 5000}')
        async with replicas(2) as both:
            rows = "".join(
                f'[[replica]]\nurl = "{one.url}"\nmodel = "m"\nsite = "s{at}"\n'
                for at, one in enumerate(both)
            )
            settings = settings_for([], PRICES.format(name, supply) + rows)
            async with routed(settings) as rig:
                for at in range(20):
                    answer = await rig.complete(f"p{at}", 4)
                    assert answer.json["choices"][0]["text"] == answer_of(f"p{at}", 4)
                group = rig.server.fleet.groups["m"]
                assert group.faults == 0
                supply.write_text('{"supply_w": 0}')
                await until(lambda: not rig.server.fleet.replicas[both[0].url].view.ready)
                seen = len(both[0].seen)
                answers = await asyncio.gather(*(rig.complete(f"p{at}", 4) for at in range(10)))
                if not name.startswith("per-site"):  # which leaves each site alone with its share
                    assert Counter(one.status for one in answers) == {200: 10}
                assert len(both[0].seen) == seen

    run(main)


_IN_TIME = (
    '[policy]\nname = "prices"\nprofile = "h100-sxm-8b"\nslo_ttft_ms = 200\nslo_tpot_ms = 100\n'
)


def test_a_request_that_waited_for_too_long_holds_up_nobody_behind_it() -> None:
    async def main() -> None:
        more = f"{_IN_TIME}[timeouts]\nfirst_byte_s = 0.5\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            one.faults.append(Fault("hang"))
            slow = asyncio.create_task(rig.complete(stream=True))
            await until(lambda: one.seen)
            statuses = []
            while not slow.done():
                statuses.append((await rig.complete()).status)
            assert slow.result().status == 429
            assert set(statuses) == {200}
            assert (await rig.complete()).status == 200

    run(main)


def test_after_an_outage_who_waited_for_too_long_makes_room_for_new_requests() -> None:
    async def main() -> None:
        more = f"{_IN_TIME}[limits]\nqueue_s = 60\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            replica = rig.server.fleet.replicas[one.url]
            one.health = 503
            await until(lambda: not replica.view.ready)
            late = [asyncio.create_task(rig.complete()) for _ in range(300)]
            waiting = rig.server.fleet.groups["m"].waiting
            await until(lambda: len(waiting) == 300)
            begun_s = waiting[-1].started_s
            await until(lambda: rig.server.loop.time() > begun_s + 0.3)
            one.health = 200
            assert Counter(it.status for it in await asyncio.gather(*late)) == {429: 300}
            assert (await rig.complete()).status == 200
            await until(rig.clean)

    run(main)


def test_who_waits_for_a_site_that_is_down_is_no_new_request_to_the_policy(tmp_path: Path) -> None:
    class Counting(Balanced):
        asked = refused = 0
        refuses = False

        def route(self, request: RequestView, moment: Moment) -> int | None:
            self.asked += request.sites == {1}
            self.refused += self.refuses
            return None if self.refuses else super().route(request, moment)

    async def main() -> None:
        keys = tmp_path / "keys"
        keys.write_text("a-key-of-eight\n")
        more = f'[[tenant]]\nname = "a"\nkey_file = "{keys}"\nsites = ["s1"]\n'
        more += f'[[tenant]]\nname = "b"\nkey_file = "{keys}2"\n[limits]\nqueue_s = 60\n'
        (tmp_path / "keys2").write_text("another-key\n")
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            policy = rig.server.fleet.groups["m"].policy = Counting()
            both[1].health = 503
            await until(lambda: not rig.server.fleet.replicas[both[1].url].view.ready)

            def ask(key: str) -> Coroutine[Any, Any, Answer]:
                asked = {"model": MODEL, "prompt": "a"}
                return rig.ask(asked=asked, headers=f"authorization: Bearer {key}\r\n")

            waits = asyncio.create_task(ask("a-key-of-eight"))
            await until(lambda: rig.server.fleet.groups["m"].waiting)
            for _ in range(10):
                assert (await ask("another-key")).status == 200
            assert policy.asked == 1
            policy.refuses = True
            assert (await ask("another-key")).status == 429
            assert policy.refused == 1
            policy.refuses = False
            both[1].health = 200
            assert (await waits).status == 200

    run(main)


def test_a_stream_that_its_policy_lets_wait_holds_up_nobody_behind_it() -> None:
    """As `per-site` does, whose turn for a site that is down may come again and again."""

    class Picky(Balanced):
        refuses = True

        def route(self, request: RequestView, moment: Moment) -> int | None:
            return None if request.begun and self.refuses else super().route(request, moment)

    async def main() -> None:
        more = "[limits]\nqueue_s = 60\n"
        async with replicas(2) as both, routed(settings_for(both, more, resume=True)) as rig:
            group = rig.server.fleet.groups["m"]
            policy = group.policy = Picky()
            for one in both:
                one.faults.append(Fault("die", at=3))
            stream = asyncio.create_task(rig.complete(tokens=20, stream=True))
            await until(lambda: group.waiting)
            both[0].faults.clear()
            both[1].faults.clear()
            assert (await asyncio.wait_for(rig.complete(), 10)).status == 200
            assert len(group.waiting) == 1
            policy.refuses = False
            answer = await stream
            assert answer.done
            assert answer.text == answer_of("abc", 20)

    run(main)


@pytest.mark.parametrize("dies", [False, True])
def test_prices_count_a_request_once_however_long_it_waits(dies: bool) -> None:
    async def main() -> None:
        more = f"{_IN_TIME}[limits]\nqueue_s = 60\n".replace("= 200", "= 60000")
        async with replicas(1) as (one,), routed(settings_for([one], more, resume=True)) as rig:
            group = rig.server.fleet.groups["m"]
            assert isinstance(group.policy, Prices)
            if dies:  # in the middle of it, and nobody else is there
                one.faults.append(Fault("die", at=3))
            else:
                one.health = 503
                await until(lambda: not rig.server.fleet.replicas[one.url].view.ready)
            asked = asyncio.create_task(rig.complete(tokens=20, stream=True))
            if not dies:
                await until(lambda: group.waiting)
            one.health = 200
            assert (await asked).text == answer_of("abc", 20)
            assert len(group.policy._recent) == 1
            assert group.policy._mix._seen == 1

    run(main)


def test_load_that_other_routers_bring_counts(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        more = "[health]\nperiod_s = 0.05\nscrape = true\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            both[0].metrics = (
                'vllm:num_requests_running{engine="0",model_name="m"} 30.0\n'
                'vllm:num_requests_waiting{engine="0",model_name="m"} 12.0\n'
                'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.75\n'
            )
            replica = rig.server.fleet.replicas[both[0].url]
            await until(lambda: replica.foreign == 42)
            assert (replica.view.running, replica.view.waiting) == (42, 12)
            assert replica.view.kv_use == 0.75
            # It is looked at again, with nothing of ours there.
            both[0].metrics = both[0].metrics.replace("12.0", "13.0")
            await until(lambda: replica.foreign == 43)
            assert not [one for one in caplog.records if one.levelname == "ERROR"]
            for _ in range(20):
                assert (await rig.complete()).status == 200
            assert not both[0].seen

    run(main)


def test_policies_learn_from_answers_alone_and_first_tokens_from_streams_alone() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            group, told = rig.server.fleet.groups["m"], []

            class Listening(Balanced):
                def finished(self, *what: Any) -> None:
                    told.append(what[2:])

            group.policy = Listening()
            view = rig.server.fleet.replicas[one.url].view
            one.gap_s = 0.05
            one.faults.append(Fault("status", status=400))
            assert (await rig.complete(stream=True)).status == 400
            assert (told, view.ttft_s) == ([], None)
            assert (await rig.complete(tokens=8)).status == 200
            assert (told, view.ttft_s) == ([(None, None, 8)], None)
            assert (await rig.complete(tokens=8, stream=True)).done
            ttft_s, tpot_s, _ = told[1]
            assert ttft_s < 8 * 0.05 < 8 * tpot_s * 1.3
            assert view.ttft_s == ttft_s

    run(main)


def test_plain_answers_do_not_make_prices_turn_requests_away() -> None:
    """Each takes longer than a first token may."""
    engine = EngineModel(read_profile(shipped(Path("h100-sxm-8b"))))
    policy = Prices(engine, Slo(ttft_s=0.5, tpot_s=0.05))
    moment = Moment(0.0, [SiteView("s0", 0.0, 1)], [ReplicaView(site=0)])
    room = []
    for ttft_s in (None, 4.0):
        for at in range(200):
            policy.finished(RequestView(100), 0, ttft_s, None, 100)
            if at % 50 == 49:
                policy.control(moment)
        room.append(policy._room)
    assert room == [1.0, pytest.approx(0.68)]
