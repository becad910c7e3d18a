# SPDX-License-Identifier: Apache-2.0
"""The Prometheus client against a real Prometheus, where one is installed: what its answers are."""

import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.providers.prometheus import Prometheus

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no prometheus is installed",
)

NOW = datetime(2026, 11, 24, 12, 2, tzinfo=UTC)


def provider(client, url, **options):
    return Prometheus(client, url=url, region="roof", **({"query": "pv_w"} | options))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A Prometheus of our own with three hours of two inverters in it; its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    end = int(NOW.timestamp()) // 60 * 60
    lines = ["# TYPE pv_w gauge"]
    for inverter, base in (("a", 0), ("b", 1000)):
        for at in range(end - 3 * 3600, end + 1, 30):
            ago = end - at
            if inverter == "b" or not 3600 < ago <= 5400:  # "a" is silent for half an hour
                value = "NaN" if inverter == "a" and ago == 600 else str(base + (at - end + 10800))
                lines.append(f'pv_w{{inverter="{inverter}"}} {value} {at}')
    (folder / "past.om").write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text("{}\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "past.om", "data"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             "--storage.tsdb.retention.time=50y", f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 8
        while not _ready(url):
            assert daemon.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        daemon.terminate()
        daemon.wait(10)


def _ready(url):
    try:
        return httpx.get(f"{url}/-/ready", trust_env=False, timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def test_past(client, real):
    """Means of the instants in a step, without the one at its beginning; silence is a gap."""
    got = provider(client, real, query='pv_w{inverter="a"}').history(
        NOW - timedelta(hours=2, minutes=32), NOW
    )
    began = (got.start_utc - NOW).total_seconds() + 3 * 3600
    assert began + (60 + 300) / 2 == got.values[0]
    assert datetime(2026, 11, 24, 11, 50, tzinfo=UTC) == got.start_utc + timedelta(
        seconds=300 * int(np.flatnonzero(np.isnan(got.values))[-1])
    )  # the NaN of ten minutes ago spoils its step
    silent = np.flatnonzero(np.isnan(got.values[:-3]))
    assert 4 <= len(silent) <= 6
    assert len(silent) - 1 == silent[-1] - silent[0]


def test_sum_and_forecast(client, real):
    """Several series, their sum, and the past as a forecast by offset."""
    with pytest.raises(SignalError, match=r"sum\(\.\.\.\)"):
        provider(client, real).history(NOW - timedelta(hours=1), NOW)
    got = provider(
        client, real, forecast_query='pv_w{inverter="b"} offset 2h # as it was',
        ahead_s=3600, min_horizon_s=3000,
    ).fetch(NOW)  # fmt: skip
    assert datetime(2026, 11, 24, 12, 0, tzinfo=UTC) == got.start_utc
    assert got.values[0] == 1000 + 3600 - 120 + 180
    assert len(got.values) == 13


def test_many_points(client, real):
    """More than Prometheus gives at once."""
    got = provider(client, real, query="sum(pv_w)", step_s=1, sample_s=1).history(
        NOW - timedelta(seconds=12_000), NOW
    )
    assert 10_000 < got.known <= 10_800


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sum(pv_w", "bad_data: "),
        ("pv_w[5m]", "bad_data: "),
        ('label_replace(pv_w, "a b", "x", "", "")', "execution: "),
        ("pv_w / on() pv_w", "execution: "),
    ],
)
def test_bad_queries(client, real, query, words):
    """Prometheus says what is wrong with them."""
    with pytest.raises(SignalError, match=rf"^prometheus: answered .*{words}"):
        provider(client, real, query=query).history(NOW - timedelta(hours=1), NOW)


def test_nothing_there(client, real):
    """A metric that nobody exports is no zero."""
    with pytest.raises(SignalError, match="no measured value"):
        provider(client, real, query="no_such_w").history(NOW - timedelta(hours=1), NOW)
