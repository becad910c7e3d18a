# SPDX-License-Identifier: Apache-2.0
"""Asks every replica, again and again, whether it is well and what it has to do.

`/health` of vLLM is 200 while it drains, hangs or is paused, so it only says who is down. With
`scrape` vLLM's `/metrics` tell the requests that other routers brought, and whether tokens still
come: a replica with work that computes nothing for `progress_s` hangs.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

import orjson

from serving.router.replica import Replica
from serving.router.settings import Settings
from serving.router.upstream import OURS
from serving.vllm.gauges import gauges

__all__ = ["Checks"]

_MOST = 4 * 2**20
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d{1,12})\r\n")


class Checks:
    """One task per replica; `changed` hears of every replica that was looked at, `lost` of those
    that are down or hang."""

    def __init__(
        self,
        settings: Settings,
        now_s: Callable[[], float],
        changed: Callable[[Replica], None],
        lost: Callable[[Replica, str], None],
        bug: Callable[[BaseException], None],
    ) -> None:
        self.settings = settings
        self._now_s, self._changed, self._lost = now_s, changed, lost
        self._bug = bug
        self._tasks: dict[Replica, asyncio.Task[None]] = {}
        self._hurry: dict[Replica, asyncio.Event] = {}
        self._work: dict[Replica, tuple[float, float]] = {}  # tokens so far, since when

    def watch(self, replicas: set[Replica]) -> None:
        """These, and no others."""
        for one in self._tasks.keys() - replicas:
            self._tasks.pop(one).cancel()
            self._hurry.pop(one)
            self._work.pop(one, None)
        for one in replicas - self._tasks.keys():
            self._hurry[one] = asyncio.Event()
            self._tasks[one] = asyncio.get_running_loop().create_task(self._again(one))

    def suspect(self, replica: Replica) -> None:
        """Look at this one now."""
        if replica in self._hurry:
            self._hurry[replica].set()

    def stop(self) -> None:
        """No more."""
        self.watch(set())

    async def _again(self, replica: Replica) -> None:
        hurry = self._hurry[replica]
        while True:
            try:
                await self.look(replica)
            except Exception as error:
                # The next look comes all the same.
                self._bug(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.health.period_s):
                    await hurry.wait()
            hurry.clear()

    async def look(self, replica: Replica) -> None:
        """Once."""
        rules = self.settings.health
        status, _ = await self._get(replica, "/health")
        if status == 200:
            if not replica.healthy:
                # Another process may be there now.
                replica.drain_until_s = 0.0
                await self._length(replica)
            replica.misses, replica.healthy = 0, True
            if rules.scrape:
                await self._scrape(replica)
        else:
            replica.misses += 1
            # What refuses connections, or says that it is not well, is believed at once.
            if replica.healthy and (status is not None or replica.misses >= rules.failures):
                replica.healthy = False
                replica.changed(self._now_s())
                self._lost(replica, "replica is down")
            elif replica.misses < rules.failures:
                self.suspect(replica)
        self._changed(replica)

    async def _length(self, replica: Replica) -> None:
        status, body = await self._get(replica, "/v1/models")
        if status != 200:
            return
        with suppress(orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
            for row in orjson.loads(body)["data"]:
                length = row.get("max_model_len")
                if row.get("id") == replica.model and isinstance(length, int):
                    replica.max_model_len = length

    async def _scrape(self, replica: Replica) -> None:
        status, body = await self._get(replica, "/metrics")
        found = gauges(body) if status == 200 else {}
        running = found.get("num_requests_running")
        waiting = found.get("num_requests_waiting")
        if running is None or waiting is None:
            return
        view = replica.view
        replica.foreign = max(0, round(running + waiting) - replica.own)
        view.running = replica.own + replica.foreign
        view.waiting = round(waiting)
        view.kv_use = found.get("kv_cache_usage_perc")
        tokens = found.get("generation_tokens_total", 0.0) + found.get("prompt_tokens_total", 0.0)
        self._judge(replica, tokens)

    def _judge(self, replica: Replica, tokens: float) -> None:
        now_s = self._now_s()
        before = self._work.get(replica)
        if before is None or before[0] != tokens or not replica.own:
            self._work[replica] = tokens, now_s
            return
        oldest_s = min(one.sent_s for one in replica.exchanges)
        if now_s - max(before[1], oldest_s) > self.settings.timeouts.progress_s:
            self._work[replica] = tokens, now_s
            replica.breaker.failed(now_s, at_once=True)
            replica.changed(now_s)
            self._lost(replica, "replica hangs")

    async def _get(self, replica: Replica, path: str) -> tuple[int | None, bytes]:
        """Status and body; 0: it refuses connections; None: it does not answer in time.

        Raises OSError where it could not be asked.
        """
        writer = None
        try:
            async with asyncio.timeout(self.settings.health.timeout_s):
                reader, writer = await asyncio.open_connection(
                    replica.host, replica.port, ssl=replica.tls, limit=_MOST
                )
                writer.write(
                    f"GET {path} HTTP/1.0\r\n".encode()
                    + replica.head
                    + b"connection: close\r\n\r\n"
                )
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                most = _MOST if length is None else min(int(length[1]), _MOST)
                body = b""
                while len(body) < most and (more := await reader.read(most - len(body))):
                    body += more
        except TimeoutError:
            return None, b""
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                raise
            return 0, b""
        finally:
            if writer is not None:
                writer.transport.abort()
        words = head.split(b" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            return 0, b""
        return int(words[1]), body
