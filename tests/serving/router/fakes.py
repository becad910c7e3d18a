# SPDX-License-Identifier: Apache-2.0
"""A replica that talks as vLLM does and fails on command, a router around it, and a client."""

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvloop

from serving.router import server as server_module
from serving.router.config import loads
from serving.router.server import Server
from serving.router.settings import Settings

MODEL = "m"
HOST = "127.0.0.1"
DRAIN = "cannot schedule new futures after shutdown"


# The shortest of the time-outs below is 0.1 s.
STOOD_S = 0.08


def run(
    main: Callable[[], Coroutine[Any, Any, None]], seconds: float = 120.0, *, tries: int = 5
) -> None:
    """A test's body; once more where it failed while the machine stood still.

    Time-outs are tenths of a second here. Who loses the core for longer sees them run out, whether
    or not anything is wrong; what is wrong fails on a machine that runs as well.
    """
    for left in reversed(range(tries)):
        stood: list[float] = []
        try:
            _once(main, seconds, stood)
            return
        except BaseException:
            if not left or not stood:
                raise


def _once(
    main: Callable[[], Coroutine[Any, Any, None]], seconds: float, stood: list[float]
) -> None:
    """`stood`: every time that the loop came late by `STOOD_S` or more."""

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + 0.01
            await asyncio.sleep(0.01)
            if (late_s := time.monotonic() - due_s) > STOOD_S:
                stood.append(late_s)

    async def bounded() -> None:
        watcher = asyncio.create_task(watch())
        try:
            async with asyncio.timeout(seconds):
                await main()
        finally:
            watcher.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(bounded())


