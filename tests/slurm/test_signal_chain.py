# SPDX-License-Identifier: Apache-2.0
"""The cable is pulled, a key expires, a provider lies: jobs on a real slurmctld are unaffected.

A real sgreend reads the file that a real `sgreen fetch` writes; only the web APIs are stand-ins.
"""

import math
import shutil
import socket
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from slurm_green.cluster.cluster import Cluster
from slurm_green.hook.record import Record
from slurm_green.slurm.records import Job
from tests.slurm.fetching import (
    CLEAN_G,
    DIRTY_G,
    HOUR,
    Fetching,
    Web,
    clean_hour,
    own_table,
    usually,
)
from tests.slurm.patience import wait_until
from tests.slurm.site import LATE_S, SHAPE, LiveSite, now_utc

KEY = "s3cr3t-Zh7kQ2vX0987654321"
SECOND = timedelta(seconds=1)
LATE = timedelta(seconds=LATE_S)
# Until after the clean hour has begun.
PATIENT = "--comment=green:max-delay=100m"
SIGNAL = {"read": ["file"], "horizon": "2d", "forecast": "8h", "cache_max_age": "60s"}
CONTROLLER = {"stale_signal": "1h"}

MakeFetching = Callable[..., Fetching]


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    site = LiveSite(
        make_module_cluster(stem="sc", **SHAPE),
        signal=SIGNAL,
        controller={**CONTROLLER, "metrics": address},
        policy={"max_delay": "3h"},
    )
    yield site
    site.close()


@pytest.fixture
def web() -> Iterator[Web]:
    """The internet."""
    one = Web()
    yield one
    one.pull()


@pytest.fixture
def site(shared: LiveSite) -> LiveSite:
    """The cluster without jobs, the daemon up, nothing fetched yet."""
    shared.paths["signal"].unlink(missing_ok=True)
    shutil.rmtree(shared.paths["signals"], ignore_errors=True)
    shared.reset()
    wait_until(
        lambda: "no such file" in str(shared.status().get("signal_problem")),
        timeout_s=15,
        what="sgreend without a signal",
        log=shared.log,
    )
    return shared


@pytest.fixture
def fetching(site: LiveSite, web: Web) -> Iterator[MakeFetching]:
    """`fetching("em", "uk")`: a fetching process that asks these, in this order."""
    made: list[Fetching] = []
    key = site.directory / "key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    tables: dict[str, dict[str, object]] = {
        "em": {
            "type": "electricity-maps",
            "zone": "DE",
            "key_file": key,
            "url": f"{web.url}/em",
        },
        "uk": {"type": "neso", "url": f"{web.url}/uk"},
        "south": {"type": "neso", "region": 12, "url": f"{web.url}/south"},
        "own": own_table(web),
    }

    def make(*chain: str) -> Fetching:
        one = Fetching(site, list(chain), tables, SIGNAL, CONTROLLER)
        made.append(one)
        return one

    yield make
    for one in made:
        one.kill()


