# SPDX-License-Identifier: Apache-2.0
"""What the router's data plane costs, next to other proxies, in one run.

    python benchmarks/router_data_plane.py [--peers PYTHON] [--seconds 3] [--rounds 5] [--json]

Every proxy stands on core 0 before the same trivial upstream on core 1, where wrk runs too; arms
take turns, so that the machine's noise falls on all alike, and figures are medians over rounds.
`cpu_us` is the proxy's own processor time per request: it hardly sees who else uses the cores.
Ours has authentication, metrics, access log and a policy on, and two replicas as the others have.
PYTHON is one of an environment with vllm-router, starlette, uvicorn and httpx; without it those
arms are left out. Needs wrk.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

KEY = "a-key-for-the-benchmark"
BODY = json.dumps({"model": "m", "max_tokens": 128, "prompt": "word " * 190})
WRK = f"""wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {KEY}"
wrk.body = [==[{BODY}]==]
"""
UPSTREAM = """
import asyncio, json, sys, time
import httptools, uvloop
TEXT = json.dumps({"id": "cmpl-0", "object": "text_completion", "model": "m", "choices": [
    {"index": 0, "text": "x" * 560, "finish_reason": "length"}], "usage": {"prompt_tokens": 200,
    "completion_tokens": 128, "total_tokens": 328}}).encode()
HEAD = b"HTTP/1.1 200 OK\\r\\ncontent-type: "
PLAIN = HEAD + b"application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(TEXT) + TEXT
EMPTY = HEAD + b"text/plain\\r\\ncontent-length: 0\\r\\n\\r\\n"
STREAM = HEAD + b"text/event-stream\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n"
class Peer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)
        self.body = b""
    def data_received(self, data):
        self.parser.feed_data(data)
    def on_body(self, data):
        self.body += data
    def on_message_complete(self):
        body, self.body = self.body, b""
        if self.parser.get_method() != b"POST":
            self.transport.write(EMPTY)
        elif b'"stream":true' in body or b'"stream": true' in body:
            asyncio.get_running_loop().create_task(self.stream(json.loads(body)))
        else:
            self.transport.write(PLAIN)
    async def stream(self, asked):
        self.transport.write(STREAM)
        for _ in range(asked["max_tokens"]):
            await asyncio.sleep(asked["gap_s"])
            event = b'data: {"at": %.6f, "choices": [{"index": 0, "text": "word"}]}\\n\\n' % (
                time.monotonic())
            self.transport.write(b"%x\\r\\n%b\\r\\n" % (len(event), event))
        self.transport.write(b"e\\r\\ndata: [DONE]\\n\\n\\r\\n0\\r\\n\\r\\n")
async def main():
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Peer, "127.0.0.1", int(port), backlog=4096)
               for port in sys.argv[1:]]
    await servers[0].serve_forever()
uvloop.run(main())
"""
HTTPX = """
import sys
import httpx, uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=4096))
async def relay(request):
    sent = client.build_request("POST", sys.argv[2] + request.url.path,
        content=await request.body(), headers={"content-type": "application/json"})
    answer = await client.send(sent, stream=True)
    return StreamingResponse(answer.aiter_raw(), answer.status_code, dict(answer.headers))
