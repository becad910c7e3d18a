# SPDX-License-Identifier: Apache-2.0
"""Two sites with a real vLLM each, in networks of their own, behind one router.

vLLM's own load generator is the client, while one site is cut off, loses its power and heals.
"""

import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from served import MODEL, ROOT, Served, served, until
from sites import Site, site

SGREEN = ROOT / ".venv" / "bin" / "sgreen"
REQUESTS = 60
LOAD = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""

pytestmark = [
    pytest.mark.skipif(not SGREEN.exists(), reason="the router runs in .venv: make setup"),
    pytest.mark.timeout(900),
]


@dataclass
class Sites:
    """Both, and the router."""

    sites: list[Site]
    supplies: list[Path]
    port: int
    admin: int
    tiny: Path
    begun: float = 0.0  # requests that had ended well before the load

    def states(self) -> list[str]:
        """Of the replicas, by site."""
        peer = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        peer.request("GET", "/replicas")
        rows = json.loads(peer.getresponse().read())
        peer.close()
        return [row["state"] for row in sorted(rows, key=lambda row: str(row["site"]))]

    def power(self, at: int, watts: float) -> None:
        """What a site has from now on."""
        self.supplies[at].write_text(json.dumps({"supply_w": watts}))

    def load(self, meanwhile: Callable[[], None], log: Path) -> tuple[int, str]:
        """Requests that came back whole, and what the generator says."""
        argv = [
            sys.executable, "-c", LOAD, "--base-url", f"http://127.0.0.1:{self.port}", "--model",
            MODEL, "--tokenizer", str(self.tiny), "--dataset-name", "random", "--random-input-len",
            "32", "--random-output-len", "48", "--num-prompts", str(REQUESTS), "--request-rate",
            "4", "--ignore-eos", "--seed", "1", "--disable-tqdm",
        ]  # fmt: skip
        with log.open("wb") as file:
            process = subprocess.Popen(argv, stdout=file, stderr=file, cwd=log.parent)
            try:
                self.begun = self.answered()
                until(lambda: self.answered() > self.begun + 8, 400, log.read_text)
                meanwhile()
                process.wait(300)
            finally:
                process.kill()
        words = log.read_text(errors="replace")
        found = re.search(r"Successful requests:\s+(\d+)", words)
        return (int(found[1]) if found else -1), words[-3000:]

    def go_on(self, more: int) -> None:
        """Until so many more have ended well, or all that the generator sends."""
        enough = min(self.answered() + more, self.begun + REQUESTS)
        until(lambda: self.answered() >= enough, 120)

    def answered(self) -> float:
        """Requests that ended well so far."""
        peer = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        peer.request("GET", "/metrics")
        text = peer.getresponse().read().decode()
        peer.close()
        rows = re.findall(r'^slurm_green_route_requests_total\{code="200".*\} (\S+)$', text, re.M)
        return sum(map(float, rows))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Sites]:
    home = tmp_path_factory.mktemp("sites")
    with ExitStack() as stack:
        sites = [stack.enter_context(site(number)) for number in (1, 2)]

        def start(one: Site) -> Served:
            log = home / f"{one.name}.log"
            env = {"VLLM_HOST_IP": "127.0.0.1"}
            return stack.enter_context(
                served(tiny, log, port=8000, env=env, host=one.host, within=one.within)
            )

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(start, sites))
        held = [socket.socket() for _ in range(2)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        port, admin = (one.getsockname()[1] for one in held)
        for one in held:
            one.close()
        made = Sites(sites, [home / f"{one.name}.json" for one in sites], port, admin, tiny)
        rows = ""
        for at, one in enumerate(sites):
            made.power(at, 1000.0)
            rows += (
                f'[[site]]\nname = "{one.name}"\nsupply_file = "{made.supplies[at]}"\n'
                f'supply_low_w = 500\n[[replica]]\nurl = "http://{one.host}:8000"\n'
                f'model = "{MODEL}"\nsite = "{one.name}"\n'
            )
        (home / "route.toml").write_text(
            f"[listen]\nport = {port}\nadmin_port = {admin}\n"
            "[timeouts]\nprogress_s = 5\nfirst_byte_s = 10\n[health]\nperiod_s = 0.5\n"
            f'[[model]]\nname = "{MODEL}"\nresume = true\n{rows}'
        )
        with (home / "route.log").open("wb") as log:
            router = subprocess.Popen(
                [SGREEN, "route", "--config", home / "route.toml"], stderr=log
            )
        try:
            until(lambda: _ready(made), 60, (home / "route.log").read_text)
            yield made
        finally:
            router.terminate()
            router.wait(30)


def _ready(two: Sites) -> bool:
    try:
        return two.states() == ["ready", "ready"]
    except OSError:
        return False


def test_a_site_is_cut_off_and_heals_and_no_request_is_lost(two: Sites, tmp_path: Path) -> None:
    def meanwhile() -> None:
        two.sites[0].cut_off()
        until(lambda: two.states()[0] == "down", 60)
        two.go_on(8)
        two.sites[0].heal()
        until(lambda: two.states() == ["ready", "ready"], 60)

    whole, words = two.load(meanwhile, tmp_path / "load")
    assert whole == REQUESTS, words


def test_a_site_loses_its_power_and_gets_it_back_and_no_request_is_lost(
    two: Sites, tmp_path: Path
) -> None:
    def meanwhile() -> None:
        two.power(0, 0.0)
        until(lambda: two.states()[0] == "parked", 60)
        two.go_on(8)
        two.power(0, 800.0)
        until(lambda: two.states()[0] == "ready", 60)

    whole, words = two.load(meanwhile, tmp_path / "load")
    assert whole == REQUESTS, words
