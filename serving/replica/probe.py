# SPDX-License-Identifier: Apache-2.0
"""What a vLLM server says when asked: health, warm-up, what is in flight, whether tokens move.

The trap: a server whose engine hangs answers /health with 200 all the while; only its token
counters tell.
"""

import http.client
import json
from dataclasses import dataclass

from serving.replica.machine import Event
from serving.vllm.gauges import gauges

__all__ = ["Flight", "Probe", "flight"]


@dataclass(frozen=True, slots=True)
class Flight:
    """Requests in the server, and tokens since its start."""

    requests: int
    tokens: float


def flight(metrics: bytes) -> Flight | None:
    """From vLLM's /metrics, all engines together; None where it does not say."""
    found = gauges(metrics)
    requests = [value for name, value in found.items() if name.startswith("num_requests_")]
    tokens = sum(value for name, value in found.items() if name.endswith("_tokens_total"))
    return Flight(round(sum(requests)), tokens) if requests else None


class Probe:
    """One server on this machine."""

    def __init__(self, host: str, port: int, key: str, model: str, *, answer_s: float = 5.0):
        self._host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self._port, self._key, self._model, self._answer_s = port, key, model, answer_s

    def health(self) -> Event:
        """HEALTHY, SICK, or DEAD where the server says that its engine is lost."""
        status, _ = self._ask("GET", "/health")
        if status == 503:
            return Event.DEAD
        return Event.HEALTHY if status == 200 else Event.SICK

    def warm(self, answer_s: float = 120.0) -> Event:
        """A first request, which is slow; a model that does not generate needs none."""
        asked = {"model": self._model, "prompt": "0", "max_tokens": 2}
        status, _ = self._ask("POST", "/v1/completions", json.dumps(asked), answer_s)
        return Event.WARMED if status is not None and status < 500 else Event.COLD

    def flight(self) -> Flight | None:
        """What is in it now; None: nobody can tell."""
        status, body = self._ask("GET", "/metrics")
        return flight(body) if status == 200 else None

    def _ask(
        self, method: str, path: str, body: str | None = None, answer_s: float | None = None
    ) -> tuple[int | None, bytes]:
        peer = http.client.HTTPConnection(
            self._host, self._port, timeout=answer_s or self._answer_s
        )
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            peer.request(method, path, body, headers)
            answer = peer.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            peer.close()