app = Starlette(routes=[Route("/v1/completions", relay, methods=["POST"])])
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop")
"""


def _ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@contextmanager
def _process(argv: list[str], core: int, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        _await_port(process, port)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise SystemExit(f"{process.args!r} did not come up") from None
            time.sleep(0.1)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def _wrk(script: Path, port: int, connections: int, seconds: int) -> dict[str, float]:
    """Requests per second, median latency; raises where anything failed."""
    out = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency",
         "-s", script, f"http://127.0.0.1:{port}/v1/completions"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in out or "Socket errors" in out or " 0 requests in" in out:
        raise SystemExit(f"requests to port {port} failed:\n{out}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    total = re.search(r"(\d+) requests in", out)
    half = re.search(r"50%\s+([\d.]+)(us|ms|s)", out)
    assert rate is not None and half is not None and total is not None, out
    unit = {"us": 1.0, "ms": 1e3, "s": 1e6}[half[2]]
    return {"rps": float(rate[1]), "p50_us": float(half[1]) * unit, "requests": float(total[1])}


def _lags(port: int, streams: int, tokens: int, gap_s: float) -> list[float]:
    """Milliseconds from each event's leave at the upstream to its arrival here."""
    asked = json.dumps(
        {"model": "m", "stream": True, "prompt": "a", "max_tokens": tokens, "gap_s": gap_s}
    )
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(asked)}\r\n\r\n{asked}"
    ).encode()
    lags: list[float] = []

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        left, done = b"", False
        while not done:
            data = await reader.read(65536)
            if not data:
                raise SystemExit("a stream broke")
            now_s = time.monotonic()
            done = b"[DONE]" in data
            data = left[-200:] + data if left else data
            end = data.rfind(b"\n\n")
            found = re.findall(rb'"at": ([\d.]+)', data[: end if end >= 0 else 0])
            lags.extend((now_s - float(at)) * 1e3 for at in found)
            left = data[end:] if end >= 0 else data
        writer.close()

    async def many() -> None:
        await asyncio.gather(*(one() for _ in range(streams)))

    import uvloop

    uvloop.run(many())
    return lags


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _open_streams(port: int, pid: int, count: int) -> float:
    """MiB of the process with so many streams open."""
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
        "content-type: application/json\r\n"
    )
    asked = json.dumps({"model": "m", "stream": True, "max_tokens": 40, "gap_s": 0.25})
    request = f"{head}content-length: {len(asked)}\r\n\r\n{asked}".encode()
    most = 0.0
    began = ended = 0

    async def one() -> None:
        nonlocal began, ended
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        last = await reader.read(65536)
        began += 1
        while more := await reader.read(65536):
            last = (last + more)[-40:]
            if last.endswith(b"0\r\n\r\n"):
                ended += b"[DONE]" in last
                break
        writer.close()

    async def many() -> None:
        nonlocal most
        tasks = []
        for at in range(count):
            tasks.append(asyncio.create_task(one()))
            if at % 50 == 49:
                await asyncio.sleep(0.05)
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.1)
            most = max(most, _rss_mib(pid)) if began == count else most
        await asyncio.gather(*tasks)

    import uvloop

    uvloop.run(many())
    if ended != count:
        raise SystemExit(f"{count - ended} of {count} streams broke")
    return most


def _config(home: Path, port: int, upstreams: list[int]) -> Path:
    (home / "keys").write_text(f"{KEY}\n")
    rows = "".join(
        f'[[replica]]\nurl = "http://127.0.0.1:{one}"\nmodel = "m"\nsite = "local"\n'
        for one in upstreams
    )
    path = home / "route.toml"
    path.write_text(
        f'[listen]\nport = {port}\naccess_log = "{home}/access.jsonl"\n{rows}'
        f"[limits]\nrunning_per_replica = 4096\n"
        f'[[tenant]]\nname = "t"\nkey_file = "{home}/keys"\n'
    )
    return path