async def until(met: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something."""
    async with asyncio.timeout(seconds):
        while not met():
            await asyncio.sleep(0.005)


def next_token(ids: list[int]) -> int:
    """The whole model. Below 1000 a letter; from there on halves of a character."""
    if ids and 1000 <= ids[-1] < 2000:
        return 2000 + ids[-1] - 1000
    mixed = (sum(ids) * 31 + len(ids) * 7) % 30
    return 1000 + mixed if mixed >= 26 else 97 + mixed


def text_of(token: int) -> str:
    """The first half of a character is nothing yet."""
    if token < 1000:
        return chr(token)
    return "" if token < 2000 else chr(0xE0 + token - 2000)


def answer_of(prompt: str, tokens: int) -> str:
    """What the model says."""
    ids = [ord(one) for one in prompt]
    words = []
    for _ in range(tokens):
        ids.append(next_token(ids))
        words.append(text_of(ids[-1]))
    return "".join(words)


@dataclass
class Fault:
    """What goes wrong with one request; `at` counts events."""

    kind: str
    at: int = 0
    status: int = 500
    text: str = "broken"


@dataclass
class Seen:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeReplica:
    """Answers every request by the next fault, or well where none is left."""

    def __init__(self, model: str = MODEL, key: str | None = None) -> None:
        self.model, self.key = model, key
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.seen: list[Seen] = []
        self.health = 200
        self.gap_s = 0.0
        self.open = 0  # connections
        self.running = 0
        self.aborted = 0
        self.port = 0
        self.hold = asyncio.Event()
        self.hold.set()
        self.metrics = ""
        self.extra = ""  # headers
        self.pad = ""  # in every event
        self.ends = "\n"  # of lines of events
        self.late = False  # an event's last byte comes with the next one
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self) -> "FakeReplica":
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def kill(self) -> None:
        """As SIGKILL."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """All connections, not the listener."""
        for one in tuple(self._writers):
            one.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, RuntimeError, asyncio.IncompleteReadError):
            pass  # uvloop raises RuntimeError on a connection that is gone
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            await self._get(path, writer)
            return False
        asked = json.loads(body)
        self.seen.append(Seen(path, headers, asked))
        fault = self.faults.popleft() if self.faults else self.always
        self.running += 1
        try:
            if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
                fault = Fault("status", status=401)
            return await self._post(path, asked, fault, writer)
        except OSError:
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    async def _get(self, path: str, writer: asyncio.StreamWriter) -> None:
        texts = {
            "/health": "",
            "/metrics": self.metrics,
            "/v1/models": json.dumps({"data": [{"id": self.model, "max_model_len": 4096}]}),
        }
        status = self.health if path == "/health" else 200
        text = texts.get(path, "")
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        await writer.drain()

    async def _post(
        self, path: str, asked: dict[str, Any], fault: Fault | None, writer: asyncio.StreamWriter
    ) -> bool:
        kind = "" if fault is None else fault.kind
        await self.hold.wait()
        if kind == "cut":
            writer.transport.abort()
            return False
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "status" and fault is not None:
            self._plain(writer, fault.status, json.dumps({"error": {"message": fault.text}}))
            return True
        if kind == "garbage":
            writer.write(b"this is no HTTP\r\n\r\n")
            return True
        if asked.get("stream"):
            return await self._stream(path, asked, fault, writer)
        await asyncio.sleep(self.gap_s)
        text = json.dumps(self._whole(path, asked))
        if kind == "error200":
            text = json.dumps({"object": "error", "message": "no"})
        if kind == "short":  # says less than it sends
            self._plain(writer, 200, text, len(text) - 10)
        elif kind == "long":
            self._plain(writer, 200, text, len(text) + 10)
            writer.close()
        elif kind == "half":
            self._plain(writer, 200, text[:20], len(text))
            await writer.drain()
            writer.transport.abort()
        elif kind == "in chunks":
            start = f"HTTP/1.1 200 x\r\ncontent-type: application/json\r\n{self.extra}"
            writer.write(f"{start}transfer-encoding: chunked\r\n\r\n".encode())
            for at in range(0, len(text), 10_000):
                _chunk(writer, text[at : at + 10_000])
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(b"0\r\n\r\n")
        else:
            self._plain(writer, 200, text)
        await writer.drain()
        return kind in ("", "in chunks")

    def _plain(
        self, writer: asyncio.StreamWriter, status: int, text: str, length: int | None = None
    ) -> None:
        length = len(text.encode()) if length is None else length
        head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{self.extra}"
        writer.write(f"{head}content-length: {length}\r\n\r\n{text}".encode())

    def _prompt(self, asked: dict[str, Any]) -> list[int]:
        prompt = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        if isinstance(prompt, list) and isinstance(prompt[0], str):
            prompt = prompt[0]
        return [ord(one) for one in prompt] if isinstance(prompt, str) else list(prompt)

    def _whole(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        if path.endswith("embeddings"):
            return {"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 1}}
        ids = self._prompt(asked)
        count = asked.get("max_tokens") or 16
        answer = answer_of("".join(map(chr, ids)), count)
        usage = {"prompt_tokens": len(ids), "completion_tokens": count}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
        choice |= {"text": answer} if "prompt" in asked else {"message": {"content": answer}}
        return {"id": "x", "model": self.model, "choices": [choice], "usage": usage}

    def _events(self, path: str, asked: dict[str, Any]) -> list[str]:
        chat = path.endswith("chat/completions")
        ids, told = self._prompt(asked), asked.get("return_token_ids")
        count, made = asked.get("max_tokens") or 16, 0
        who = {
            "id": f"id-{self.port}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": self.port, "model": self.model, **({"pad": self.pad} if self.pad else {}),
        }  # fmt: skip
        prompt_ids: list[int] | None = list(ids) if told else None
        events: list[dict[str, Any]] = []
        if chat:
            first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None,
                "finish_reason": None}  # fmt: skip
            events.append({**who, "choices": [first], "prompt_token_ids": prompt_ids})
        for at in range(count):
            ids.append(next_token(ids))
            made += 1
            text = text_of(ids[-1])
            choice: dict[str, Any] = {"index": 0}
            choice |= {"delta": {"content": text}} if chat else {"text": text}
            choice |= {"logprobs": None, "finish_reason": "length" if at == count - 1 else None}
            if not chat:
                choice["prompt_token_ids"] = prompt_ids if at == 0 else None
            choice["token_ids"] = [ids[-1]] if told else None
            events.append({**who, "choices": [choice]})
        if (asked.get("stream_options") or {}).get("include_usage"):
            usage = {"prompt_tokens": len(ids) - made, "total_tokens": len(ids),
                "completion_tokens": made}  # fmt: skip
            events.append({**who, "choices": [], "usage": usage})
        return [*(f"data: {_compact(one)}\n\n" for one in events), "data: [DONE]\n\n"]

    async def _stream(
        self, path: str, asked: dict[str, Any], fault: Fault | None, writer: asyncio.StreamWriter
    ) -> bool:
        kind, at = ("", 0) if fault is None else (fault.kind, fault.at)
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n{self.extra}"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )
        await writer.drain()
        held = ""
        for place, event in enumerate(self._events(path, asked)):
            if kind and place == at:
                if kind == "die":
                    await writer.drain()
                    await asyncio.sleep(0.01)
                    writer.transport.abort()
                    return False
                if kind == "stall":
                    await asyncio.Event().wait()
                if kind == "end":
                    writer.write(b"0\r\n\r\n")
                    return True
                if kind == "half event":
                    _chunk(writer, event[: len(event) // 2])
                    await writer.drain()
                    await asyncio.sleep(0.01)
                    writer.transport.abort()
                    return False
                if kind == "error event":
                    error = {"error": {"message": "engine is dead", "code": 500}}
                    _chunk(writer, f"data: {json.dumps(error)}\n\n")
                    _chunk(writer, "data: [DONE]\n\n")
                    writer.write(b"0\r\n\r\n")
                    return True
            text = held + event.replace("\n", self.ends)
            text, held = (text[:-1], text[-1:]) if self.late else (text, "")
            _chunk(writer, text)
            await writer.drain()
            await asyncio.sleep(self.gap_s)
        if held:
            _chunk(writer, held)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _compact(one: object) -> str:
    return json.dumps(one, separators=(",", ":"), ensure_ascii=False)


def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True  # it ended as HTTP says
    times_s: list[float] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """Of a stream; DONE as it is."""
        words = self.body.decode().split("\n\n")
        assert words[-1] == "", words[-1]
        return [
            one[6:] if one.endswith("[DONE]") else json.loads(one[6:]) for one in words[:-1] if one
        ]

    @property
    def text(self) -> str:
        """All words of a stream."""
        chunks = [one for one in self.events if isinstance(one, dict)]
        choices = [choice for one in chunks for choice in one.get("choices", ())]
        return "".join(one["text"] if "text" in one else one["delta"]["content"] for one in choices)

    @property
    def done(self) -> bool:
        return self.whole and self.body.endswith(b"data: [DONE]\n\n")


class Caller:
    """A connection to the router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, port: int, *, limit: int = 2**24, **more: Any) -> "Caller":
        return cls(*await asyncio.open_connection(HOST, port, limit=limit, **more))

    def send(
        self, path: str, asked: object = None, *, method: str = "POST", headers: str = ""
    ) -> None:
        body = b"" if asked is None else json.dumps(asked).encode()
        self.writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }
        return int(lines[0].split(" ")[1]), headers

    async def read(self) -> Answer:
        status, headers = await self.head()
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
            return Answer(status, headers, body)
        parts, times_s = [], []
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                parts.append((await self.reader.readexactly(size + 2))[:-2])
                times_s.append(asyncio.get_running_loop().time())
            await self.reader.readexactly(2)
        except (asyncio.IncompleteReadError, OSError):
            return Answer(status, headers, b"".join(parts), False, times_s)
        return Answer(status, headers, b"".join(parts), True, times_s)

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Rig:
    """A router in this loop."""

    server: Server
    task: asyncio.Task[None]

    async def ask(self, path: str = "/v1/completions", asked: object = None, **more: Any) -> Answer:
        """One request on its own connection."""
        caller = await Caller.at(self.server.port)
        try:
            caller.send(path, asked, **more)
            return await caller.read()
        finally:
            caller.close()

    async def complete(self, prompt: str = "abc", tokens: int = 8, **more: Any) -> Answer:
        asked = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, **more}
        return await self.ask("/v1/completions", asked)

    async def chat(self, prompt: str = "abc", tokens: int = 8, **more: Any) -> Answer:
        messages = [{"role": "user", "content": prompt}]
        asked = {"model": MODEL, "messages": messages, "max_tokens": tokens, **more}
        return await self.ask("/v1/chat/completions", asked)

    def clean(self) -> bool:
        """Nothing is left of any request."""
        relay, fleet = self.server.relay, self.server.fleet
        return not relay.live and all(
            one.own == 0 and not one.exchanges and one.view.running == one.foreign
            for one in fleet.replicas.values()
        )


