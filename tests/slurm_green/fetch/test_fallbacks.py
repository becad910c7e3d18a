# SPDX-License-Identifier: Apache-2.0
"""A cable pulled, a key expired, a zone that is not ours: from the API to what sgreend reads."""

import logging
from datetime import timedelta

import httpx
import pytest
from fetch_fakes import FORECAST_G, HOUR, NOW, Forecaster
from neso_shapes import national, slots

from slurm_green.config.load import loads
from slurm_green.controller.build import build_provider
from slurm_green.errors import SignalError
from slurm_green.fetch.run import Fetch
from slurm_green.signals.bundle import read_bundle

KEY = "s3cr3t-0123456789"
SITE = """
[paths]
signal = "{place}/signal.json"
signals = "{place}/signals"
[signal]
carbon = [{chain}]
[provider.em]
type = "electricity-maps"
zone = "DE"
key_file = "{place}/key"
url = "{url}/em"
[provider.uk]
type = "neso"
url = "{url}/uk"
"""


class EnoughError(Exception):
    """Ends a process that runs for ever."""


def rows(begin, hours, grams):
    """Hours as Electricity Maps writes them."""
    return [
        {"datetime": f"{begin + n * HOUR:%Y-%m-%dT%H:%M:%S.000Z}", "carbonIntensity": grams}
        for n in range(hours)
    ]


def answer(zone, grams, begin, hours):
    """Its forecast or its past."""
    return {
        "zone": zone,
        "temporalGranularity": "hourly",
        "updatedAt": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
        "data": rows(begin, hours, grams),
    }


class Site:
    """One site's fetching process and the reader of its sgreend, over a local web API."""

    def __init__(self, place, api, chain):
        self.url, self.script = api
        (place / "key").write_text(f"{KEY}\n")
        (place / "key").chmod(0o600)
        names = ", ".join(f'"{name}"' for name in chain)
        self.place = place
        self.config = loads(SITE.format(place=place, url=self.url, chain=names))
        self.now = NOW
        self.forecaster = Forecaster()
        self.transport = None
        self.script.on("/uk", national(slots(NOW, forecast=lambda _: 50)))
        self.em("DE", 300)

    def em(self, zone, grams):
        """Let Electricity Maps answer for a zone."""
        begin = NOW - timedelta(days=10)
        self.script.on("/em/v4/carbon-intensity/forecast", answer(zone, grams, NOW, 72))
        self.script.on("/em/v4/carbon-intensity/past-range", answer(zone, grams, begin, 240))

    def fault(self, name):
        """What goes wrong from now on."""
        if name == "the cable is pulled":

            def unreachable(_):
                raise httpx.ConnectError("[Errno 101] Network is unreachable")

            self.transport = httpx.MockTransport(unreachable)
        elif name == "the key is expired":
            for prefix in ("/em", *[one for one in self.script.routes if one.startswith("/em")]):
                self.script.on(prefix, {"message": "Invalid auth-token"}, status=401)
        elif name == "the zone is another":
            self.em("FR", 9)

    def refresh(self):
        """One refresh, told to the log as the service does."""

        def enough(_):
            raise EnoughError

        timeout = httpx.Timeout(5.0)
        with httpx.Client(timeout=timeout, trust_env=False, transport=self.transport) as client:
            fetch = Fetch(
                config=self.config,
                client=client,
                forecaster=self.forecaster,
                now=lambda: self.now,
            )
            with pytest.raises(EnoughError):
                fetch.forever(every_s=900, sleep=enough)

    def read(self):
        """The signal and the links as sgreend has them, a minute later."""
        reader = build_provider(self.config)
        series = reader.fetch(self.now + timedelta(minutes=1))
        return series, {(one.kind, one.name): one for one in reader.links}


