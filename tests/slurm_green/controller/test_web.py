# SPDX-License-Identifier: Apache-2.0
"""The board: metrics, health and the page, over a real socket where that matters."""

import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from slurm_green.controller.answer import AnswerCounts
from slurm_green.controller.status import Status
from slurm_green.controller.web import Board, serve_board

COUNTED = ("Deferred", "Links")  # panels of plain numbers
ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
STATUS = Status(
    at_utc="2026-11-23T05:59:48Z",
    cluster="alps",
    slurm_version="22.05",
    off=False,
    modes={"gpu": "enforce", "cpu": "shadow"},
    deferred=7,
    signal="neso",
    signal_region="GB",
    signal_basis="average",
    signal_age_s=3600.0,
    signal_until_utc="2026-11-25T06:00:00Z",
    signal_problem="",
    carbon_g_per_kwh=212.4,
    cycles=11,
    cycle_cpu_s=1.5,
    slurm_failures=2,
    bugs=0,
    changes_refused=1,
    events={"confirmed": 9, "released": 30},
    decisions={"enforce/deferred": 9, "shadow/short": 4},
    expected_save_g=7585.0,
)

COUNTS = AnswerCounts(
    asked=16, deferred=9, looked=3, passed=4, reasons=Counter({"clean-now": 1, "cluster-full": 3})
)


def board(status: Status | None = STATUS, counts: AnswerCounts | None = None) -> Board:
    """A board of this status, 12 seconds after its cycle; a cycle is old after 90."""
    return Board(
        status=lambda: status,
        counts=lambda: counts or COUNTS,
        clock=lambda: NOW.timestamp(),
        fresh_s=90.0,
    )


def page(status: Status | None = STATUS) -> str:
    """The page as text."""
    return board(status).show("/").body.decode()


@pytest.mark.parametrize(
    ("ago_s", "code", "words"),
    [
        (12, 200, "ok, the last cycle ran 12 s ago"),
        (90, 200, "ok, the last cycle ran 2 min ago"),
        (91, 503, "the last cycle ran 2 min ago: new jobs pass unchanged"),
        (-5, 200, "ok, the last cycle ran 0 s ago"),
        (None, 503, "no cycle has run yet: new jobs pass unchanged"),
    ],
)
def test_health_is_the_age_of_the_last_cycle(ago_s: float, code: int, words: str) -> None:
    status = None
    if ago_s is not None:
        at = NOW - timedelta(seconds=ago_s)
        status = replace(STATUS, at_utc=at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    shown = board(status).show("/healthz")
    assert (shown.code, shown.body.decode()) == (code, f"{words}\n")


def test_the_metrics_are_prometheus_own_text() -> None:
    shown = board().show("/metrics")
    assert shown.kind.startswith("text/plain; version=")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(shown.body.decode())
        for sample in family.samples
    }
    assert found["slurm_green_hook_answers_total", "looked"] == 3
    assert found["slurm_green_hook_answers_total", "deferred"] == 9
    assert found["slurm_green_hook_passes_total", "cluster-full"] == 3
    assert found["slurm_green_ledger_failing",] == 0
    assert found["slurm_green_expected_saving_grams_total",] == 7585
    assert found["slurm_green_deferred_jobs",] == 7
    assert found["slurm_green_decisions_total", "deferred", "enforce"] == 9
    assert found["slurm_green_cycle_timestamp_seconds",] == NOW.timestamp() - 12
    assert found["slurm_green_carbon_intensity_g_per_kwh",] == 212.4


@pytest.mark.parametrize("ago_s", [90, 91])
def test_without_cycles_nothing_is_told_of_now(ago_s: int) -> None:
    """Else a dashboard shows yesterday's intensity and queue as today's; counts stay."""
    at = NOW - timedelta(seconds=ago_s)
    links = [{"name": "em", "kind": "provider", "status": "used", "said": "so it is"}]
    status = replace(
        STATUS,
        at_utc=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        plan=PLAN,
        signal_links=links,
        forecast_g_per_kwh={"6": [200.0, 150.0, 250.0]},
    )
    text = board(status).show("/metrics").body.decode()
    kinds: dict[str, set[str]] = {"counter": set(), "gauge": set()}
    for family in text_string_to_metric_families(text):
        kinds[family.type] |= {sample.name for sample in family.samples}
    assert "slurm_green_plans_total" in kinds["counter"]
    assert len(kinds["counter"]) == 12
    of_now = kinds["gauge"] - {"slurm_green_cycle_timestamp_seconds"}
    assert len(of_now) == (11 if ago_s <= 90 else 0)


@pytest.mark.parametrize("name", ["slurm-green.rules.yml", "slurm-green.grafana.json"])
def test_alerts_and_dashboard_are_about_metrics_that_there_are(name: str) -> None:
    """A name that nobody exports is an alert that never comes, and a panel that stays empty."""
    links = [{"name": "em", "kind": "provider", "status": "failed", "said": "no answer"}]
    ahead = {"6": (200.0, 150.0, 250.0)}
    full = replace(
        STATUS, plan=PLAN, signal_links=links, forecast_g_per_kwh=ahead, ledger_problem="full"
    )
    text = board(full).show("/metrics").body.decode()
    there = {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }
    assert "slurm_green_ledger_failing 1.0" in text
    asked = (ROOT / "etc" / name).read_text()
    named = set(re.findall(r"slurm_green_(?!serving|route)\w+", asked))
    assert len(named) > 5 and named <= there
    for part, of in ("serving", "serving/vllm/metrics.py"), ("route", "serving/router/stats.py"):
        source = (ROOT / of).read_text()
        for one in re.findall(rf"slurm_green_{part}_(\w+?)(?:_total|_bucket)\b", asked):
            assert one in source


