# SPDX-License-Identifier: Apache-2.0
"""Bounded questions over HTTP: a total time, a total size, and one sentence for what went wrong.

The trap: a client's time-outs are per read, so a server that drips could hold us for ever.
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from slurm_green.errors import SignalError
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError

__all__ = ["Http"]

_REFUSED = {401, 402, 403}


class Http:
    """Asks one provider; `client` is injected and carries time-outs and proxies.

    `name` begins every message; `key_hint` says where a refused key is to be renewed. A key goes
    into `headers` only, never into a URL: URLs end up in logs and in messages.
    """

    def __init__(
        self,
        client: httpx.Client,
        *,
        name: str,
        key_hint: str = "",
        total_timeout_s: float = 30.0,
        max_bytes: int = 4 * 2**20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet."""
        self.name = name
        self._client = client
        self._key_hint = key_hint
        self._total_timeout_s = total_timeout_s
        self._max_bytes = max_bytes
        self._clock = clock

    def json(
        self,
        url: str,
        now_utc: datetime,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> Any:
        """The parsed answer; raises SignalError, RateLimitedError or KeyRefusedError."""
        body = self.body(
            url,
            now_utc,
            params=params,
            headers={"Accept": "application/json", **(headers or {})},
            auth=auth,
        )
        try:
            return json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as exc:
            raise SignalError(f"{self.name}: the answer is not JSON, or cut") from exc

    def body(
        self,
        url: str,
        now_utc: datetime,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> bytes:
        """The answer's bytes; redirects are not followed: they would carry the key elsewhere."""
        deadline = self._clock() + self._total_timeout_s
        body = bytearray()
        try:
            with self._client.stream(
                "GET", url, params=params, headers=headers, auth=auth, follow_redirects=False
            ) as response:
                self.check_status(response, now_utc)
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise SignalError(
                            f"{self.name}: the answer is larger than "
                            f"{self._max_bytes // 2**20} MiB, refused"
                        )
                    if self._clock() > deadline:
                        raise SignalError(
                            f"{self.name}: no whole answer within {self._total_timeout_s:g} s"
                        )
        except httpx.TimeoutException as exc:
            raise SignalError(f"{self.name}: no answer in time ({type(exc).__name__})") from exc
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # Its text quotes the header, which may be the key.
            raise SignalError(
                f"{self.name}: a header has characters that none may have; check the key's file"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            why = str(exc) or type(exc).__name__
            raise SignalError(f"{self.name}: cannot be reached: {why}") from exc
        return bytes(body)

    def check_status(self, response: httpx.Response, now_utc: datetime) -> None:
        """Raise for any status but 200; a provider whose refusals say more overrides this."""
        status = response.status_code
        if status == httpx.codes.OK:
            return
        if status in {429, 503} and "retry-after" in response.headers:
            wait_s = _retry_after_s(response.headers["retry-after"], now_utc)
            when = "later" if wait_s is None else f"after {wait_s:.0f} s"
            raise RateLimitedError(
                f"{self.name}: answered {status} and asks to come back {when}",
                retry_after_s=wait_s,
            )
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise RateLimitedError(
                f"{self.name}: answered 429, too many requests", retry_after_s=None
            )
        if status in _REFUSED:
            hint = f"; {self._key_hint}" if self._key_hint else ""
            raise KeyRefusedError(
                f"{self.name}: answered {status}, the key is expired, wrong, or not for this{hint}"
            )
        raise SignalError(f"{self.name}: answered {status} {response.reason_phrase}".rstrip())


def _retry_after_s(text: str, now_utc: datetime) -> float | None:
    if text.strip().isdecimal() and len(text) < 9:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now_utc).total_seconds())


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