FAULTS = {
    "the cable is pulled": "cannot be reached",
    "the key is expired": "answered 401",
    "the zone is another": "asked for zone DE, the answer is for 'FR'",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_last_good_forecast_then_our_own_then_what_is_usual(tmp_path, api, caplog, fault):
    """Each step down is the right one, said in the link and the log, and nobody's key is shown."""
    site = Site(tmp_path, api, ["em"])
    site.refresh()
    assert site.read()[0].provider == "electricity-maps"
    site.fault(fault)

    site.now = NOW + 2 * HOUR
    caplog.clear()
    site.refresh()
    series, links = site.read()
    assert (series.provider, series.region) == ("cache(electricity-maps)", "DE")
    assert series.age_s(site.now) == 2 * 3600
    assert series.at(site.now) == 300
    assert links["provider", "em"].status == "failed"
    assert FAULTS[fault] in links["provider", "em"].said
    assert links["cache", "last good of em"].status == "used"
    warned = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert any(one.startswith("carbon provider em: failed: ") for one in warned)

    site.now = NOW + 13 * HOUR
    site.refresh()
    series, links = site.read()
    assert (series.provider, series.at(site.now)) == ("built-in", FORECAST_G)
    assert links["forecast", "built-in forecast"].status == "used"

    site.forecaster.raises = SignalError("not today")
    site.refresh()
    series, links = site.read()
    assert series.provider == "climatology(electricity-maps)"
    assert series.at(site.now) == pytest.approx(300)
    assert links["climatology", "climatology"].status == "used"
    assert series.stale_s(site.now) <= 60, "the fetcher stands behind it, so jobs still wait"
    assert {one.region for one in site.forecaster.seen} == {"DE"}
    assert KEY not in caplog.text + (tmp_path / "signal.json").read_text()


@pytest.mark.parametrize("fault", ["the key is expired", "the zone is another"])
def test_the_next_provider_serves(tmp_path, api, fault):
    """NESO answers as before; what Electricity Maps says of another zone is nowhere in it."""
    site = Site(tmp_path, api, ["em", "uk"])
    site.fault(fault)

    site.refresh()
    series, links = site.read()

    assert (series.provider, series.region) == ("neso", "GB")
    assert series.at(site.now) == 50
    assert 9 not in series.values
    assert links["provider", "em"].status == "failed"
    assert FAULTS[fault] in links["provider", "em"].said
    assert links["provider", "uk"].status == "used"


@pytest.mark.parametrize("fault", FAULTS)
def test_on_a_new_site_there_is_no_signal_and_the_reasons_are_said(tmp_path, api, fault):
    """Nothing was ever learned: sgreend gets one sentence, and defers nothing."""
    site = Site(tmp_path, api, ["em"])
    site.fault(fault)

    site.refresh()

    with pytest.raises(SignalError, match="no usable signal") as caught:
        site.read()
    for words in (FAULTS[fault], "no good forecast of em is kept yet", "no measured past"):
        assert words in str(caught.value)
    assert read_bundle(tmp_path / "signal.json").series is None


def test_when_the_fault_is_over_the_provider_is_back(tmp_path, api, caplog):
    """The cable is in again: no restart, no waiting."""
    site = Site(tmp_path, api, ["em"])
    site.fault("the cable is pulled")
    site.refresh()
    site.transport = None
    site.now = NOW + HOUR

    with caplog.at_level(logging.INFO):
        site.refresh()

    assert site.read()[0].provider == "electricity-maps"
    assert "carbon provider em: used: " in caplog.text


def test_a_limit_is_kept_to_and_the_last_good_forecast_serves(tmp_path, api):
    """429 with Retry-After: an hour without a request, of two processes."""
    site = Site(tmp_path, api, ["em"])
    site.refresh()
    for prefix in [one for one in site.script.routes if one.startswith("/em")]:
        site.script.on(prefix, {}, status=429, Retry_After="3600")
    site.now = NOW + HOUR
    site.refresh()
    asked = len(site.script.paths)

    site.now = NOW + 1.5 * HOUR
    site.refresh()
    series, links = site.read()

    assert len(site.script.paths) == asked
    assert links["provider", "em"].status == "waiting"
    assert series.provider == "cache(electricity-maps)"


def test_a_corrected_zone_does_not_get_the_old_zones_signal(tmp_path, api):
    """The admin meant AT: while AT fails, DE is no fallback, neither its forecast nor its past."""
    site = Site(tmp_path, api, ["em"])
    site.refresh()
    text = SITE.format(place=tmp_path, url=site.url, chain='"em"')
    site.config = loads(text.replace('zone = "DE"', 'zone = "AT"'))
    site.fault("the cable is pulled")
    site.refresh()

    with pytest.raises(SignalError):
        site.read()
