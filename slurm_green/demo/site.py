# SPDX-License-Identifier: Apache-2.0
"""The demo's site: a real Slurm with emulated GPUs, a configuration, and sgreend on it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.down import reap_orphans
from slurm_green.cluster.green import (
    await_sgreend,
    green_paths,
    nodes_table,
    start_sgreend,
    stop_sgreend,
    toml_text,
)
from slurm_green.cluster.layout import clusters_directory
from slurm_green.cluster.record import Owner
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.config.load import load
from slurm_green.config.settings import Config
from slurm_green.demo.clock import Clock
from slurm_green.demo.gpus import MODEL, write_profiles, write_work
from slurm_green.errors import ClusterError
from slurm_green.slurm.commands import CommandClient

__all__ = ["SCALE", "Site", "config_text", "site"]

# A day in two minutes.
SCALE = 720.0
# The demo's hour when the configuration is written. sgreend is up soon after, on a slow machine
# two demo hours later, and it is evening in both cases.
_FIRST_HOUR = 17.4
NODES, GPUS_PER_NODE = 8, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything the demo talks to."""

    cluster: Cluster
    config: Config
    clock: Clock
    client: CommandClient
    daemon: "subprocess.Popen[bytes]"

    @property
    def daemon_log(self) -> Path:
        """What sgreend logs."""
        return _log(self.cluster)

    def sgreen(self, *arguments: str) -> str:
        """What a verb of `sgreen` prints here."""
        program = "from slurm_green.cli.root import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, **self.cluster.env, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            raise ClusterError(f"sgreen {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout.strip()


@contextmanager
def site(trace: Path, *, progress: Callable[[str], None]) -> Iterator[Site]:
    """A site that is up; gone afterwards, whatever happens in between."""
    base = clusters_directory()
    reap_orphans(base)  # of a demo that was killed before it could clean up
    spec = ClusterSpec(
        name=f"demo-{os.getpid():x}", nodes=NODES, gpus=GPUS_PER_NODE, gpu_model=MODEL, hook=True
    )
    cluster = Cluster.up(spec, base=base, owner=Owner.this_process(), progress=progress)
    try:
        clock = _clock()
        write_profiles(_profiles(cluster))
        write_work(cluster.layout)
        path = cluster.layout.green_conf
        path.write_text(config_text(cluster, trace, clock), encoding="utf-8")
        daemon = start_sgreend(cluster, log=_log(cluster))
        try:
            one = Site(
                cluster=cluster,
                config=load(path),
                clock=clock,
                client=CommandClient(env=cluster.env),
                daemon=daemon,
            )
            progress("starting sgreend")
            await_sgreend(daemon, green_paths(cluster.layout), log=_log(cluster))
            yield one
        finally:
            stop_sgreend(daemon)
    finally:
        cluster.down()


def config_text(cluster: Cluster, trace: Path, clock: Clock) -> str:
    """The site's configuration: a usual one with the times of a site divided by 720."""
    return f"""\
# Made by the demo: a site whose days last two minutes.
[general]
slurm_backend = "commands"

{toml_text({"paths": green_paths(cluster.layout)})}
# sgreend plans clocks and tells sgreen-noded of each node; the scripts name the profile.
{toml_text({"nodes": {**nodes_table(cluster), "profiles": _profiles(cluster)}})}
[hook]
hold = "3s"              # a site: 10s

[policy]
# The longest delay anywhere is sgreend's idea of the site's pace: the longer, the longer it learns
# before it takes what arrives for usual. This one batch must not look like every minute's.
max_delay = "1h"
min_length = "90s"       # jobs with a limit below this are left alone
margin_floor = "10s"     # a site: 10m

[controller]
interval = "1s"          # a site: 30s
min_interval = "0.5s"
metrics = ""

[plan]
interval = "5s"          # a site: 10m

[signal]
read = ["csv"]
region = "generated example"

[signal.csv]
path = {json.dumps(str(trace))}
anchor_utc = "{clock.anchor_utc:%Y-%m-%dT%H:%M:%SZ}"
time_scale = {clock.scale}
repeat = true

[partition.main]
mode = "enforce"         # a fresh install only watches: shadow
default_delay = "60s"    # 12 demo hours
max_delay = "110s"       # 22 demo hours
gpu_type = "h100"
"""


def _profiles(cluster: Cluster) -> Path:
    return cluster.layout.etc / "profiles"


def _log(cluster: Cluster) -> Path:
    return cluster.layout.log / "sgreend.log"


def _clock() -> Clock:
    # Whole seconds: the file carries the anchor as text.
    now = datetime.now(UTC).replace(microsecond=0)
    midnight = Clock(anchor_utc=now, scale=SCALE).at(-_FIRST_HOUR).replace(microsecond=0)
    return Clock(anchor_utc=midnight, scale=SCALE)