def settings_for(replicas: list[FakeReplica], more: str = "", *, resume: bool = False) -> Settings:
    """Quick checks and short times; each replica is its own site."""
    text = "[listen]\nport = 0\n"
    for name, rows in _QUICK.items():
        if f"[{name}]" not in more:
            text += f"[{name}]\n{rows}\n"
    for at, one in enumerate(replicas):
        if "[[site]]" not in more:
            text += f'[[site]]\nname = "s{at}"\n'
        text += f'[[replica]]\nurl = "{one.url}"\nmodel = "{one.model}"\nsite = "s{at}"\n'
    if resume:
        text += f'[[model]]\nname = "{MODEL}"\nresume = true\n'
    return loads(text + more)


_QUICK = {
    "health": "period_s = 0.05\ntimeout_s = 0.2\nscrape = false",
    "breaker": "open_s = 0.1\nopen_max_s = 0.3",
    "timeouts": "first_byte_s = 0.2\nprogress_s = 0.2\nconnect_s = 0.3",
    "limits": "queue_s = 1.0",
}


@contextlib.asynccontextmanager
async def routed(settings: Settings, *, ready: bool = True) -> AsyncIterator[Rig]:
    """A router that runs until the block ends; `ready`: all replicas are up before."""
    server_module._TICK_S, server_module._READ_S = 0.05, 0.1
    server = Server(settings, lambda: settings)
    up = asyncio.Event()
    task = asyncio.get_running_loop().create_task(server.run(lambda _: up.set()))
    waiter = asyncio.get_running_loop().create_task(up.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        if ready:
            await until(lambda: all(r.view.ready for r in server.fleet.replicas.values()))
        yield Rig(server, task)
    finally:
        server.stop()
        await task


@contextlib.asynccontextmanager
async def replicas(count: int, **more: Any) -> AsyncIterator[list[FakeReplica]]:
    """Fake replicas."""
    made = [await FakeReplica(**more).start() for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.hold.set()
            one.kill()
