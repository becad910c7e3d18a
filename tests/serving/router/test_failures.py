# SPDX-License-Identifier: Apache-2.0
"""Replicas that die, hang, drain and lie: each request ends whole, or in one clear error."""

import asyncio
import json
from collections.abc import Callable

import pytest

from serving.router import exchange as exchange_module
from tests.serving.router.fakes import (
    DRAIN,
    MODEL,
    FakeReplica,
    Fault,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)  # fmt: skip

BEFORE = [
    Fault("cut"),
    Fault("garbage"),
    Fault("hang"),
    Fault("status", status=500),
    Fault("status", status=503),
    Fault("status", status=429),
    Fault("status", status=401),
]
PLAIN = [Fault("error200"), Fault("short"), Fault("long"), Fault("half")]
STREAM = [Fault(kind) for kind in ("die", "stall", "end", "half event", "error event")]


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        *((False, one) for one in (*BEFORE, *PLAIN) if one.kind != "hang"),
        *((True, one) for one in (*BEFORE, *STREAM)),
    ],
    ids=lambda one: f"{one.kind}-{one.status}" if isinstance(one, Fault) else None,
)
def test_what_goes_wrong_before_the_first_token_nobody_notices(stream: bool, fault: Fault) -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            for one in both:
                one.faults.append(fault)
            answer = await rig.complete(stream=stream)
            assert answer.status == 200
            said = answer.text if stream else answer.json["choices"][0]["text"]
            assert said == answer_of("abc", 8)
            assert not stream or answer.done
            assert len(both[0].seen) + len(both[1].seen) == 3
            await until(rig.clean)

    run(main)


@pytest.mark.parametrize("fault", STREAM, ids=lambda one: one.kind)
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("at", [1, 2, 9])
def test_a_stream_whose_replica_fails_goes_on_elsewhere(fault: Fault, chat: bool, at: int) -> None:
    async def main() -> None:
        async with (
            replicas(2) as both,
            routed(settings_for(both, resume=True)) as rig,
        ):
            for one in both:
                one.faults.append(Fault(fault.kind, at=at))
            ask = rig.chat if chat else rig.complete
            answer = await ask(tokens=20, stream=True, stream_options={"include_usage": True})
            assert answer.done
            assert answer.text == answer_of("abc", 20)
            assert len(both[0].seen) + len(both[1].seen) == 3
            chunks = answer.events[:-1]
            who = {(one["id"], one["created"], one["object"]) for one in chunks}
            assert who == {(chunks[0]["id"], chunks[0]["created"], chunks[0]["object"])}
            usage = chunks[-1]["usage"]
            assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 20)
            assert b'token_ids":[' not in answer.body
            await until(rig.clean)

    run(main)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("left", [1, 2])
def test_a_stream_that_lacks_only_its_end_is_asked_for_no_more(chat: bool, left: int) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one], resume=True)) as rig:
            one.faults.append(Fault("die", at=22 + chat - left))  # usage and the end are left
            ask = rig.chat if chat else rig.complete
            answer = await ask(tokens=20, stream=True, stream_options={"include_usage": True})
            assert answer.done
            assert answer.text == answer_of("abc", 20)
            assert answer.events[-2]["usage"]["completion_tokens"] == 20
            assert len(one.seen) == 1

    run(main)


def test_a_stream_whose_end_is_all_that_does_not_come_ends() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            events = one._events
            one._events = lambda path, asked: [*events(path, asked), "never"]  # type: ignore[method-assign]
            one.faults.append(Fault("stall", at=9))
            async with asyncio.timeout(30):
                answer = await rig.complete(tokens=8, stream=True)
            assert answer.done
            assert answer.text == answer_of("abc", 8)
            assert rig.server.fleet.replicas[one.url].breaker.failures == 0

    run(main)


def test_who_does_not_go_on_with_a_stream_does_not_answer_in_its_middle() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both, resume=True)) as rig:
            for one in both:
                one.faults.append(Fault("die", at=3))
                one.always = Fault("status", status=400, text="the prompt is too long")
            answer = await rig.complete(tokens=10, stream=True)
            assert answer.whole
            assert b"HTTP/1.1" not in answer.body
            assert answer.text == answer_of("abc", 6)
            assert "does not go on with it" in answer.events[-1]["error"]["message"]
            assert len(both[0].seen) + len(both[1].seen) == 4
            await until(rig.clean)

    run(main)


