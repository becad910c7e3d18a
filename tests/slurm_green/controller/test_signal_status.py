# SPDX-License-Identifier: Apache-2.0
"""What the daemon shows of its signal: the forecast ahead, each link of the chain, what changed."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from builders import NOW, at, days, info, job, nodes, rules
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from slurm_green.controller.answer import AnswerCounts
from slurm_green.controller.books import Books
from slurm_green.controller.metrics import StatusCollector
from slurm_green.controller.page import status_page
from slurm_green.controller.runner import Runner
from slurm_green.controller.source import Source
from slurm_green.controller.status import HORIZONS_H, Status, write_status
from slurm_green.errors import SignalError
from slurm_green.hook.record import Record
from slurm_green.ledger.guard import Ledger
from slurm_green.plan.power import PowerModel
from slurm_green.signals.bundle import Bundle, Link, write_bundle
from slurm_green.signals.chain import Chain
from slurm_green.signals.climatology import Climatology
from slurm_green.signals.provider import Provider
from slurm_green.signals.series import Series
from slurm_green.signals.signal_file import SignalFile
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Partition


def link(name: str, status: str, kind: str = "provider", said: str = "so it is") -> Link:
    """What became of one link."""
    return Link(name=name, kind=kind, status=status, said=said)


@dataclass
class Reader:
    """What sgreend reads: a signal and its links, set by hand."""

    signal: Series | None = field(default_factory=days)
    links: tuple[Link, ...] = ()
    name: str = "reader"

    def fetch(self, now_utc: datetime) -> Series:
        """The signal, newly issued."""
        if self.signal is None:
            raise SignalError("no usable signal: uk: answered 500")
        return replace(self.signal, issued_utc=now_utc)


@dataclass
class Site:
    """A runner on a Slurm in memory."""

    place: Path
    provider: Provider = field(default_factory=Reader)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.slurm = FakeSlurm(
            nodes=list(nodes()),
            partitions=[Partition(name="gpu", node_names=("n0", "n1", "n2", "n3"), default=True)],
            info=info(),
        )
        self.ledger = Ledger(self.place / "ledger.sqlite")
        self.runner = Runner(
            source=Source(
                client=self.slurm,
                provider=self.provider,
                off_marker=self.place / "off",
                now=lambda: self.now,
            ),
            rules=rules(),
            books=Books(self.ledger, PowerModel(), record_field="admin_comment", hold_s=10.0),
        )

    def step(self) -> Status:
        """One cycle."""
        report = self.runner.step()
        assert report is not None
        return report.status

    def hold(self) -> None:
        """A job as the submit hook leaves it."""
        record = Record(
            token="t1", decided_utc=NOW, start_utc=at(5), latest_utc=at(11), policy="lowest-window"
        )
        self.slurm.put(job(1, eligible_utc=NOW + timedelta(seconds=10), admin_comment=str(record)))


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def site(tmp_path: Path, reader: Reader) -> Iterator[Site]:
    one = Site(tmp_path, reader)
    yield one
    one.ledger.close()


def samples(status: Status) -> dict[tuple[str, ...], float]:
    """(metric, its labels' values by name) -> value, as Prometheus reads them; no series twice."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: status, AnswerCounts))
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for one in family.samples:
            key = (one.name, *(one.labels[name] for name in sorted(one.labels)))
            assert key not in found, "Prometheus refuses a series that comes twice"
            found[key] = one.value
    return found


MONDAY = NOW.replace(hour=0)
FORECAST = "slurm_green_carbon_forecast_g_per_kwh"
FAILED, USED = "slurm_green_signal_link_failed", "slurm_green_signal_link_used"


def test_the_forecast_is_told_at_fixed_horizons(site: Site, reader: Reader) -> None:
    """The mean, and the band where it is known."""
    signal = days(8)
    reader.signal = replace(signal, quantiles={0.1: signal.values * 0.5, 0.9: signal.values * 2.0})
    found = samples(site.step())
    for hours in HORIZONS_H:
        expected = signal.at(at(hours))
        assert found[FORECAST, str(hours), "mean"] == expected
        assert found[FORECAST, str(hours), "p10"] == expected * 0.5
        assert found[FORECAST, str(hours), "p90"] == expected * 2.0


def test_what_nobody_knows_is_absent(site: Site, reader: Reader) -> None:
    """Beyond the end, and quantiles of a provider that gives none: no sample, and no 0."""
    reader.signal = days(2)  # from midnight, so 42 h from now
    status = site.step()
    assert list(status.forecast_g_per_kwh) == ["1", "3", "6", "12", "24"]
    found = samples(status)
    told = sorted(int(key[1]) for key in found if key[0] == FORECAST)
    assert told == [1, 3, 6, 12, 24]
    assert {key[2] for key in found if key[0] == FORECAST} == {"mean"}


def test_quantiles_known_for_a_part_are_told_for_that_part(site: Site, reader: Reader) -> None:
    """A provider without a band, then a forecast with one."""
    signal = days(8)
    late = np.arange(len(signal.values)) * 1800 >= 30 * 3600
    band = np.where(late, signal.values, np.nan)
    reader.signal = replace(signal, quantiles={0.1: band})
    ahead = site.step().forecast_g_per_kwh
    assert ahead["12"] == [signal.at(at(12)), None, None]
    assert ahead["48"] == [signal.at(at(48)), signal.at(at(48)), None]


def test_a_demo_tells_the_hours_of_its_trace(site: Site, reader: Reader) -> None:
    """At 720 one hour ahead is five seconds away."""
    signal = days(8, start=NOW)
    reader.signal = replace(signal, step_s=1800.0 / 720, time_scale=720.0)
    ahead = site.step().forecast_g_per_kwh
    assert ahead["24"][0] == signal.at(at(24))


def test_without_a_signal_nothing_is_forecast(site: Site, reader: Reader) -> None:
    """And the links still say why."""
    reader.signal, reader.links = None, (link("uk", "failed"),)
    status = site.step()
    assert (status.forecast_g_per_kwh, status.signal) == ({}, None)
    found = samples(status)
    assert [key for key in found if key[0] == FORECAST] == []
    assert found[FAILED, "provider", "uk"] == 1


def test_each_link_is_used_or_failed_or_neither(site: Site, reader: Reader) -> None:
    """What an alert watches: one gauge for each, by name and kind."""
    reader.links = (
        link("em", "failed"),
        link("uk", "used"),
        link("meter", "spare"),
        link("wt", "waiting"),
        link("uk", "failed", "history"),
        link("climatology", "used", "climatology"),
    )
    found = samples(site.step())
    told = {key[1:]: (found[USED, *key[1:]], value) for key, value in found.items()
            if key[0] == FAILED}  # fmt: skip
    assert told == {
        ("provider", "em"): (0, 1),
        ("provider", "uk"): (1, 0),
        ("provider", "meter"): (0, 0),
        ("provider", "wt"): (0, 0),
        ("history", "uk"): (0, 1),
        ("climatology", "climatology"): (1, 0),
    }


def test_the_status_file_has_the_links_and_the_forecast(site: Site, reader: Reader) -> None:
    """Everybody's commands read it."""
    reader.links = (link("uk", "failed", said="uk: answered 500"),)
    path = site.place / "status.json"
    write_status(path, site.step())
    raw = json.loads(path.read_text())
    assert raw["signal_links"] == [
        {"name": "uk", "kind": "provider", "status": "failed", "said": "uk: answered 500"}
    ]
    assert raw["forecast_g_per_kwh"]["1"][1:] == [None, None]


def page(status: Status) -> str:
    """The status page."""
    return status_page(status, AnswerCounts(), health="ok", healthy=True)


def test_the_page_says_where_the_signal_comes_from(site: Site, reader: Reader) -> None:
    """Each link in a row of its own; no section where there is no chain."""
    assert "Where the signal comes from" not in page(site.step())
    reader.links = (link("em", "failed", said="em: answered 401"), link("uk", "used"))
    text = page(site.step())
    assert "Where the signal comes from" in text
    assert "<td>provider em</td><td>failed: em: answered 401</td>" in text
    assert "<td>provider uk</td><td>used: so it is</td>" in text


class Tags(HTMLParser):
    """Every element of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


@given(st.text(alphabet="<>&\"'/ascript=on\n\0", min_size=1))
def test_what_a_provider_says_does_not_become_markup(text: str) -> None:
    """An answer of the internet ends up on this page."""
    counts = []
    for words in (text, "plain"):
        one = {"name": words, "kind": words, "status": words, "said": words}
        reader = Tags()
        reader.feed(page(replace(STATUS, signal_links=[one])))
        counts.append(reader.found)
    assert counts[0] == counts[1]


def test_a_link_that_fails_is_logged_once_and_so_is_its_return(
    site: Site, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """A cycle runs every half minute; an outage of a day is two lines."""
    bad, good = link("uk", "failed", said="uk: answered 500"), link("uk", "used", said="48 h ahead")
    with caplog.at_level(logging.INFO):
        for one in (good, good, bad, bad, bad, good, good, bad):
            reader.links = (one, link("climatology", "used", "climatology"))
            site.step()
    assert told(caplog) == [
        ("WARNING", "signal: provider uk failed: uk: answered 500"),
        ("INFO", "signal: provider uk no longer fails: 48 h ahead"),
        ("WARNING", "signal: provider uk failed: uk: answered 500"),
    ]


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and words of what was logged about links."""
    return [
        (one.levelname, one.getMessage())
        for one in caplog.records
        if one.getMessage().startswith("signal: ")
    ]


def test_two_links_of_one_name_are_two(
    site: Site, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """The history of a provider fails, its forecast does not."""
    reader.links = (link("uk", "failed", "history"), link("uk", "used"))
    site.step()
    assert told(caplog) == [("WARNING", "signal: history uk failed: so it is")]


def test_a_link_that_is_not_in_the_chain_any_more_is_not_said_to_work(
    site: Site, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody removed it from the configuration."""
    reader.links = (link("old", "failed"),)
    site.step()
    reader.links = ()
    with caplog.at_level(logging.INFO):
        site.step()
    assert len(told(caplog)) == 1


def test_a_link_that_waits_does_not_work_again(
    site: Site, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """After a 429 the provider is not asked: `no longer fails` would be wrong."""
    reader.links = (link("uk", "failed", said="uk: answered 429"),)
    site.step()
    reader.links = (link("uk", "waiting", said="asked to be left alone for 55 min more"),)
    with caplog.at_level(logging.INFO):
        site.step()
    assert not any("no longer fails" in words for _, words in told(caplog))


@pytest.mark.parametrize("dies", ["every provider", "the fetching process"])
def test_jobs_are_not_affected_by_a_chain_that_fails(
    tmp_path: Path, dies: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A deferred job stays deferred on what is usual, its promise stands, and the log says so."""
    week = days(8, start=MONDAY).values[: 2 * 168 : 2]
    usual = Climatology(
        values=week,
        quantiles=dict.fromkeys((0.1, 0.5, 0.9), week),
        made_utc=NOW,
        days=40,
        provider="uk",
    )
    path = tmp_path / "signal.json"
    good = Bundle(written_utc=NOW, series=days(14), links=(link("uk", "used"),), climatology=usual)
    write_bundle(path, good)
    site = Site(tmp_path, Chain([SignalFile(path=path, max_age_s=3600.0)]))
    site.hold()
    before = site.step()
    assert (before.deferred, before.signal) == (1, "test")

    site.now = NOW + timedelta(hours=2)
    if dies == "every provider":
        series = usual.series(site.now, site.now + timedelta(days=14))
        links = (link("uk", "failed"), link("climatology", "used", "climatology"))
        write_bundle(path, Bundle(written_utc=site.now, series=series, links=links))
    after = site.step()

    assert (after.deferred, after.signal_problem) == (1, "")
    assert after.signal == "climatology(uk)"
    assert after.carbon_g_per_kwh == pytest.approx(week[8], abs=1e-3)
    assert site.slurm.jobs_by_id[1].eligible_utc == at(11), "its latest start"
    words = "provider uk failed" if dies == "every provider" else "is the fetching process running"
    assert [words in said for _, said in told(caplog)] == [True]
    assert 1.0 in [value for key, value in samples(after).items() if key[0] == FAILED]
    site.ledger.close()


STATUS = Status(
    at_utc="2026-11-23T05:59:48Z", cluster="alps", slurm_version="22.05", off=False, modes={},
    deferred=0, signal="uk", signal_region="GB", signal_basis="average", signal_age_s=60.0,
    signal_until_utc=None, signal_problem="", carbon_g_per_kwh=212.4, cycles=1, cycle_cpu_s=0.1,
    slurm_failures=0, bugs=0, changes_refused=0, events={}, decisions={}, expected_save_g=0.0,
)  # fmt: skip
