# SPDX-License-Identifier: Apache-2.0
"""Streams cut anywhere, as often as one likes, end as the uncut one."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.router.continuation import COMPLETIONS, Continuation, refusal
from tests.serving.router.fakes import FakeReplica, answer_of


def events(asked: dict[str, Any], port: int) -> list[str]:
    """What a replica would send."""

    async def made() -> FakeReplica:
        return FakeReplica()

    one = asyncio.run(made())
    one.port = port
    path = "/v1/chat/completions" if "messages" in asked else COMPLETIONS
    return one._events(path, asked)


@settings(max_examples=60, deadline=None)
@given(
    st.text("abcdefgh", min_size=1, max_size=8),
    st.integers(1, 40),
    st.lists(st.integers(0, 30), max_size=5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_cut_anywhere(
    prompt: str, tokens: int, cuts: list[int], chat: bool, usage: bool, shown: bool
) -> None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": tokens, "stream": True}
    asked |= {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    asked |= {"stream_options": {"include_usage": True}} if usage else {}
    asked |= {"return_token_ids": True} if shown else {}
    going_on = Continuation(asked)
    body: dict[str, Any] | None = json.loads(going_on.first())
    seen = ""
    for at, cut in enumerate([*cuts, 10**6]):
        assert body is not None
        sent = events(body, 1000 + at)[: max(cut, 2 if at == 0 else 0)]
        seen += going_on.translate("".join(sent).encode()).decode()
        if seen.endswith("[DONE]\n\n"):
            break
        if going_on.finished:
            seen += going_on.ending().decode()
            break
        again = going_on.again(4096)
        assert again is not None
        body = json.loads(again)
        assert body["max_tokens"] <= tokens
    said = [one[6:] for one in seen.split("\n\n") if one]
    assert said[-1] == "[DONE]"
    chunks = [json.loads(one) for one in said[:-1]]
    choices = [one for chunk in chunks for one in chunk["choices"]]
    text = "".join(one["text"] if "text" in one else one["delta"]["content"] for one in choices)
    assert text == answer_of(prompt, tokens)
    assert {one["id"] for one in chunks} == {"id-1000"}
    assert [one["finish_reason"] for one in choices if one["finish_reason"]] == ["length"]
    ids = [token for one in choices for token in one.get("token_ids") or ()]
    assert len(ids) == (tokens if shown else 0)
    if usage:
        assert chunks[-1]["usage"]["completion_tokens"] == tokens
        assert chunks[-1]["usage"]["prompt_tokens"] == len(prompt)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"n": 1}, {"stop": None}, {"stop": []}, {"logprobs": None}, {"temperature": 0.7},
        {"tools": [{"x": 1}], "tool_choice": "none"}, {"response_format": {"type": "text"}},
        {"presence_penalty": 0.0}, {"seed": 3}, {"prompt": [1, 2, 3]}, {"prompt": ["one"]},
    ],
)  # fmt: skip
def test_these_can_go_on(more: dict[str, Any]) -> None:
    assert refusal({"model": "m", "prompt": "a", **more}) is None


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2}, {"best_of": 2}, {"stop": "x"}, {"logprobs": 0}, {"logprobs": 1}, {"echo": True},
        {"tools": [{"x": 1}]}, {"response_format": {"type": "json_object"}}, {"guided_json": {}},
        {"structured_outputs": {"json": {}}}, {"frequency_penalty": 0.1}, {"suffix": "x"},
        {"repetition_penalty": 1.1}, {"use_beam_search": True}, {"prompt": ["a", "b"]},
        {"prompt": [[1], [2]]}, {"prompt_logprobs": 1}, {"something_new": 1},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        {"messages": [], "top_logprobs": 2}, {"messages": [], "logprobs": True},
    ],
)  # fmt: skip
def test_these_cannot(more: dict[str, Any]) -> None:
    assert refusal({"model": "m", "prompt": "a", **more}) is not None


@pytest.mark.parametrize(
    ("asked", "most", "least"),
    [
        ({"max_tokens": 9}, 7, None),
        ({"max_tokens": 50, "max_completion_tokens": 9, "messages": []}, 7, None),
        ({}, 14, None),  # vLLM's 16 for a completion that does not say
        ({"messages": []}, 95, None),
        ({"max_tokens": 500, "min_tokens": 5}, 95, 3),
        ({"max_tokens": 9, "min_tokens": 1}, 7, 0),
    ],
)
def test_the_rest_is_as_long_as_was_asked_for(
    asked: dict[str, Any], most: int, least: int | None
) -> None:
    going_on = Continuation({"model": "m", **asked})
    chunk = {"choices": [{"index": 0, "prompt_token_ids": [1, 2, 3], "token_ids": [4, 5]}]}
    chunk["choices"][0] |= {"delta": {"content": "hi"}} if "messages" in asked else {"text": "hi"}
    going_on.translate(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    body = json.loads(going_on.again(100) or b"{}")
    assert (body["max_tokens"], body.get("min_tokens")) == (most, least)
    assert body["prompt"] == [1, 2, 3, 4, 5]


def test_what_a_replica_does_not_tell_ends_the_hope() -> None:
    going_on = Continuation({"model": "m", "prompt": "a", "max_tokens": 9})
    chunk = {"id": "x", "choices": [{"index": 0, "text": "b", "finish_reason": None}]}
    assert going_on.translate(f"data: {json.dumps(chunk)}\n\n".encode())
    assert going_on.again(4096) is None
    assert going_on.broken == "the replica told no token ids"
    chat = Continuation({"model": "m", "messages": [], "stream": True})
    first = {"id": "x", "prompt_token_ids": [1, 2], "choices": [{"index": 0, "delta": {}}]}
    chat.translate(f"data: {json.dumps(first)}\n\n".encode())
    assert chat.again(None) is None
    assert chat.broken == "nobody knows how long it may get"
    tool = {"index": 0, "delta": {"tool_calls": [1]}, "token_ids": [3], "finish_reason": None}
    chat = Continuation({"model": "m", "messages": [], "max_tokens": 5})
    chat.translate(f"data: {json.dumps({'id': 'x', 'choices': [tool]})}\n\n".encode())
    assert chat.again(100) is None
    assert chat.broken == "it is more than text"


@pytest.mark.parametrize("what", ["nonsense", "[]", '{"choices": 3}', '{"choices": [[]]}', "3"])
def test_nonsense_is_a_failure_and_what_was_before_it_is_kept(what: str) -> None:
    going_on = Continuation({"model": "m", "prompt": "a", "max_tokens": 9})
    good = events(json.loads(going_on.first()), 1)[0]
    passed = going_on.translate(f"{good}data: {what}\n\n".encode())
    assert going_on.failed
    assert passed.count(b"\n\n") == 1
