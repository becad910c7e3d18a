# SPDX-License-Identifier: Apache-2.0
"""What a client sees of answers when all is well."""

import json

import pytest

from tests.serving.router.fakes import (
    MODEL,
    Caller,
    Fault,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)


def test_a_plain_answer_comes_as_the_replica_sent_it() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.extra = "x-sgreen-energy-j: 12.5\r\nx-sgreen-carbon-mg: 3\r\n"
            answer = await rig.complete()
            assert (answer.status, answer.json["choices"][0]["text"]) == (200, answer_of("abc", 8))
            assert answer.headers["x-sgreen-site"] == "s0"
            assert answer.headers["x-sgreen-energy-j"] == "12.5"
            assert answer.headers["x-sgreen-carbon-mg"] == "3"
            assert b'energy_joules_total{model="m",site="s0"} 12.5' in rig.server.stats.text()
            assert rig.clean()

    run(main)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_stream_comes_byte_for_byte(path: str, resume: bool) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one], resume=resume)) as rig:
            asked = {"model": MODEL, "prompt": "abc", "stream": True, "max_tokens": 40,
                "messages": [{"role": "user", "content": "abc"}],
                "stream_options": {"include_usage": True}}  # fmt: skip
            del asked["messages" if path == "/v1/completions" else "prompt"]
            answer = await rig.ask(path, asked)
            assert answer.done
            assert answer.body.decode() == "".join(one._events(path, asked))
            assert one.seen[0].body.get("return_token_ids", False) is resume
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert rig.clean()

    run(main)


def test_other_ends_of_lines_and_large_events_are_events_too() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.ends, one.pad = "\r\n", "x" * 200_000
            answer = await rig.complete(stream=True)
            assert answer.done
            assert answer.text == answer_of("abc", 8)

    run(main)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_an_event_may_come_in_two_pieces_wherever_it_is_cut(ends: str) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.ends, one.late, one.gap_s = ends, True, 0.005
            for tokens in (7, 8):
                answer = await rig.complete(tokens=tokens, stream=True)
                assert answer.done, answer.body
                assert answer.text == answer_of("abc", tokens)

    run(main)


def test_ids_and_traces_go_through() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
            asked = {"model": MODEL, "prompt": "a"}
            answer = await rig.ask(
                asked=asked,
                headers=f"x-request-id: mine-1\r\ntraceparent: {trace}\r\ntracestate: v=1\r\n",
            )
            sent = one.seen[0].headers
            assert answer.headers["x-request-id"] == sent["x-request-id"] == "mine-1"
            assert sent["traceparent"][:36] == trace[:36]
            assert sent["traceparent"][36:52] != trace[36:52]
            assert sent["traceparent"][52:] == "-01"
            assert sent["tracestate"] == "v=1"
            other = await rig.ask(
                asked=asked, headers="x-request-id: no good\r\ntraceparent: x\r\n"
            )
            sent = one.seen[1].headers
            assert other.headers["x-request-id"] == sent["x-request-id"] != "no good"
            assert sent["traceparent"].endswith("-00")

    run(main)


def test_models_health_and_what_is_not_there() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            models = await rig.ask("/v1/models", method="GET")
            assert [row["id"] for row in models.json["data"]] == [MODEL]
            assert (await rig.ask(f"/v1/models/{MODEL}", method="GET")).json["id"] == MODEL
            assert (await rig.ask("/v1/models/%6d", method="GET")).json["id"] == MODEL
            assert (await rig.ask("/v1/models/x", method="GET")).status == 404
            assert (await rig.ask("/health", method="GET")).status == 200
            assert (await rig.ask("/v1/other")).status == 404
            assert (await rig.ask("/v1/completions", method="GET")).status == 405
            for asked, status in (
                ({"model": "x"}, 404), ({"prompt": "x"}, 400), ([], 400), ({"model": 3}, 400),
            ):  # fmt: skip
                answer = await rig.ask(asked=asked)
                assert answer.status == status
                assert set(answer.json["error"]) == {"message", "type", "param", "code"}
            assert (await rig.ask("/v1/embeddings", {"model": MODEL, "input": "x"})).status == 200
            assert (await rig.complete()).status == 200

    run(main)


def test_one_connection_many_requests_also_sent_ahead() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            caller = await Caller.at(rig.server.port)
            for at in range(20):
                caller.send("/v1/completions", {"model": MODEL, "prompt": f"p{at}", "max_tokens": 4,
                    "stream": at % 2 == 1})  # fmt: skip
            for at in range(20):
                answer = await caller.read()
                said = answer.text if at % 2 else answer.json["choices"][0]["text"]
                assert said == answer_of(f"p{at}", 4)
            assert len(both[0].seen) + len(both[1].seen) == 20
            assert both[0].open + both[1].open <= 3
            caller.close()

    run(main)


@pytest.mark.parametrize("resume", [False, True])
def test_who_leaves_when_a_stream_is_done_had_all_of_it(resume: bool) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one], resume=resume)) as rig:
            one.gap_s = 0.15  # also between [DONE] and the end of the body
            caller = await Caller.at(rig.server.port)
            caller.send("/v1/completions", {"model": MODEL, "prompt": "abc", "max_tokens": 1,
                "stream": True})  # fmt: skip
            await caller.reader.readuntil(b"data: [DONE]\n\n")
            caller.close()
            await until(lambda: not rig.server.relay.live)
            assert {key[3] for key in rig.server.stats.requests} == {200}
            assert rig.clean()

    run(main)


def test_a_stream_that_is_refused_has_no_first_token() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.faults.append(Fault("status", status=400))
            assert (await rig.complete(stream=True)).status == 400
            assert b'first_token_seconds_count{model="m"} 0' in rig.server.stats.text()
            assert (await rig.complete(stream=True)).done
            assert b'first_token_seconds_count{model="m"} 1' in rig.server.stats.text()

    run(main)


def test_http_1_0_gets_a_stream_that_ends_with_its_connection() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            caller = await Caller.at(rig.server.port)
            body = json.dumps({"model": MODEL, "prompt": "abc", "stream": True, "max_tokens": 3})
            start = f"POST /v1/completions HTTP/1.0\r\ncontent-length: {len(body)}\r\n"
            caller.writer.write(f"{start}expect: 100-continue\r\n\r\n{body}".encode())
            answer = await caller.reader.read()
            head, _, events = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")  # it knows no answer before the answer
            assert b"chunked" not in head
            assert events.startswith(b"data: ")
            assert events.endswith(b"data: [DONE]\n\n")
            caller.close()

    run(main)


def test_http_1_0_hears_that_its_connection_stays_where_it_asks_for_that() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            for word in ("close", "keep-alive"):
                caller = await Caller.at(rig.server.port)
                for _ in range(1 if word == "close" else 3):
                    start = f"GET /v1/models HTTP/1.0\r\nconnection: {word}\r\n\r\n"
                    caller.writer.write(start.encode())
                    answer = await caller.read()
                    assert answer.status == 200
                    assert answer.headers["connection"] == word
                caller.close()

    run(main)