def test_a_stream_that_has_begun_may_wait_where_nobody_else_may() -> None:
    async def main() -> None:
        more = "[limits]\nqueue = 0\n"
        async with replicas(1) as (one,), routed(settings_for([one], more, resume=True)) as rig:
            one.faults.append(Fault("die", at=4))
            answer = await rig.complete(tokens=20, stream=True)
            assert answer.done
            assert answer.text == answer_of("abc", 20)

    run(main)


def test_a_stream_that_has_begun_goes_before_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        more = "[limits]\nrunning_per_replica = 1\nqueue_s = 30\n"
        async with replicas(1) as (one,), routed(settings_for([one], more, resume=True)) as rig:
            monkeypatch.setattr(rig.server, "_changed", lambda _: None)
            rig.server.checks.stop()
            group = rig.server.fleet.groups[MODEL]
            one.gap_s = 0.02
            one.faults.append(Fault("die", at=30))
            asked = [asyncio.create_task(rig.complete(tokens=40, stream=True))]
            await until(lambda: one.seen)
            asked.append(asyncio.create_task(rig.complete("later", stream=True)))
            await until(lambda: len(group.waiting) == 2)  # it broke
            rig.server.relay.pump(group)
            assert all(one.done for one in await asyncio.gather(*asked))
            assert [seen.body["prompt"] == "later" for seen in one.seen] == [False, False, True]

    run(main)


def test_every_replica_may_fail_a_stream_once() -> None:
    async def main() -> None:
        async with replicas(3) as three, routed(settings_for(three, resume=True)) as rig:
            rig.server.stats.prefill_cost = lambda tokens: (0.5 * tokens, 2.0 * tokens)
            for one in three:
                one.faults.append(Fault("die", at=4))
            answer = await rig.complete(tokens=30, stream=True)
            assert answer.done
            assert answer.text == answer_of("abc", 30)
            assert b'resumes_total{end="whole",model="m"} 3.0' in rig.server.stats.text()
            stats = rig.server.stats
            assert stats.recomputed["m"] > 9  # three times the prompt, and more and more of it
            assert stats.recomputed_s["m"] == pytest.approx(0.5 * stats.recomputed["m"], abs=1)
            for what in ("tokens", "seconds", "joules"):
                assert b'resumed_%b_total{model="m"}' % what.encode() in stats.text()

    run(main)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"n": 2}, "it has n"),
        ({"logprobs": 0}, "it has logprobs"),
        ({"stop": ["x"]}, "it has stop"),
        ({"presence_penalty": 0.5}, "it has presence_penalty"),
        ({"response_format": {"type": "json_object"}}, "it has response_format"),
        ({"structured_outputs": {"regex": "a"}}, "it has structured_outputs"),
        ({"prompt": ["a", "b"]}, "several prompts"),
    ],
)
def test_what_cannot_go_on_ends_in_one_error_that_says_why(
    more: dict[str, object], why: str
) -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both, resume=True)) as rig:
            for one in both:
                one.faults.append(Fault("die", at=3))
            answer = await rig.complete(tokens=10, stream=True, **more)
            assert answer.whole
            assert not answer.done
            (last,) = [one for one in answer.events if "error" in one]
            assert last is not None
            assert answer.events[-1] == last
            assert why in last["error"]["message"]
            (seen,) = both[0].seen + both[1].seen
            assert "return_token_ids" not in seen.body

    run(main)


def test_without_resume_a_broken_stream_ends_in_one_error_after_whole_events() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            for kind in ("die", "half event", "stall", "end"):
                one.faults.append(Fault(kind, at=3))
                answer = await rig.complete(stream=True)
                assert answer.whole
                assert answer.text == answer_of("abc", 3)
                assert "its route does not resume" in answer.events[-1]["error"]["message"]
                await until(lambda: all(r.view.ready for r in rig.server.fleet.replicas.values()))

    run(main)


def test_a_killed_replica_is_left_alone_and_taken_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "sgreen.route")

    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            both[0].kill()
            for _ in range(20):
                assert (await rig.complete()).status == 200
            await until(lambda: not rig.server.fleet.replicas[both[0].url].healthy)
            assert len(both[1].seen) == 20
            await both[0].start()
            await until(lambda: rig.server.fleet.replicas[both[0].url].view.ready)
            while not both[0].seen:
                assert (await rig.complete()).status == 200
            said = [one.getMessage() for one in caplog.records if both[0].url in one.getMessage()]
            down = next(at for at, one in enumerate(said) if "is down, was ready" in one)
            assert any("is ready, was" in one for one in said[down:])

    run(main)