@click.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Python with the other proxies.")
@click.option("--seconds", default=3, show_default=True, help="Of load per arm and round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--streams", default=2000, show_default=True, help="Held open for memory; 0: none.")
@click.option("--json", "as_json", is_flag=True)
def main(peers: Path | None, seconds: int, rounds: int, streams: int, as_json: bool) -> None:
    """Compare; see the module."""
    if shutil.which("wrk") is None:
        raise SystemExit("needs wrk: apt-get install wrk")
    ours, rust, slow, up, up_too = _ports(5)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        script = home / "load.lua"
        script.write_text(WRK)
        own = [str(Path(sys.executable).with_name("sgreen"))]
        arms = {"direct": up, "sgreen route": ours}
        with _process([sys.executable, "-c", UPSTREAM, str(up), str(up_too)], 1, up):
            urls = [f"http://127.0.0.1:{one}" for one in (up, up_too)]
            commands = {
                "sgreen route": (
                    [*own, "route", "--config", str(_config(home, ours, [up, up_too]))], ours,
                ),
            }  # fmt: skip
            if peers is not None:
                commands["vllm-router"] = (
                    [str(peers), "-m", "vllm_router.launch_router", "--host", "127.0.0.1", "--port",
                     str(rust), "--worker-urls", *urls, "--policy", "round_robin", "--log-level",
                     "error", "--prometheus-port", str(_ports(1)[0]),
                     "--max-concurrent-requests", "4096"], rust,
                )  # fmt: skip
                commands["starlette+httpx"] = ([str(peers), "-c", HTTPX, str(slow), urls[0]], slow)
            figures: dict[tuple[str, int], list[dict[str, float]]] = {}
            with _all(commands) as running:
                arms |= {name: port for name, (_, port) in commands.items()}
                time.sleep(3)  # health checks
                for _ in range(rounds):
                    for connections in (1, 32):
                        for name, port in arms.items():
                            process = running.get(name)
                            before_s = _cpu_s(process.pid) if process else 0.0
                            found = _wrk(script, port, connections, seconds)
                            spent_s = _cpu_s(process.pid) - before_s if process else 0.0
                            found["cpu_us"] = spent_s / found["requests"] * 1e6
                            figures.setdefault((name, connections), []).append(found)
                result["load"] = {
                    f"{name}, {connections} at once": {
                        key: statistics.median(one[key] for one in rows)
                        for key in ("rps", "p50_us", "cpu_us")
                    }
                    for (name, connections), rows in figures.items()
                }
                result["ratios"] = _ratios(figures)
                result["lags_ms"] = {}
                for name, port in arms.items():
                    lags = _lags(port, 16, 50, 0.02)
                    result["lags_ms"][name] = {
                        "p50": _quantile(lags, 0.5), "p99": _quantile(lags, 0.99),
                    }  # fmt: skip
                if streams:
                    mib = _open_streams(ours, running["sgreen route"].pid, streams)
                    result["open_streams"] = {"count": streams, "rss_mib": mib}
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"{'':34}{'requests/s':>12}{'p50 us':>10}{'cpu us':>10}")
    for name, row in result["load"].items():
        click.echo(f"{name:34}{row['rps']:12.0f}{row['p50_us']:10.0f}{row['cpu_us']:10.1f}")
    for name, value in result["ratios"].items():
        click.echo(f"{name}: {value:.2f}")
    for name, row in result["lags_ms"].items():
        click.echo(
            f"events of 16 streams, {name}: p50 {row['p50']:.2f} ms, p99 {row['p99']:.2f} ms"
        )
    if peers is None:
        click.echo("vllm-router and starlette+httpx: left out, give --peers")
    if streams:
        click.echo(f"{streams} open streams: {result['open_streams']['rss_mib']:.0f} MiB")


@contextmanager
def _all(
    commands: dict[str, tuple[list[str], int]],
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    if not commands:
        yield {}
        return
    (name, (argv, port)), *rest = commands.items()
    with _process(argv, 0, port) as process, _all(dict(rest)) as others:
        yield {name: process, **others}


def _ratios(figures: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, float]:
    """Of ours to each other one, pair by pair in a round; medians."""
    ratios = {}
    for name in {name for name, _ in figures} - {"direct", "sgreen route"}:
        for key, connections in (("rps", 32), ("p50_us", 1), ("cpu_us", 32)):
            pairs = zip(
                figures["sgreen route", connections], figures[name, connections], strict=True
            )
            ratios[f"{key}, {connections} at once, ours / {name}"] = statistics.median(
                mine[key] / other[key] for mine, other in pairs
            )
    return ratios


if __name__ == "__main__":
    main()
