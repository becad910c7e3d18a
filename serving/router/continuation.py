# SPDX-License-Identifier: Apache-2.0
"""How a stream whose replica dies goes on at another one, from the token ids that it has. Pure.

The router asks for `return_token_ids` and takes them out of what the client sees: a key that vLLM
always sends is null again. The rest of the answer is asked for as a completion of prompt and
answer so far, as tokens; with greedy decoding on like replicas it is the same, token by token.

The trap: a character may need several tokens, and the replica that dies keeps the text of the
first ones. Tokens after the last text that was seen are generated anew.
"""

from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["CHAT", "COMPLETIONS", "Continuation", "refusal"]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
_DONE = b"data: [DONE]\n\n"
_WHO = ("id", "object", "created", "model")
_DEFAULT_TOKENS = 16  # of a completion that does not say
# What the rest is asked for with, as the first part was.
_SAME = frozenset(
    (
        "model", "temperature", "top_p", "top_k", "min_p", "seed", "ignore_eos", "stop_token_ids",
        "skip_special_tokens", "spaces_between_special_tokens", "logit_bias", "priority",
        "cache_salt", "allowed_token_ids", "stream_options", "user",
    )
)  # fmt: skip
# What only makes the prompt, whose tokens are known, or is looked at below.
_ONCE = frozenset(
    (
        "messages", "prompt", "stream", "max_tokens", "max_completion_tokens", "min_tokens",
        "return_token_ids", "chat_template", "chat_template_kwargs", "add_generation_prompt",
        "continue_final_message", "documents", "add_special_tokens", "request_id", "metadata",
        "store", "prompt_cache_key", "parallel_tool_calls",
    )
)  # fmt: skip
# Values that change nothing.
_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,), "best_of": (1,), "presence_penalty": (0,), "frequency_penalty": (0,),
    "repetition_penalty": (1,), "response_format": ({"type": "text"},), "echo": (False,),
    "stop": ("", []), "tools": ([],), "tool_choice": ("none",), "suffix": ("",),
    "use_beam_search": (False,), "bad_words": ([],), "include_stop_str_in_output": (False,),
}  # fmt: skip


def refusal(document: Mapping[str, Any]) -> str | None:
    """Why a request like this cannot go on elsewhere; None: it can."""
    plain_tools = document.get("tool_choice") == "none"
    chat = "messages" in document
    for key, value in document.items():
        if key in _SAME or key in _ONCE or value is None:
            continue
        if any(value == one for one in _NEUTRAL.get(key, ())):
            continue
        if (key == "tools" and plain_tools) or (key == "logprobs" and chat and value is False):
            continue
        return f"it has {key}"
    prompt = document.get("prompt")
    if isinstance(prompt, list) and not (
        all(isinstance(one, int) for one in prompt)
        or (len(prompt) == 1 and isinstance(prompt[0], str))
    ):
        return "it has several prompts"
    messages = document.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
                return "it has more than text"
    return None


