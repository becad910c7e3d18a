# SPDX-License-Identifier: Apache-2.0
"""`x-sgreen-energy-j` on plain answers: `vllm serve --middleware serving.vllm.middleware.Energy`.

The front end asks the engine's own port (SLURM_GREEN_SERVE_METRICS) what the request cost; the
figure has idle time in it, and its last second is modelled. Streams have begun before anybody
knows, and pass untouched. Whatever goes wrong costs the header and never the answer.
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

        async def added(message: Message) -> None:
            if message["type"] == "http.response.start" and _plain(message):
                held.append(message)
                return
            if held:
                start = held.pop()
                start["headers"] = [*start["headers"], *await self._headers(message)]
                await send(start)
            await send(message)

        return await self._app(scope, receive, added)

    async def _headers(self, body: Message) -> list[tuple[bytes, bytes]]:
        found = _ID.search(body.get("body", b"")[:_HEAD])
        if found is None:
            return []
        try:
            told = await asyncio.wait_for(self._ask(found[1].decode()), _WAIT_S)
        except (OSError, ValueError, TimeoutError):
            return []
        return [
            (b"x-sgreen-energy-j", f"{told['energy_j']:.3f}".encode()),
            (b"x-sgreen-energy-source", str(told.get("source")).encode("ascii", "replace")),
        ]

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


def _plain(message: Message) -> bool:
    kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
    return message["status"] == 200 and any(one.startswith(b"application/json") for one in kinds)
