# SPDX-License-Identifier: Apache-2.0
"""A real fetching process with its own configuration, and the web it asks: a server of our own.

Nothing is scaled: jobs wait seconds where the forecast has steps of seconds, and where it has the
hours and half hours of real providers, for a clean one that lies before their latest start.
"""

import json
import math
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.cluster.green import toml_text
from slurm_green.fetch.store import Store
from slurm_green.signals.measured import Measured
from tests.slurm.site import LiveSite
from tests.slurm_green.signals.api_server import Script

__all__ = ["CLEAN_G", "DIRTY_G", "HOUR", "Fetching", "Web", "clean_hour", "usually"]

HOUR = timedelta(hours=1)
DIRTY_G, CLEAN_G = 600, 60
_SGREEN = Path(sys.executable).with_name("sgreen")
_STEP_S = 15


def clean_hour(now: datetime) -> datetime:
    """The hour that is clean every day: it begins in 15 to 75 minutes."""
    return (now + timedelta(minutes=75)).replace(minute=0, second=0, microsecond=0)


def usually(when: datetime, clean: datetime) -> int:
    """Grams per kWh at an instant: dirty but for one hour of the day."""
    return CLEAN_G if when.hour == clean.hour else DIRTY_G


class Web:
    """Web APIs on one port that stays the same when the cable is out and in again."""

    def __init__(self) -> None:
        self.script = Script()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.plug_in()
        self.url = f"http://127.0.0.1:{self._port}"

    def plug_in(self) -> None:
        """Answer again."""
        script = self.script

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.paths.append(self.path)
                script.asked.append({name.lower(): text for name, text in self.headers.items()})
                status, headers, body = script.response(self.path)
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()

    def pull(self) -> None:
        """Nobody listens any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # ------------------------------------------------------------------ what the APIs say

    def neso(self, g_per_kwh: Callable[[datetime], int], path: str = "/uk/", **place: Any) -> None:
        """Half hours ahead and behind, as NESO writes them; `place` is what a region says it is."""
        now = datetime.now(UTC)
        start = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0)
        for prefix, first, count, measured in (
            (f"{path}intensity/", start - timedelta(days=3), 144, True),
            # The day after too: the night may be short.
            (f"{path}intensity/{now:%Y-%m-%d}T", start, 97, False),
            (f"{path}intensity/{now + 24 * HOUR:%Y-%m-%d}T", start, 97, False),
        ):
            times = [first + number * HOUR / 2 for number in range(count)]
            rows: list[dict[str, Any]] = [
                {
                    "from": f"{at:%Y-%m-%dT%H:%MZ}",
                    "to": f"{at + HOUR / 2:%Y-%m-%dT%H:%MZ}",
                    "intensity": {
                        "forecast": g_per_kwh(at),
                        "actual": g_per_kwh(at) if measured else None,
                        "index": "high",
                    },
                }
                for at in times
            ]
            mix = [{"fuel": "gas", "perc": 43.6}, {"fuel": "wind", "perc": 56.4}]
            region = {
                **place,
                "shortname": "somewhere",
                "data": [{**row, "generationmix": mix} for row in rows],
            }
            self.script.on(prefix, {"data": region if place else rows})

    def electricity_maps(self, zone: str, g_per_kwh: Callable[[datetime], int]) -> None:
        """72 hours ahead and ten days of hours behind, as Electricity Maps writes them."""
        now = datetime.now(UTC)
        hour = now.replace(minute=0, second=0, microsecond=0)
        for endpoint, key, first, count in (
            ("forecast", "forecast", hour, 73),
            ("past-range", "data", hour - timedelta(days=10), 240),
        ):
            rows = [
                {"carbonIntensity": g_per_kwh(at), "datetime": f"{at:%Y-%m-%dT%H:%M}:00.000Z"}
                for at in (first + number * HOUR for number in range(count))
            ]
            self.script.on(
                f"/em/v4/carbon-intensity/{endpoint}",
                {
                    "zone": zone,
                    key: rows,
                    "updatedAt": f"{now:%Y-%m-%dT%H:%M:%S}.000Z",
                    "temporalGranularity": "hourly",
                },
            )

    def own(self, g_per_kwh: Callable[[float], float], *, issued_ago_s: float = 0.0) -> None:
        """The site's own service: grams by seconds from now, 65 minutes in quarters of a minute."""
        now_s = datetime.now(UTC).timestamp()
        first_s = math.floor(now_s / _STEP_S) * _STEP_S
        rows = [
            {"at": first_s + ahead, "g": round(g_per_kwh(first_s + ahead - now_s), 3)}
            for ahead in range(0, 3900, _STEP_S)
        ]
        self.script.on("/own", {"site": "campus", "made": now_s - issued_ago_s, "rows": rows})


