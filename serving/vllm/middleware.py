# SPDX-License-Identifier: Apache-2.0
"""Joules and carbon in answers: `vllm serve --middleware serving.vllm.middleware.Energy`.

The front end asks the engine's own port (SLURM_GREEN_SERVE_METRICS) what the request cost; the
figure has idle time in it, and its last second is modelled. Plain answers have it in headers
`x-sgreen-*`; the headers of a stream are gone before anybody knows, so there it goes into the
`usage` of the last chunk, where the client asked for usage. Whatever goes wrong costs the figure
and never the answer.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from serving.vllm.settings import PREFIX

__all__ = ["Energy"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_WAIT_S = 0.1
_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,200})"')
_HEAD = 4096  # of an answer, which begins with its id
_LAST = re.compile(rb'^data: \{[^\n]*"choices":\[\],[^\n]*?"usage":\{', re.MULTILINE)


class Energy:
    """The ASGI application around vLLM's."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._host, _, self._port = os.environ.get(f"{PREFIX}METRICS", "").rpartition(":")

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        """Pass on, and add the header."""
        asked = scope["type"] == "http" and scope.get("method") == "POST"
        if not asked or not self._host or not self._port.isdigit():
            return await self._app(scope, receive, send)
        held: list[Message] = []
        streams = False

        async def added(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                streams = _is(message, b"text/event-stream")
                if _is(message, b"application/json"):
                    held.append(message)
                    return
            elif held:
                start = held.pop()
                told = await self._told(message.get("body", b"")[:_HEAD])
                named = [(name.encode(), text.encode()) for name, text in told.items()]
                start["headers"] = [*start["headers"], *named]
                await send(start)
            elif streams and b'"usage":{' in message.get("body", b""):
                message["body"] = await self._in_usage(message["body"])
            await send(message)

        return await self._app(scope, receive, added)

    async def _in_usage(self, body: bytes) -> bytes:
        """The chunk with the figures in it, if it is the last one."""
        last = _LAST.search(body)
        if last is None:
            return body
        told = await self._told(last[0])
        text = "".join(f'"{name}":{_value(one)},' for name, one in told.items())
        return body[: last.end()] + text.encode() + body[last.end() :]

    async def _told(self, head: bytes) -> dict[str, str]:
        """What it cost, by the names that clients know; empty where nobody can tell."""
        found = _ID.search(head)
        if found is None:
            return {}
        try:
            told = await asyncio.wait_for(self._ask(found[1].decode()), _WAIT_S)
        except (OSError, ValueError, TimeoutError):
            return {}
        named = {"x-sgreen-energy-j": f"{told['energy_j']:.3f}"}
        if isinstance(grams := told.get("carbon_g"), int | float):
            named["x-sgreen-carbon-mg"] = f"{grams * 1e3:.3f}"
            named["x-sgreen-carbon-basis"] = "marginal"
        source = str(told.get("source")).encode("ascii", "replace").decode()
        return {**named, "x-sgreen-energy-source": source}

    async def _ask(self, name: str) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        try:
            writer.write(f"GET /requests/{quote(name, safe='')} HTTP/1.0\r\n\r\n".encode())
            answer = await reader.read()  # HTTP 1.0: to the end
        finally:
            writer.close()
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        if not isinstance(told, dict) or not isinstance(told.get("energy_j"), float):
            raise ValueError("no joules in the answer")
        return told


def _is(message: Message, kind: bytes) -> bool:
    kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
    return message["status"] == 200 and any(one.startswith(kind) for one in kinds)


def _value(text: str) -> str:
    """A number as it is, anything else as JSON text."""
    try:
        return repr(float(text))
    except ValueError:
        return json.dumps(text)
