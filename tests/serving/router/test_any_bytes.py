# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes a replica or a client sends, in whatever pieces: answers are well-formed."""

import asyncio
import json
import random

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.router.fakes import (
    HOST,
    MODEL,
    Caller,
    FakeReplica,
    replicas,
    routed,
    run,
    settings_for,
    until,
)  # fmt: skip

EVENT = (
    b'data: {"id":"x","object":"text_completion","created":1,"model":"m","choices":[{"index":0,'
    b'"text":"a","finish_reason":null,"prompt_token_ids":[1],"token_ids":[2]}]}\n\n'
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
CHUNKS = [b"%x\r\n%b\r\n" % (len(one), one) for one in (EVENT, EVENT, b"data: [DONE]\n\n")]
STREAM = b"".join(
    (HEAD, b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n", *CHUNKS, b"0\r\n\r\n")
)
TEXT = b'{"choices":[{"index":0,"text":"a"}]}'
PLAIN = HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(TEXT) + TEXT
EARLY = b"HTTP/1.1 100 Continue\r\n\r\n"


class Asked:
    """A parser of what the client gets, which keeps the answer."""

    def __init__(self) -> None:
        self.whole = 0
        self.body = b""

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole += 1


@st.composite
def answers(draw: st.DrawFn) -> list[bytes]:
    """Good bytes with some damage, in pieces."""
    data = draw(st.sampled_from((STREAM, PLAIN, EARLY + PLAIN, STREAM + PLAIN)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(("cut", "put", "drop")))
        if kind == "cut":
            data = data[:at]
        elif kind == "put":
            data = data[:at] + draw(st.binary(max_size=8)) + data[at:]
        else:
            data = data[:at] + data[at + draw(st.integers(1, 30)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=5)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(answers(), st.booleans(), st.booleans())
def test_one_well_formed_answer(pieces: list[bytes], stream: bool, resume: bool) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            for piece in () if head.startswith(b"GET") else pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        one = FakeReplica()
        one.port = server.sockets[0].getsockname()[1]
        more = "[limits]\nqueue_s = 0.01\n[retry]\nattempts = 2\n[breaker]\nfailures = 9\n"
        async with routed(settings_for([one], more, resume=resume)) as rig:
            caller = await Caller.at(rig.server.port)
            asked = {"model": MODEL, "prompt": "a", "stream": stream, "max_tokens": 4}
            caller.send("/v1/completions", asked, headers="connection: close\r\n")
            got = Asked()
            parser = httptools.HttpResponseParser(got)
            parser.feed_data(await caller.reader.read())
            assert got.whole == 1
            body = got.body.decode(errors="replace")
            if parser.get_status_code() == 200 and body.startswith("data:"):
                last = body.rpartition("data: ")[2]
                assert body.endswith("\n\n")
                assert last.strip() == "[DONE]" or "error" in json.loads(last)
            elif parser.get_status_code() >= 500:
                assert json.loads(body)["error"]
            caller.close()
            assert rig.clean()
        server.close()

    run(main)


@pytest.mark.slow
def test_clients_that_send_anything_get_an_error_or_an_answer_and_hurt_nobody() -> None:
    async def main() -> None:
        draw = random.Random(11)
        body = json.dumps({"model": MODEL, "prompt": "abc", "max_tokens": 2}).encode()
        good = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        more = "[timeouts]\nhead_s = 0.3\nbody_s = 0.3\nidle_s = 0.3\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            bugs: list[BaseException] = []
            rig.server.door.bug = bugs.append

            async def client() -> None:
                data = good + body
                for _ in range(draw.randint(1, 4)):
                    at = draw.randint(0, len(data))
                    put = draw.randbytes(draw.randint(0, 6)) or b"\r\n"
                    data = draw.choice((data[:at] + put + data[at:], data[:at] + data[at + 5 :]))
                caller = await Caller.at(rig.server.port)
                for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                    caller.writer.write(piece)
                    await asyncio.sleep(0)
                got = Asked()
                try:
                    answer = await caller.reader.read()
                except ConnectionError:
                    answer = b""
                if answer:
                    httptools.HttpResponseParser(got).feed_data(answer)
                    assert got.whole >= 1
                caller.close()

            for _ in range(20):
                await asyncio.gather(*(client() for _ in range(20)))
            assert (await rig.complete()).status == 200
            assert bugs == []
            await until(rig.clean)

    run(main, 60)