class Told:
    """What sgreend says from now on."""

    def __init__(self, site: LiveSite) -> None:
        self._site = site
        self._from = site.log.stat().st_size

    def lines(self, words: str) -> list[str]:
        """Its log's lines with these words."""
        with self._site.log.open(errors="replace") as log:
            log.seek(self._from)
            return [line for line in log if words in line]

    def metrics(self) -> dict[str, float]:
        """Name without our prefix and values of labels by their names -> value, of all samples."""
        address = tomllib.loads(self._site.layout.green_conf.read_text())["controller"]["metrics"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return {
            " ".join(
                [sample.name.removeprefix("slurm_green_"), *_values(sample.labels)]
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def rests_on(self, provider: str | None) -> None:
        """Until sgreend believes that signal, and answers by it."""
        wait_until(
            lambda: self._site.status().get("signal", "") == provider,
            timeout_s=15,
            what=f"the signal of {provider}",
            log=self._site.log,
        )
        # The status file is written before the same cycle's view and metrics change processes.
        cycles = self._site.cycles
        wait_until(
            lambda: self.metrics().get("cycles_total", 0) >= cycles,
            timeout_s=15,
            what="metrics of that cycle",
            log=self._site.log,
        )


@pytest.fixture
def told(site: LiveSite) -> Told:
    """What sgreend says during this test."""
    return Told(site)


def falling(at_s: float) -> float:
    """The later the cleaner, in seconds."""
    return DIRTY_G * math.exp(-at_s / 300)


def deferred(site: LiveSite, signal: str, option: str = PATIENT) -> tuple[int, Record]:
    """A new job that waits, and by that signal; its id and its record."""
    job_id = site.deferred(option)
    record = site.record(job_id)
    assert record is not None
    assert record.signal == signal
    assert record.start_utc > record.decided_utc
    return job_id, record


def keeps_its_promise(site: LiveSite, job_id: int, record: Record) -> None:
    """It still waits, and Slurm itself starts it at its latest start."""
    job = site.job(job_id)
    assert (job.state, job.eligible_utc) == ("PENDING", record.latest_utc)


def at_its_latest(job: Job, record: Record) -> bool:
    """Whether it started when it was promised to start at the latest, and no earlier."""
    # What is planned for the latest start is planned for the second before it (deferrals.py).
    return bool(record.latest_utc - SECOND <= job.start_utc <= record.latest_utc + LATE)


def test_the_providers_forecast(
    site: LiveSite, web: Web, fetching: MakeFetching, told: Told
) -> None:
    """The job waits for the forecast's clean hour and says by whom; metrics tell the forecast."""
    clean = clean_hour(now_utc())
    web.neso(lambda at: usually(at, clean))
    one = fetching("uk")
    one.refresh()
    told.rests_on("neso")

    _, record = deferred(site, "neso")
    assert clean <= record.start_utc < clean + HOUR
    assert record.signal_age_s is not None
    assert 0 <= record.signal_age_s < 60

    found = told.metrics()
    assert found["signal_link_used provider uk"] == 1
    assert found["signal_link_failed provider uk"] == 0
    assert 0 <= found["signal_age_seconds"] < 60
    assert found["carbon_intensity_g_per_kwh"] == DIRTY_G
    at = datetime.fromtimestamp(found["cycle_timestamp_seconds"], UTC)
    for hours in (1, 3, 6, 12, 24):
        mean = found[f"carbon_forecast_g_per_kwh {hours} mean"]
        assert mean == usually(at + hours * HOUR, clean)

    status, text, raw = one.check()
    assert status == 0
    for said in (raw["sentence"], text):
        assert "Decisions rest on neso's forecast of " in said
    assert ("uk", "provider", "used") in links(raw)


def test_the_cable_is_pulled(site: LiveSite, web: Web, fetching: MakeFetching, told: Told) -> None:
    """Its last good forecast, then our own, then the provider again; no promise is broken."""
    clean = clean_hour(now_utc())
    one = fetching("own")
    one.learned("own", lambda at: usually(at, clean))
    web.own(falling, issued_ago_s=65)
    one.refresh()
    told.rests_on("own")
    soon, soon_record = deferred(site, "own", "--comment=green:max-delay=15s")
    later, later_record = deferred(site, "own", "--comment=green:max-delay=60s")

    web.pull()
    one.good_for("10m")
    one.refresh()
    told.rests_on("cache(own)")
    meanwhile, meanwhile_record = deferred(site, "cache(own)", "--comment=green:max-delay=60s")
    keeps_its_promise(site, later, later_record)
    found = told.metrics()
    assert found["signal_link_failed provider own"] == 1
    assert found["signal_link_used provider own"] == 0
    assert found["signal_link_used cache last good of own"] == 1
    assert found["signal_age_seconds"] >= 65
    status, text, raw = one.check()
    assert status == 0
    assert "the last good forecast of own" in raw["sentence"]
    assert ("own", "provider", "failed") in links(raw)
    assert "cannot be reached" in text
    assert "check the network" in text
    # Nobody but Slurm had to do anything for it.
    job = site.await_done(soon)
    assert at_its_latest(job, soon_record)

    one.good_for("1m")
    one.refresh()
    told.rests_on("forecast(own)")
    waits, record = deferred(site, "forecast(own)")
    assert clean <= record.start_utc < clean + HOUR
    found = told.metrics()
    assert found["signal_link_used forecast built-in forecast"] == 1
    assert found["signal_link_failed cache last good of own"] == 1
    low, mean, high = (
        found[f"carbon_forecast_g_per_kwh 3 {value}"] for value in ("p10", "mean", "p90")
    )
    assert low < mean < high
    status, _, raw = one.check()
    assert status == 0
    assert "the built-in forecast" in raw["sentence"]
    for job_id, promised in ((later, later_record), (meanwhile, meanwhile_record)):
        job = site.await_done(job_id, 60)
        assert job.start_utc <= promised.latest_utc + LATE
    keeps_its_promise(site, waits, record)

    # And in again: it is clean now and dirty later, so nobody waits for the usual hour.
    web.plug_in()
    web.own(lambda at_s: CLEAN_G if at_s < 300 else DIRTY_G)
    one.refresh()
    told.rests_on("own")
    job = site.await_done(waits)
    assert job.start_utc < record.start_utc
    assert told.metrics()["signal_link_failed provider own"] == 0
    assert len(told.lines("signal: provider own failed: ")) == 1
    assert len(told.lines("signal: provider own no longer fails: ")) == 1


def test_an_expired_key(site: LiveSite, web: Web, fetching: MakeFetching, told: Told) -> None:
    """The second provider serves, somebody is told where to put a new key, nobody what it was."""
    clean = clean_hour(now_utc())
    web.neso(lambda at: usually(at, clean))
    web.electricity_maps("DE", lambda _: CLEAN_G)
    one = fetching("em", "uk")
    one.refresh()
    told.rests_on("electricity-maps")
    refusal = {"error": f"token {KEY} has expired"}
    for prefix in ("/em", *[path for path in web.script.routes if path.startswith("/em")]):
        web.script.on(prefix, refusal, status=401)
    one.refresh()
    told.rests_on("neso")
    assert any(asked.get("auth-token") == KEY for asked in web.script.asked)

    _, record = deferred(site, "neso")
    assert clean <= record.start_utc < clean + HOUR
    found = told.metrics()
    assert found["signal_link_failed provider em"] == 1
    assert found["signal_link_used provider uk"] == 1
    assert len(told.lines("signal: provider em failed: ")) == 1
    status, text, raw = one.check()
    assert status == 0
    assert "neso's forecast" in raw["sentence"]
    advice = f"put a new key into {site.directory / 'key'}"
    assert any(todo["about"] == "em" and advice in todo["todo"] for todo in raw["todo"])
    assert advice in text

    for said in (text, str(raw), str(found), site.cluster.run("scontrol", "show", "job").stdout):
        assert KEY not in said
    files = [
        path
        for place in {site.directory, site.layout.directory, site.layout.log, site.layout.run}
        for path in place.rglob("*")
        if path.is_file() and path != site.directory / "key"
    ]
    assert one.log in files
    assert site.log in files
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_providers_that_lie_about_their_zone(
    site: LiveSite, web: Web, fetching: MakeFetching, told: Told
) -> None:
    """What is another zone's is refused, whatever it promises; the third in order is honest."""
    web.electricity_maps("FR", lambda _: 7)
    web.neso(lambda _: 7, "/south/regional/", regionid=9)
    web.own(falling)
    one = fetching("em", "south", "own")
    one.refresh()
    told.rests_on("own")

    deferred(site, "own", "--comment=green:max-delay=60s")
    found = told.metrics()
    assert [found[f"signal_link_failed provider {name}"] for name in ("em", "south")] == [1, 1]
    assert found["signal_link_used provider own"] == 1
    status, text, raw = one.check()
    assert status == 0
    assert "own's forecast" in raw["sentence"]
    todo = {advice["about"]: advice["todo"] for advice in raw["todo"]}
    assert "correct provider.em.zone" in todo["em"]
    assert "correct provider.south.region" in todo["south"]
    assert "asked for zone DE, the answer is for 'FR'" in text
    for name in ("em", "south"):
        assert len(told.lines(f"signal: provider {name} failed: ")) == 1
    assert not list(one.signals.glob("*.em.*")) + list(one.signals.glob("*.south.*"))


def test_the_fetching_process_dies(
    site: LiveSite, web: Web, fetching: MakeFetching, told: Told
) -> None:
    """What it forecast is believed for a while, then what is usual at that hour."""
    clean = clean_hour(now_utc())
    web.neso(lambda at: usually(at, clean))
    web.electricity_maps("FR", lambda _: 7)
    one = fetching("em", "uk")
    one.learned("uk", lambda at: usually(at, clean), provider="neso", region="GB", scope="direct")
    one.start()
    told.rests_on("neso")
    before, before_record = deferred(site, "neso")
    one.kill()
    one.since_it_wrote(timedelta(minutes=61))
    told.rests_on("climatology(neso)")

    _, record = deferred(site, "climatology(neso)")
    assert clean <= record.start_utc < clean + HOUR
    keeps_its_promise(site, before, before_record)
    (line,) = told.lines("signal: file file failed: ")
    assert "is the fetching process running?" in line
    found = told.metrics()
    assert found["signal_link_failed file file"] == 1
    assert found["signal_link_used provider uk"] == 0
    # Nobody asked it again, so it has not come back.
    assert found["signal_link_failed provider em"] == 1
    assert told.lines("provider em no longer fails") == []
    assert found["carbon_forecast_g_per_kwh 3 p10"] < found["carbon_forecast_g_per_kwh 3 p90"]
    status, text, raw = one.check()
    assert status == 0
    assert "what is usual at that hour of the week" in raw["sentence"]
    assert "the fetching process has been silent for" in text

    one.refresh()
    told.rests_on("neso")
    assert len(told.lines("signal: file file failed: ")) == 1
    assert len(told.lines("signal: file file no longer fails")) == 1
    assert told.metrics().get("signal_link_failed file file", 0) == 0


def test_the_fetching_process_dies_before_it_knows_what_is_usual(
    site: LiveSite, web: Web, fetching: MakeFetching, told: Told
) -> None:
    """Nothing is deferred, and it is said why; what was promised stands."""
    web.own(falling)
    one = fetching("own")
    one.start()
    told.rests_on("own")
    job_id, record = deferred(site, "own", "--comment=green:max-delay=5m")
    one.kill()
    one.since_it_wrote(timedelta(minutes=61))
    told.rests_on(None)

    assert site.passes()
    keeps_its_promise(site, job_id, record)
    (line,) = told.lines("nothing is deferred: ")
    assert "is the fetching process running?" in line
    assert "is the fetching process running?" in str(site.status()["signal_problem"])
    found = told.metrics()
    assert "signal_age_seconds" not in found
    assert "carbon_intensity_g_per_kwh" not in found
    assert found["signal_link_failed file file"] == 1
    assert found["signal_link_used provider own"] == 0
    status, text, raw = one.check()
    assert status == 1
    assert "nothing is deferred, jobs start at once" in raw["sentence"]
    assert "the fetching process has been silent for" in text


def test_everything_is_gone(site: LiveSite, web: Web, fetching: MakeFetching, told: Told) -> None:
    """No file, no network, nothing kept: Slurm as if we were not there, and it keeps our word."""
    web.own(falling)
    one = fetching("own")
    one.refresh()
    told.rests_on("own")
    soon, soon_record = deferred(site, "own", "--comment=green:max-delay=15s")
    later, later_record = deferred(site, "own", "--comment=green:max-delay=5m")
    web.pull()
    one.signal.unlink()
    shutil.rmtree(one.signals)
    told.rests_on(None)

    job = site.await_done(site.sbatch())
    assert job.start_utc - job.submit_utc <= LATE
    assert job.admin_comment == ""
    assert len(told.lines("nothing is deferred: ")) == 1
    one.refresh(usable=False)
    site.await_cycles()
    assert site.passes()
    assert one.check()[0] == 1
    job = site.await_done(soon)
    assert at_its_latest(job, soon_record)
    keeps_its_promise(site, later, later_record)


def links(raw: dict[str, list[dict[str, str]]]) -> set[tuple[str, str, str]]:
    """Name, kind and status of each link in the JSON of `sgreen signal check`."""
    return {(link["name"], link["kind"], link["status"]) for link in raw["links"]}


def _values(labels: dict[str, str]) -> list[str]:
    return [labels[name] for name in sorted(labels)]
