# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads of a node, over HTTP, whoever else is on the port."""

import asyncio
import gc
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from profiling.device.gpu import Identity
from slurm_green.node import metrics
from slurm_green.node.metrics import serve_metrics, text_of
from slurm_green.node.state import Reading

GPU = Identity(uuid="GPU-1", name='H100 "SXM"\\', vendor="nvidia", driver="580.0.emulated", index=1)
LABELS = {
    "gpu": "1",
    "UUID": "GPU-1",
    "device": "nvidia1",
    "modelName": 'H100 "SXM"\\',
    "Hostname": "n1",
    "DCGM_FI_DRIVER_VERSION": "580.0.emulated",
}


def test_names_units_and_labels_are_dcgms() -> None:
    reading = Reading(power_w=250.5, clock_mhz=1095, energy_j=1234567.891)
    text = text_of("n1", [GPU], {"GPU-1": reading})
    found = {
        # The parser adds what OpenMetrics wants of a counter; dcgm-exporter has no such suffix.
        sample.name.removesuffix("_total"): (sample.value, sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    assert "_total" not in text
    assert found == {
        "DCGM_FI_DEV_SM_CLOCK": (1095.0, LABELS),
        "DCGM_FI_DEV_POWER_USAGE": (250.5, LABELS),
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": (1234567891.0, LABELS),
    }


def test_what_is_unknown_has_no_line() -> None:
    text = text_of("n1", [GPU], {"GPU-1": Reading(power_w=0.0)})

    assert [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")] == [
        "DCGM_FI_DEV_POWER_USAGE"
    ]
    assert "{" not in text_of("n1", [GPU], {})


def test_who_asks_for_the_head_gets_nothing_behind_it() -> None:
    """AIPerf asks so first; a body would end its connection, and it would look no more."""

    async def heads(*paths: str) -> list[list[bytes]]:
        server = await serve_metrics("127.0.0.1:0", lambda: "hello 1\n")
        port = server.sockets[0].getsockname()[1]
        told = []
        for path in paths:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"HEAD {path} HTTP/1.1\r\nHost: n1\r\n\r\n".encode())
            told.append((await reader.read()).split(b"\r\n"))
            writer.transport.abort()
        server.close()
        return told

    found, lost = asyncio.run(heads("/metrics", "/"))

    assert found[0] == b"HTTP/1.1 200 OK"
    assert b"Content-Length: 8" in found
    assert lost[0] == b"HTTP/1.1 404 Not Found"
    assert found[-2:] == lost[-2:] == [b"", b""]


def test_connections_are_bounded_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody on the node can open them, and none may take what prolog and epilog need."""
    monkeypatch.setattr(metrics, "_MOST_CONNECTIONS", 2)

    async def run() -> None:
        server = await serve_metrics("127.0.0.1:0", lambda: "hello 1\n")
        port = server.sockets[0].getsockname()[1]

        async def heard(writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> bytes:
            try:
                writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.transport.abort()

        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        told = [await heard(writer, reader) for reader, writer in reversed(opened)]
        assert [one[:15] for one in told] == [b"", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"]
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await heard(writer, reader)).endswith(b"hello 1\n")
        server.close()

    asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("sent", [b"", b"GET /met", b"x" * 9000, b"POST /metrics HTTP/1.1\r\n\r\n"])
def test_who_asks_in_another_way_is_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """Too late, half, too long, or otherwise: cut off or told so, and not a word in the log."""
    monkeypatch.setattr(metrics, "_REQUEST_S", 0.1)

    async def run() -> bytes:
        server = await serve_metrics("127.0.0.1:0", lambda: "hello 1\n")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.sockets[0].getsockname()[1]
        )
        writer.write(sent)
        if sent == b"GET /met":
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()
            server.close()
            while len(asyncio.all_tasks()) > 2:  # this one, and the one that waits for it
                await asyncio.sleep(0.01)

    found = asyncio.run(asyncio.wait_for(run(), 60))
    gc.collect()
    assert found[:12] == (b"HTTP/1.1 404" if sent.startswith(b"POST") else b"")
    assert caplog.messages == []


def test_over_http_beside_who_never_asks() -> None:
    async def run() -> tuple[str, int, bytes]:
        server = await serve_metrics("127.0.0.1:0", lambda: "hello 1\n")
        port = server.sockets[0].getsockname()[1]
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]

        def get(path: str) -> tuple[str, int, bytes]:
            url = f"http://127.0.0.1:{port}{path}"
            with urllib.request.urlopen(url, timeout=60) as response:
                return response.headers["Content-Type"], response.status, response.read()

        found = await asyncio.to_thread(get, "/metrics")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
        for _, one in [*idle, (reader, writer)]:
            one.transport.abort()
        server.close()
        return found

    kind, status, body = asyncio.run(run())

    assert kind.startswith("text/plain")
    assert (status, body) == (200, b"hello 1\n")