def test_a_replica_that_was_never_up_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sgreen.route")

    async def main() -> None:
        caplog.clear()
        async with replicas(1) as (one,):
            one.kill()
            async with routed(settings_for([one]), ready=False) as rig:
                replica = rig.server.fleet.replicas[one.url]
                await until(lambda: replica.misses > 5)
                await one.start()
                await until(lambda: replica.view.ready)
                down, up = [it for it in caplog.messages if one.url in it]
                assert down.endswith("is down")
                assert up.endswith("is ready, was down")

    run(main)


def test_a_connection_that_is_cut_is_one_failure_of_three() -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            breaker = rig.server.fleet.replicas[one.url].breaker
            for wanted in (1, 2, 3):
                assert not breaker.opened
                one.faults.append(Fault("die", at=3))
                assert not (await rig.complete(stream=True)).done
                assert breaker.failures == wanted
            assert breaker.opened

    run(main)


def test_a_drain_that_health_does_not_tell_costs_one_try() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            both[0].always = Fault("status", status=500, text=DRAIN)
            for _ in range(30):
                assert (await rig.complete()).status == 200
            assert len(both[0].seen) == 1
            replica = rig.server.fleet.replicas[both[0].url]
            assert replica.state(rig.server.loop.time()) == "draining"
            # Who comes back is another process, which need not be waited for.
            both[0].kill()
            await until(lambda: not replica.healthy)
            both[0].always = None
            await both[0].start()
            await until(lambda: replica.view.ready, 20)

    run(main)


def test_plain_requests_of_a_replica_that_hangs_with_good_health_go_elsewhere() -> None:
    async def main() -> None:
        more = "[health]\nperiod_s = 0.05\n[timeouts]\nprogress_s = 0.3\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            both[0].metrics = (
                'vllm:num_requests_running{engine="0"} 1.0\nvllm:num_requests_waiting 0.0\n'
                "vllm:generation_tokens_total 17\n"
            )
            both[0].always = Fault("hang")
            answers = await asyncio.gather(*(rig.complete() for _ in range(8)))
            assert {one.status for one in answers} == {200}
            assert both[0].seen
            assert both[0].health == 200
            await until(rig.clean)

    run(main)


@pytest.mark.parametrize("first", ['{"choices":[{"finish_reason":"abort","text":""}]}', "nonsense"])
def test_a_stream_that_fails_with_its_first_event_begins_anew_elsewhere(first: str) -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both, resume=True)) as rig:
            bad = [f"data: {first}\n\n"]
            for one in both:
                made = one._events
                one._events = lambda *asked, made=made: (  # type: ignore[method-assign]
                    [bad.pop()] if bad else made(*asked)
                )
            answer = await rig.complete(stream=True)
            assert (answer.done, answer.text) == (True, answer_of("abc", 8))
            assert len(both[0].seen) == len(both[1].seen) == 1
            assert {json.dumps(one.seen[0].body["prompt"]) for one in both} == {'"abc"'}

    run(main)


def test_hung_streams_open_the_breaker_and_the_rest_goes_elsewhere() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            both[0].always = Fault("hang")
            answers = await asyncio.gather(
                *(rig.complete(stream=True) for _ in range(12)), *(rig.complete() for _ in range(4))
            )
            assert all(one.status == 200 for one in answers)
            assert rig.server.fleet.replicas[both[0].url].breaker.opened

    run(main)


def test_who_is_too_slow_with_whole_answers_is_left_alone() -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n[timeouts]\nanswer_s = 0.2\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            one.always = Fault("hang")
            breaker = rig.server.fleet.replicas[one.url].breaker
            for wanted in (1, 2, 3):
                answer = await rig.complete()
                assert (answer.status, breaker.failures) == (504, wanted)
            assert breaker.opened

    run(main)


def test_a_plain_answer_that_takes_too_long_is_a_504_whatever_came_before() -> None:
    async def main() -> None:
        times = "[timeouts]\nanswer_s = 0.2\n"
        async with replicas(1) as (one,), routed(settings_for([one], times)) as rig:
            one.faults.extend((Fault("status", status=429), Fault("hang")))
            assert (await rig.complete()).status == 504
            assert len(one.seen) == 2

    run(main)


def test_who_is_slow_for_one_and_quick_for_others_is_busy_and_no_failure() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.gap_s = 0.02
            busy = asyncio.create_task(rig.complete(tokens=60, stream=True))
            await until(lambda: one.running)
            for _ in range(3):
                one.faults.append(Fault("hang"))
            assert (await rig.complete(stream=True)).status == 200
            assert (await busy).done
            assert rig.server.fleet.replicas[one.url].breaker.failures == 0

    run(main)


