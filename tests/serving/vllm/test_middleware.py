# SPDX-License-Identifier: Apache-2.0
"""The header on plain answers: there when it is known, and never in the way."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from serving.vllm import middleware
from serving.vllm.metrics import Metrics, serve
from serving.vllm.middleware import Energy
from serving.vllm.settings import PREFIX
from tests.serving.vllm.test_recorder import Rig

JSON = [(b"content-type", b"application/json")]
BODY = b'{"id":"cmpl-x","object":"text_completion"}'


def answered(
    monkeypatch: pytest.MonkeyPatch, where: str, *, headers: Any = JSON, body: bytes = BODY
) -> list[dict[str, Any]]:
    """What a client gets of an application that answers so."""
    monkeypatch.setenv(f"{PREFIX}METRICS", where)
    monkeypatch.setattr(middleware, "_WAIT_S", 10.0)
    sent: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Energy(app)({"type": "http", "method": "POST"}, None, send))
    assert [one["type"].rpartition(".")[2] for one in sent] == ["start", "body", "body"]
    return sent


def shown(unused_port: int, mu: float | None = None) -> str:
    rig = Rig()
    rig.recorder.mu = lambda: mu
    rig.run(1.0, "cmpl-x-0-12345678")
    rig.read(250.0)
    setter = SimpleNamespace(changes=0, failures=0, holds_mhz=None)
    pilot = SimpleNamespace(policy=None)
    metrics = Metrics(rig.recorder, pilot, setter, model="m", policy="max")  # type: ignore[arg-type]
    serve(metrics, f"127.0.0.1:{unused_port}")
    return f"127.0.0.1:{unused_port}"


def test_a_plain_answer_tells_its_joules(monkeypatch: pytest.MonkeyPatch, unused_port: int) -> None:
    where = shown(unused_port)
    start, body, _ = answered(monkeypatch, where)
    assert body["body"] == BODY
    assert start["headers"] == [
        *JSON, (b"x-sgreen-energy-j", b"250.000"), (b"x-sgreen-energy-source", b"counter"),
    ]  # fmt: skip
    for body in (b'{"id":"cmpl-other"}', b"{}", b""):
        assert answered(monkeypatch, where, body=body)[0]["headers"] == JSON


def test_streams_and_answers_without_a_port_pass(
    monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    stream = [(b"content-type", b"text/event-stream; charset=utf-8")]
    assert answered(monkeypatch, shown(unused_port), headers=stream)[0]["headers"] == stream
    for where in ("", "/some/file", "127.0.0.1:1"):
        assert answered(monkeypatch, where)[0]["headers"] == JSON


STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
LAST = b'data: {"id":"cmpl-x","model":"m","choices":[],"usage":{"prompt_tokens":3}}\n\n'


def test_the_last_chunk_of_a_stream_has_it_in_its_usage(
    monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    where = shown(unused_port, 360.0)
    done = b"data: [DONE]\n\n"
    _, body, _ = answered(monkeypatch, where, headers=STREAM, body=LAST + done)
    chunk, rest = body["body"].split(b"\n\n", 1)
    assert rest == done
    usage = json.loads(chunk.removeprefix(b"data: "))["usage"]
    assert usage == {
        "x-sgreen-energy-j": 250.0,
        "x-sgreen-carbon-mg": 25.0,
        "x-sgreen-carbon-basis": "marginal",
        "x-sgreen-energy-source": "counter",
        "prompt_tokens": 3,
    }


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"id":"cmpl-x","choices":[{"text":"a"}],"usage":{"prompt_tokens":3}}\n\n',
        b'data: {"id":"cmpl-other","choices":[],"usage":{"prompt_tokens":3}}\n\n',
        b'data: {"id":"cmpl-x","choices":[{"text":"\\"choices\\":[],\\"usage\\":{"}]}\n\n',
    ],
)
def test_other_chunks_pass_as_they_are(
    monkeypatch: pytest.MonkeyPatch, unused_port: int, body: bytes
) -> None:
    assert answered(monkeypatch, shown(unused_port), headers=STREAM, body=body)[1]["body"] == body


def test_carbon_is_told_only_where_it_was_known_all_along(
    monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    headers = dict(answered(monkeypatch, shown(unused_port, 0.0))[0]["headers"])
    assert headers[b"x-sgreen-carbon-mg"] == b"0.000"