def own_table(web: Web) -> dict[str, object]:
    """[provider.own]: any web API, here with steps of seconds."""
    return {
        "type": "http-json",
        "url": f"{web.url}/own",
        "path": "rows",
        "time_field": "at",
        "value_field": "g",
        "time_kind": "posix",
        "step": f"{_STEP_S}s",
        "issued_path": "made",
        "region": "campus",
        "region_path": "site",
        "region_expected": "campus",
        "horizon": "1h",
    }


class Fetching:
    """One site's fetching process: its configuration, its runs, and all that they said."""

    def __init__(
        self,
        site: LiveSite,
        chain: list[str],
        providers: Mapping[str, Mapping[str, object]],
        signal: Mapping[str, object],
        controller: Mapping[str, object],
    ) -> None:
        self.conf = site.directory / "fetch.toml"
        self.log = site.directory / "fetch.log"
        self.signal, self.signals = site.paths["signal"], site.paths["signals"]
        self._environment = {
            **os.environ,
            **site.cluster.env,
            "SLURM_GREEN_CONF": str(self.conf),
            "NO_PROXY": "127.0.0.1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.log.write_text("")
        self.conf.write_text(
            toml_text(
                {
                    "paths": {**site.paths, "ledger": site.ledger},
                    "controller": controller,
                    "signal": {**signal, "carbon": chain},
                    "provider": {name: providers[name] for name in chain},
                }
            )
        )

    def learned(
        self, source: str, g_per_kwh: Callable[[datetime], int], *, weeks: int = 6, **kind: str
    ) -> None:
        """Let the process have fetched for weeks: hours that were a little different every day."""
        end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        start = end - timedelta(weeks=weeks)
        usual = [g_per_kwh(start + number * HOUR) for number in range(weeks * 168)]
        away = np.random.default_rng(7).normal(0, 8, len(usual))
        given = {"provider": source, "region": "campus", **kind}
        Store(directory=self.signals).add(
            source,
            Measured(start_utc=start, step_s=3600.0, values=np.array(usual) + away, **given),  # type: ignore[arg-type]
        )

    def good_for(self, cache_max_age: str) -> None:
        """How old the last good forecast may be from the next run on."""
        text = self.conf.read_text()
        before = str(tomllib.loads(text)["signal"]["cache_max_age"])
        old, new = (f'cache_max_age = "{age}"' for age in (before, cache_max_age))
        self.conf.write_text(text.replace(old, new))

    def refresh(self, *, usable: bool = True) -> None:
        """`sgreen fetch`, as the timer runs it."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [_SGREEN, "fetch"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                timeout=60,
            )
        assert done.returncode == (0 if usable else 1), self.log.read_text()

    def start(self) -> None:
        """`sgreen fetch --every 60`, as a service."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_SGREEN, "fetch", "--every", "60"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def since_it_wrote(self, passed: timedelta) -> None:
        """Let time have passed since the process wrote the signal file."""
        raw = json.loads(self.signal.read_text())
        written = datetime.fromisoformat(raw["written_utc"]) - passed
        new = self.signal.with_suffix(".new")
        new.write_text(json.dumps(raw | {"written_utc": written.isoformat()}))
        new.replace(self.signal)

    def check(self) -> tuple[int, str, dict[str, Any]]:
        """`sgreen signal check`: exit status, the text for people, carbon's part of its JSON."""
        text, raw = (
            subprocess.run(
                [_SGREEN, "signal", "check", *options],
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            for options in ((), ("--json",))
        )
        assert text.returncode == raw.returncode, text
        assert text.stderr + raw.stderr == ""
        found: dict[str, Any] = json.loads(raw.stdout)["quantities"]["carbon_g_per_kwh"]
        return text.returncode, text.stdout, found