def test_all_down_is_said_after_a_while_and_one_that_comes_back_in_time_answers() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.kill()
            answer = await rig.complete()
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert "no replica of this model is up" in answer.json["error"]["message"]
            assert (await rig.ask("/health", method="GET")).status == 503
            later = asyncio.create_task(rig.complete())
            await until(lambda: rig.server.fleet.groups[MODEL].waiting)
            await one.start()
            assert (await later).status == 200
            await until(rig.clean)

    run(main)


def test_answers_that_are_the_clients_fault_are_passed_on_and_not_tried_again() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            for one in both:
                one.always = Fault("status", status=400, text="max_tokens is too large")
            answer = await rig.complete(stream=True)
            assert answer.status == 400
            assert answer.json["error"]["message"] == "max_tokens is too large"
            assert len(both[0].seen) + len(both[1].seen) == 1

    run(main)


def test_an_error_that_all_replicas_have_is_passed_on_after_some_tries() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            for one in both:
                one.always = Fault("status", status=500, text="bug")
            answer = await rig.complete()
            assert (answer.status, answer.json["error"]["message"]) == (500, "bug")
            assert len(both[0].seen) + len(both[1].seen) == 4

    run(main)


def test_an_idle_connection_that_the_replica_closes_is_no_failure() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            for _ in range(5):
                assert (await rig.complete()).status == 200
                one.faults.append(Fault("cut"))  # the next request on the idle connection
                assert (await rig.complete()).status == 200
            replica = rig.server.fleet.replicas[one.url]
            assert replica.failures == 0
            # One that is cut after the answer has begun is.
            one.faults.append(Fault("half"))
            assert (await rig.complete()).status == 200
            assert replica.failures == 1

    run(main)


def test_an_idle_connection_that_is_gone_costs_no_attempt() -> None:
    async def main() -> None:
        more = "[retry]\nattempts = 2\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            assert (await rig.complete()).status == 200
            one.faults.extend([Fault("cut"), Fault("status", status=500)])
            assert (await rig.complete()).status == 200

    run(main)


def test_a_request_that_is_moved_away_has_all_its_attempts_left() -> None:
    async def main() -> None:
        more = "[retry]\nattempts = 2\n"
        async with replicas(3) as three, routed(settings_for(three, more)) as rig:
            for one in three:
                one.hold.clear()
            asked = asyncio.create_task(rig.complete())
            for moves in (1, 2, 3):
                await until(lambda: sum(len(one.seen) for one in three) == moves)  # noqa: B023
                (exchange,) = rig.server.relay.live
                if moves < 3 and exchange.replica is not None:
                    rig.server.relay.lost(exchange.replica, "")
            for one in three:
                one.hold.set()
            assert (await asked).status == 200

    run(main)


def test_a_stream_that_still_comes_is_left_where_it_is_whatever_health_says() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both, resume=True)) as rig:
            both[0].gap_s = both[1].gap_s = 0.02
            asked = [asyncio.create_task(rig.complete(tokens=40, stream=True)) for _ in range(6)]
            await until(lambda: len(rig.server.relay.live) == 6)
            await until(lambda: all(one.begun for one in rig.server.relay.live))
            both[0].health = 503
            await until(lambda: not rig.server.fleet.replicas[both[0].url].healthy)
            assert all(one.done for one in await asyncio.gather(*asked))
            assert len(both[0].seen) + len(both[1].seen) == 6

    run(main)


def _hung(one: FakeReplica) -> None:
    one.hold.clear()