class Continuation:
    """One stream; `broken` says why it can no longer go on elsewhere, once that is so."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.chat = "messages" in document
        self.broken: str | None = None
        self.finished = False  # the answer's last token was seen
        self.recomputed = 0  # tokens of prompts for the second time
        self._document = document
        self._shown = document.get("return_token_ids") is True
        options = document.get("stream_options")
        self._usage_due = isinstance(options, dict) and options.get("include_usage") is True
        self._before = 0  # tokens that earlier replicas generated
        self._moved = False
        self._shape: dict[str, Any] = {}  # of the first replica's chunks
        self.anew()

    def anew(self) -> None:
        """Nothing was seen of it: another replica begins."""
        self.failed = False  # the replica sent an error instead of more
        self._prompt: list[int] = []
        self._ids: list[int] = []  # whose text the client has
        self._pending: list[int] = []  # after those

    def first(self) -> bytes:
        """The body to send first."""
        return orjson.dumps({**self._document, "return_token_ids": True})

    def again(self, max_model_len: int | None) -> bytes | None:
        """The body for /v1/completions that asks for the rest; None: `broken` says why not."""
        known = [*self._prompt, *self._ids]
        rest = self._rest(len(known), max_model_len)
        if not self._prompt:
            self.broken = self.broken or "the replica told no token ids"
        if self.broken or rest is None:
            return None
        document = {key: self._document[key] for key in _SAME if key in self._document}
        least = self._document.get("min_tokens")
        if isinstance(least, int):
            document["min_tokens"] = max(0, least - len(self._ids))
        self._before, self._pending = len(self._ids), []
        self._moved, self.failed = True, False
        self.recomputed += len(known)
        return orjson.dumps(
            {
                **document, "prompt": known, "max_tokens": rest, "stream": True,
                "return_token_ids": True,
            }
        )  # fmt: skip

    def _rest(self, known: int, max_model_len: int | None) -> int | None:
        given = self._document.get("max_completion_tokens") if self.chat else None
        given = given or self._document.get("max_tokens")
        if given is None and not self.chat:
            given = _DEFAULT_TOKENS
        limits = [given - len(self._ids)] if isinstance(given, int) else []
        limits += [max_model_len - known] if max_model_len is not None else []
        if not limits or min(limits) < 1:
            self.broken = "nobody knows how long it may get"
            return None
        return min(limits)

    @property
    def known(self) -> int:
        """Tokens of the prompt and of the answer so far."""
        return len(self._prompt) + len(self._ids)

    def translate(self, data: bytes) -> bytes:
        """Whole events as the client should see them."""
        passed = []
        for event in data.split(b"\n\n"):
            if not event.startswith(b"data:") or event.endswith(b"[DONE]"):
                passed.append(event)
                continue
            try:
                chunk = orjson.loads(event[5:])
                shown = self._chunk(chunk, chunk["choices"])
            except (ValueError, LookupError, TypeError, AttributeError):
                self.failed = True
            if self.failed:
                return b"".join(b"%b\n\n" % one for one in passed)
            if shown:
                passed.append(b"data: " + orjson.dumps(chunk))
        return b"\n\n".join(passed)

    def ending(self) -> bytes:
        """What a stream still lacks whose last token was seen."""
        if not self._usage_due:
            return _DONE
        usage = self._usage({"completion_tokens": len(self._ids) - self._before})
        last = {**self._shape, "choices": [], "usage": usage}
        return b"data: %b\n\n%b" % (orjson.dumps(last), _DONE)

    def _chunk(self, chunk: dict[str, Any], choices: Any) -> bool:
        """Whether the client sees it."""
        if self._moved and isinstance(chunk.get("usage"), dict):
            chunk["usage"] = self._usage(chunk["usage"])
        if not choices:
            self._usage_due = False
            self._like_the_first(chunk)
            return True
        choice = choices[0]
        if len(choices) > 1 or choice.get("index", 0) != 0:
            self.broken = "it has several choices"
            return True
        if choice.get("finish_reason") in ("abort", "error"):
            self.failed = True
            return False
        self._learn(chunk, choice)
        if choice.get("delta") == {} and not self.finished:
            return False  # sent only for its ids
        self._like_the_first(chunk)
        if self.chat and self._moved:
            content = {"content": choice.pop("text", "")}
            choices[0] = {"index": 0, "delta": content, **choice}
            choices[0].pop("prompt_token_ids", None)
        return True

    def _learn(self, chunk: dict[str, Any], choice: dict[str, Any]) -> None:
        """Take the tokens, and take them out where the client did not ask for them."""
        delta = choice.get("delta")
        text = choice.get("text") if delta is None else delta.get("content")
        if delta is not None and any(delta.get(key) for key in delta.keys() - {"role", "content"}):
            self.broken = "it is more than text"
        ids = choice.get("token_ids")
        if ids is None and text:
            self.broken = self.broken or "the replica told no token ids"
        for owner in (chunk, choice):
            prompt = owner.get("prompt_token_ids")
            if isinstance(prompt, list) and not self._prompt:
                self._prompt = prompt
            if "prompt_token_ids" in owner and (self._moved or not self._shown):
                owner["prompt_token_ids"] = None
        if "token_ids" in choice and not self._shown:
            choice["token_ids"] = None
        self._pending += ids or ()
        self.finished = choice.get("finish_reason") is not None
        if text or self._shown or self.finished:
            self._ids += self._pending
            self._pending = []

    def _like_the_first(self, chunk: dict[str, Any]) -> None:
        if self._moved:
            chunk.update(self._shape)
        elif not self._shape:
            self._shape = {key: chunk.get(key) for key in _WHO}

    def _usage(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """Of the whole answer; what only one replica knows of its part is left out."""
        made = self._before + int(usage.get("completion_tokens") or 0)
        prompt = len(self._prompt)
        return {"prompt_tokens": prompt, "total_tokens": prompt + made, "completion_tokens": made}
