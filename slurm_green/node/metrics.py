# SPDX-License-Identifier: Apache-2.0
"""A node's readings for Prometheus, under the names and labels of NVIDIA's dcgm-exporter.

Dashboards made for DCGM read them as they are. The trap: what an emulated GPU shows is no
measurement; its driver version, a label here, says so.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping

from profiling.device.gpu import Identity
from slurm_green.node.state import Reading

__all__ = ["serve_metrics", "text_of"]

_REQUEST_S = 2.0
_MOST_BYTES = 4096
_MOST_CONNECTIONS = 8
# Name, type, attribute of Reading, factor to DCGM's unit, help.
_METRICS = (
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "clock_mhz", 1.0, "SM clock frequency (in MHz)."),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "power_w", 1.0, "Power draw (in W)."),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "energy_j",
        1e3,
        "Total energy consumption since the driver was loaded (in mJ).",
    ),
)


def text_of(node: str, gpus: Iterable[Identity], readings: Mapping[str, Reading]) -> str:
    """The exposition text; a GPU that does not tell something has no line of it."""
    lines = []
    shown = list(gpus)
    for name, kind, attribute, factor, doc in _METRICS:
        lines += [f"# HELP {name} {doc}", f"# TYPE {name} {kind}"]
        for gpu in shown:
            value = getattr(readings.get(gpu.uuid), attribute, None)
            if value is not None:
                lines.append(f"{name}{{{_labels(node, gpu)}}} {value * factor:.10g}")
    return "\n".join(lines) + "\n"


async def serve_metrics(address: str, text: Callable[[], str]) -> asyncio.Server:
    """Answer GET and HEAD on host:port with the text. OSError where the address is taken."""
    host, _, port = address.rpartition(":")
    open_now = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        if open_now >= _MOST_CONNECTIONS:
            writer.transport.abort()
            return
        open_now += 1
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_S)
            writer.write(_response(head, text))
            await asyncio.wait_for(writer.drain(), _REQUEST_S)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), _REQUEST_S)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            open_now -= 1
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()

    return await asyncio.start_server(serve, host.strip("[]"), int(port), limit=_MOST_BYTES)


def _response(head: bytes, text: Callable[[], str]) -> bytes:
    words = head.split(b" ", 2)
    if words[0] in {b"GET", b"HEAD"} and words[1:2] == [b"/metrics"]:
        status, body = "200 OK", text().encode()
    else:
        status, body = "404 Not Found", b"there is GET /metrics\n"
    header = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    # To who asked for the head alone a body is an error: AIPerf would take the node for lost.
    return header.encode() + (b"" if words[0] == b"HEAD" else body)


def _labels(node: str, gpu: Identity) -> str:
    labels = {
        "gpu": str(gpu.index),
        "UUID": gpu.uuid,
        "device": f"{gpu.vendor}{gpu.index}",
        "modelName": gpu.name,
        "Hostname": node,
        "DCGM_FI_DRIVER_VERSION": gpu.driver,
    }
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