@pytest.mark.parametrize("what", [FakeReplica.kill, _hung], ids=["killed", "held"])
def test_a_replica_that_health_says_is_down_loses_what_can_go_on(
    what: Callable[[FakeReplica], None],
) -> None:
    async def main() -> None:
        more = "[timeouts]\nprogress_s = 30\nfirst_byte_s = 30\n"
        async with (
            replicas(2) as both,
            routed(settings_for(both, more, resume=True)) as rig,
        ):
            both[0].gap_s = both[1].gap_s = 0.02
            asked = [asyncio.create_task(rig.complete(tokens=20, stream=True)) for _ in range(6)]
            await until(lambda: both[0].running and both[1].running)
            what(both[0])
            both[0].health = 503
            for one in await asyncio.gather(*asked):
                assert one.done
                assert one.text == answer_of("abc", 20)

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_large_for_us_is_asked_once_and_blamed_on_nobody(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange_module, "_EVENT", 50_000)

    async def main() -> None:
        more = "[limits]\nanswer_bytes = 50_000\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            for one in both:
                one.pad, one.always = "x" * 200_000, Fault("in chunks")
                one._whole = lambda path, asked: {"text": "x" * 200_000}  # type: ignore[method-assign]
            for at in range(4):
                answer = await rig.complete(stream=stream)
                assert answer.status == 502
                assert "larger than the 50000 bytes" in answer.json["error"]["message"]
                assert len(both[0].seen) + len(both[1].seen) == at + 1
            states = [one.breaker.failures for one in rig.server.fleet.replicas.values()]
            assert states == [0, 0]
            # Another replica's error is not what the client hears of then.
            both[0].always = Fault("status", status=500)
            both[0].seen.clear()
            for _ in range(20):
                answer = await rig.complete(stream=stream)
                assert "larger than the 50000 bytes" in answer.json["error"]["message"]
            assert both[0].seen
            await until(rig.clean)

    run(main)


@pytest.mark.parametrize(
    ("stream", "fault"),
    [(False, Fault("status", status=500)), (True, Fault("status", status=500)),
     (True, Fault("error event"))],
)  # fmt: skip
def test_a_request_that_every_replica_fails_closes_none_to_others(
    stream: bool, fault: Fault
) -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            for _ in range(6):
                for one in both:
                    one.always = fault
                assert (await rig.complete(stream=stream)).status >= 500
                for one in both:
                    one.always = None
                assert (await rig.complete()).status == 200
            await until(rig.clean)

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_a_replica_that_fails_what_others_answer_is_left_alone(stream: bool) -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            both[0].always = Fault("status", status=500)
            for _ in range(40):
                assert (await rig.complete(stream=stream)).status == 200
            assert len(both[0].seen) == 3

    run(main)


def test_many_that_fail_and_are_never_busy_do_not_keep_requests_from_one_that_is_well() -> None:
    """More than a request is sent to, and a policy that takes them first."""

    async def main() -> None:
        more = (
            '[breaker]\nopen_s = 60\nopen_max_s = 60\n[policy]\nname = "greedy-latency"\n'
            'profile = "h100-sxm-8b"\nslo_ttft_ms = 2000\nslo_tpot_ms = 100\n'
        )
        async with replicas(6) as all_six, routed(settings_for(all_six, more)) as rig:
            *sick, well = sorted(all_six, key=lambda one: one.url)
            for one in sick:
                one.always = Fault("status", status=500)
            answers = [(await rig.complete()).status for _ in range(20)]
            assert answers == [500, *[200] * 19]
            assert all(len(one.seen) <= 4 for one in sick)
            assert len(well.seen) == 19

    run(main)


def test_one_request_tries_a_replica_that_was_left_alone() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            replica, group = rig.server.fleet.replicas[one.url], rig.server.fleet.groups[MODEL]
            one.hold.clear()
            replica.breaker.failed(rig.server.loop.time(), at_once=True)
            asked = [asyncio.create_task(rig.complete()) for _ in range(5)]
            await until(lambda: one.seen and len(group.waiting) == 4)
            assert len(one.seen) == 1
            one.hold.set()
            assert [(await it).status for it in asked] == [200] * 5

    run(main)


def test_an_error_counts_where_nobody_else_is_ever_asked() -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n[retry]\nattempts = 1\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            both[0].always = Fault("status", status=500)
            for _ in range(40):
                await rig.complete()
            assert len(both[0].seen) == 3

    run(main)


def test_who_answers_after_errors_of_its_own_stays() -> None:
    async def main() -> None:
        more = "[breaker]\nopen_s = 60\nopen_max_s = 60\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            for _ in range(3):
                one.faults.extend([Fault("status", status=500)] * 3)
                assert (await rig.complete()).status == 200

    run(main)


def test_a_stream_that_ends_in_an_error_of_its_replica_is_counted_as_one() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.faults.append(Fault("error event", at=3))
            answer = await rig.complete(stream=True)
            assert "engine is dead" in answer.body.decode()
            assert answer.done
            said = await rig.complete('data: {"error": 1}', stream=True)
            assert said.done
            text = rig.server.stats.text().decode()
            assert 'requests_total{code="502",model="m",site="s0",tenant=""} 1.0' in text
            assert 'requests_total{code="200",model="m",site="s0",tenant=""} 1.0' in text

    run(main)