def test_the_dashboard_has_a_unit_or_says_it_and_no_panel_on_another() -> None:
    """Panels of an axis without a unit mean nothing."""
    panels = json.loads((ROOT / "etc/slurm-green.grafana.json").read_text())["panels"]
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}
    assert len(places) == len(panels)
    for one in panels:
        unit, title = one["fieldConfig"]["defaults"]["unit"], one["title"]
        assert unit not in ("none", "short") or "(" in title or title.split()[0] in COUNTED


def test_unknown_is_absent_from_the_metrics_not_zero() -> None:
    text = board(replace(STATUS, carbon_g_per_kwh=None, signal_age_s=None)).show("/metrics").body
    assert b"carbon_intensity" not in text and b"signal_age" not in text
    assert b"slurm_green_deferred_jobs" not in board(None).show("/metrics").body


def test_the_page_says_what_a_person_asks_first() -> None:
    text = re.sub(r"<[^>]+>", " ", page())
    text = re.sub(r"\s+", " ", text)
    for words in (
        "slurm-green on alps", "ok, the last cycle ran 12 s ago", "Deferred jobs 7",
        "since the start 7.58 kg", "gpu enforce", "cpu shadow", "Provider neso GB",
        "Intensity now 212 g/kWh", "Age 60 min", "released 30 confirmed 9", "looked 3",
        "cluster-full 3 clean-now 1",
    ):  # fmt: skip
        assert words in text, words
    assert '<meta http-equiv="refresh"' in page()


PLAN = {
    "age_s": 120.0, "solve_s": 0.4, "jobs": 12, "plans": 31, "failures": 2, "problem": "",
}  # fmt: skip


def test_the_plan_is_shown_and_counted() -> None:
    planned = replace(STATUS, plan=PLAN)
    assert "31, 2" in page(planned)
    assert "none is fresh" in page(replace(STATUS, plan=PLAN | {"age_s": None, "problem": "slow"}))
    text = board(planned).show("/metrics").body.decode()
    for line in (
        "slurm_green_plan_age_seconds 120.0",
        "slurm_green_plan_solve_seconds 0.4",
        "slurm_green_planned_jobs 12.0",
        "slurm_green_plans_total 31.0",
        "slurm_green_plan_failures_total 2.0",
    ):
        assert line in text


def test_the_page_warns() -> None:
    assert "Switched off" in page(replace(STATUS, off=True))
    blind = replace(STATUS, signal=None, signal_problem="the signal of neso is stale")
    assert "Nothing is deferred: the signal of neso is stale" in page(blind)
    full = replace(STATUS, ledger_problem="cannot write ledger /l: database or disk is full")
    assert "disk is full; jobs are not affected" in page(full)
    assert "no cycle has run yet" in page(None)


class Tags(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag} | {f"{tag}.{name}" for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def tags(status: Status) -> Tags:
    """A page, read as a browser would."""
    reader = Tags()
    reader.feed(page(status))
    return reader


@given(st.text(alphabet="<>&\"'/ascript=on\n\0", min_size=1))
def test_no_text_becomes_markup(text: str) -> None:
    """Partition names, providers and reasons are other people's."""
    bad = replace(
        STATUS, cluster=text, modes={text: text}, events={text: 1}, decisions={text: 1},
        signal=text, signal_region=text, signal_problem=text, slurm_version=text,
    )  # fmt: skip
    plain = replace(STATUS, signal_problem="x")
    assert tags(bad).found == tags(plain).found


def test_other_paths_are_not_found() -> None:
    assert board().show("/etc/passwd").code == 404
    assert board().show("/healthz?verbose=1").code == 200


@contextmanager
def served(shown: Board) -> Iterator[int]:
    """The board on a free port of localhost."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    stop = serve_board(f"127.0.0.1:{port}", shown)
    try:
        yield port
    finally:
        stop()


def ask(port: int, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    """One request; status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_over_http() -> None:
    with served(board()) as port:
        code, headers, body = ask(port, "GET", "/")
        assert (code, body.decode()) == (200, page())
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert ask(port, "HEAD", "/")[2] == b""
        assert ask(port, "GET", "/nowhere")[0] == 404
        assert ask(port, "POST", "/")[0] == 501
    with pytest.raises(ConnectionRefusedError):
        ask(port, "GET", "/")


@pytest.mark.slow
def test_a_silent_visitor_delays_the_next_one_and_no_more() -> None:
    with served(board()) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET / HT")
        began_s = time.monotonic()
        assert ask(port, "GET", "/healthz")[0] == 200
        assert time.monotonic() - began_s < 30


def test_a_bug_in_a_page_is_a_500_and_the_next_page_is_shown() -> None:
    broken = board(replace(STATUS, at_utc="never"))
    with served(broken) as port:
        assert ask(port, "GET", "/")[0] == 500
        assert ask(port, "GET", "/nowhere")[0] == 404


@pytest.mark.parametrize("bad", ["127.0.0.1:99999", "192.0.2.1:9807"])
def test_an_address_that_cannot_be_had_costs_the_page_only(
    bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    serve_board(bad, board())()
    assert f"no status page on {bad}" in caplog.text


def test_a_taken_port_costs_the_page_only(caplog: pytest.LogCaptureFixture) -> None:
    with served(board()) as port:
        serve_board(f"127.0.0.1:{port}", board())()
        assert ask(port, "GET", "/healthz")[0] == 200
    assert "no metrics and no status page" in caplog.text
