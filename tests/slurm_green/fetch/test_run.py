# SPDX-License-Identifier: Apache-2.0
"""The fetching process: files for every chain, one at a time, quiet while nothing changes."""

import errno
import fcntl
import logging
import threading

import pytest
from fetch_fakes import HOUR, NOW, Forecaster, Historian, forecast, past, sources_of

from slurm_green.config.chains import signal_path
from slurm_green.config.load import loads
from slurm_green.errors import ConfigError, SignalError
from slurm_green.fetch.run import Fetch
from slurm_green.signals.bundle import read_bundle
from slurm_green.signals.provider import RateLimitedError
from slurm_green.signals.quantity import BASE_POWER, CARBON, PRICE, RENEWABLE

KEYS = {
    CARBON.name: "carbon",
    PRICE.name: "price",
    RENEWABLE.name: "renewable",
    BASE_POWER.name: "base_power",
}


class EnoughError(Exception):
    """Ends a process that runs for ever."""


class Desk:
    """A fetching process over fakes, and the place it writes to."""

    def __init__(self, place, monkeypatch):
        self.place = place
        self.providers = {}
        self.now = NOW
        self.waits = []
        self.before_each_wait = []
        monkeypatch.setattr("slurm_green.fetch.run.build_sources", self.sources)

    def sources(self, _config, quantity, _client):
        """What a configuration would build."""
        return sources_of(self.providers[quantity])

    def fetch(self, **providers):
        """A process with a chain for each of these quantities, by their key in [signal]."""
        self.providers = {quantity: providers.get(key, {}) for quantity, key in KEYS.items()}
        chains = "\n".join(f'{key} = ["{name}"]' for key, one in providers.items() for name in one)
        names = sorted({name for one in providers.values() for name in one})
        tables = "\n".join(f'[provider.{name}]\ntype = "neso"' for name in names)
        config = loads(
            f'[paths]\nsignal = "{self.place}/out/signal.json"\nsignals = "{self.place}/signals"\n'
            f"[signal]\n{chains}\n{tables}\n"
        )
        (self.place / "out").mkdir(exist_ok=True)
        return Fetch(config=config, client=None, forecaster=Forecaster(), now=lambda: self.now)

    def run(self, fetch, every_s=900):
        """Run for ever, until nothing is planned any more."""

        def sleep(seconds):
            self.waits.append(seconds)
            if not self.before_each_wait:
                raise EnoughError
            self.before_each_wait.pop(0)()

        with pytest.raises(EnoughError):
            fetch.forever(every_s=every_s, sleep=sleep)

    def bundle(self, name="signal.json"):
        """What was written last."""
        return read_bundle(self.place / "out" / name)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    return Desk(tmp_path, monkeypatch)


def good(**fields):
    """A provider that answers."""
    fields = {"scope": "direct"} | fields
    kind = {name: fields[name] for name in ("quantity", "scope") if name in fields}
    return Historian(forecast(**fields), measured=past(**kind))


def test_every_chain_leaves_its_file(desk):
    """Carbon where sgreend reads it, the others beside it under their own names."""
    found = desk.fetch(
        carbon={"uk": good()},
        price={"uk": good(quantity=PRICE.name)},
        renewable={"roof": good(quantity=RENEWABLE.name)},
        base_power={"meter": good(quantity=BASE_POWER.name)},
    ).once()

    assert sorted(path.name for path in (desk.place / "out").iterdir()) == [
        "signal-base_power.json",
        "signal-price.json",
        "signal-renewable.json",
        "signal.json",
    ]
    assert list(found) == list(KEYS)
    for quantity, bundle in found.items():
        again = read_bundle(signal_path(desk.fetch().config, quantity))
        assert again.series.quantity == bundle.series.quantity == quantity
        assert again.links == bundle.links


def test_no_chain_no_file(desk):
    """A site without prices has no file of them."""
    desk.fetch(carbon={"uk": good()}).once()

    assert [path.name for path in (desk.place / "out").iterdir()] == ["signal.json"]


def test_a_site_that_names_no_provider_is_told_what_to_write(desk):
    """No default zone: without a chain there is nothing to fetch, and nothing is written."""
    with pytest.raises(ConfigError, match=r"signal\.carbon names no provider.*\[provider\.NAME\]"):
        desk.fetch().once()

    assert list((desk.place / "out").iterdir()) == []


def test_the_horizons_are_the_configurations(desk):
    """How far the signal reaches and how old a last good forecast may be are settings."""
    fetch = desk.fetch(carbon={"uk": good()})
    fetch.config = loads(
        f'[paths]\nsignal = "{desk.place}/out/signal.json"\nsignals = "{desk.place}/signals"\n'
        '[signal]\ncarbon = ["uk"]\nhorizon = "3d"\nforecast = "60h"\ncache_max_age = "1h"\n'
        '[provider.uk]\ntype = "neso"'
    )
    fetch.once()
    first = desk.bundle().series
    desk.now = NOW + 2 * HOUR
    desk.providers[CARBON.name] = {"uk": Historian(SignalError("down"), measured=past())}
    fetch.once()

    assert first.end_utc == NOW + 72 * HOUR
    assert [one.steps for one in first.stretches] == [96, 24, 24]
    assert desk.bundle().series.provider == "built-in"


def test_nothing_usable_is_written_too(desk):
    """sgreend then says why there is no signal, in the providers' own words."""
    down = Historian(SignalError("uk: answered 500"), measured=SignalError("uk: answered 500"))

    found = desk.fetch(carbon={"uk": down}).once()

    assert found[CARBON.name].series is None
    assert "uk: answered 500" in desk.bundle().problem


def test_a_file_that_cannot_be_written_stays_as_it_was(desk, monkeypatch):
    """A full disk: the old signal, whole, and its age tells."""
    fetch = desk.fetch(carbon={"uk": good()})
    fetch.once()
    before = desk.bundle()
    desk.now = NOW + HOUR

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SignalError, match="No space left"):
        fetch.once()

    assert desk.bundle().written_utc == before.written_utc == NOW


def test_it_goes_on_after_errors(desk, caplog):
    """A disk that is full for a while costs those refreshes, with one line each."""
    fetch = desk.fetch(carbon={"uk": good()})
    blocked = desk.place / "signals"
    blocked.write_text("a file where the directory should be")
    desk.before_each_wait = [lambda: None, blocked.unlink, lambda: None]

    desk.run(fetch)

    assert desk.waits == [900] * 4
    errors = [one.message for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 2
    assert all("signals: cannot be written" in one for one in errors)
    assert desk.bundle().series.provider == "a"


def test_only_changes_are_told(desk, caplog):
    """An outage of a day is one line when it begins and one when it ends."""
    provider = good()
    fetch = desk.fetch(carbon={"uk": provider})

    def breaks():
        provider.gives = SignalError("uk: no route to host")

    def is_repaired():
        provider.gives = forecast()

    desk.before_each_wait = [*[lambda: None] * 3, breaks, *[lambda: None] * 3, is_repaired]
    with caplog.at_level(logging.INFO):
        desk.run(fetch)

    told = [
        (one.levelname, one.getMessage())
        for one in caplog.records
        if "provider uk" in one.getMessage()
    ]
    assert len(desk.waits) == 9
    assert [level for level, _ in told] == ["INFO", "WARNING", "INFO"]
    assert told[1][1] == "carbon provider uk: failed: uk: no route to host"
    assert told[2][1].startswith("carbon provider uk: used: ")


def test_two_chains_of_one_source_are_told_apart(desk, caplog):
    """The price of `em` fails, its carbon does not."""
    bad_price = Historian(SignalError("em: answered 500"), measured=SignalError("no"))
    fetch = desk.fetch(carbon={"em": good()}, price={"em": bad_price})

    with caplog.at_level(logging.INFO):
        desk.run(fetch)

    told = [one.getMessage() for one in caplog.records]
    assert "price provider em: failed: em: answered 500" in told
    assert any(one.startswith("carbon provider em: used: ") for one in told)


def test_a_provider_that_wants_an_hour_gets_it_whatever_the_pace(desk):
    """Retry-After holds across refreshes and across processes."""
    slow_down = RateLimitedError("slow down", retry_after_s=3600)
    limited = Historian(slow_down, measured=SignalError("x"))

    def quarter():
        desk.now += HOUR / 4

    desk.before_each_wait = [quarter] * 2
    desk.run(desk.fetch(carbon={"uk": limited}))
    desk.before_each_wait = [quarter] * 2
    desk.run(desk.fetch(carbon={"uk": limited}))

    assert limited.asked == [NOW, NOW + HOUR]


def test_only_one_refreshes_at_a_time(desk):
    """While one asks, the lock is held; afterwards it is free."""
    path = desk.place / "signals" / "lock"
    held = []

    class Curious(Historian):
        def history(self, start_utc, end_utc):
            with path.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    held.append(False)
                except BlockingIOError:
                    held.append(True)
            return past()

    desk.fetch(carbon={"uk": Curious(forecast())}).once()

    assert held == [True]
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_is_free_after_a_failure(desk, monkeypatch):
    """A refresh that raises must not lock out the next one."""
    fetch = desk.fetch(carbon={"uk": good()})
    monkeypatch.setattr("slurm_green.fetch.run.refresh", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetch.once()

    with (desk.place / "signals" / "lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_second_process_waits_for_the_first(desk, monkeypatch):
    """`sgreen fetch` by hand while the service runs: both are done, one after the other."""
    order, entering = [], threading.Event()
    flock = fcntl.flock

    class Noting(Historian):
        def history(self, start_utc, end_utc):
            order.append("asked")
            return past()

    def noting(handle, how):
        entering.set()
        flock(handle, how)

    fetch = desk.fetch(carbon={"uk": Noting(forecast())})
    (desk.place / "signals").mkdir()
    monkeypatch.setattr("slurm_green.fetch.run.fcntl.flock", noting)
    with (desk.place / "signals" / "lock").open("w") as file:
        flock(file, fcntl.LOCK_EX)
        second = threading.Thread(target=fetch.once)
        second.start()
        assert entering.wait(30)
        order.append("released")
    second.join(30)

    assert order == ["released", "asked"]
    assert desk.bundle().series.provider == "a"


def test_a_chain_that_names_nobody_ends_the_service_with_a_sentence(desk):
    """It would never have anything to do; systemd shows why."""
    with pytest.raises(ConfigError, match="names no provider"):
        desk.fetch().forever(every_s=900, sleep=lambda _: None)


def test_a_key_that_cannot_be_read_costs_only_its_provider(tmp_path, client):
    """Somebody rotates a key file at night: the next provider serves, and the service lives."""
    config = loads(
        f"""
        [paths]
        signal = "{tmp_path}/signal.json"
        signals = "{tmp_path}/signals"
        [signal]
        carbon = ["em", "uk"]
        [provider.em]
        type = "electricity-maps"
        zone = "GB"
        key_file = "{tmp_path}/gone"
        [provider.uk]
        type = "neso"
        url = "http://127.0.0.1:9"
        """
    )
    fetch = Fetch(config=config, client=client, forecaster=Forecaster(), now=lambda: NOW)

    found = fetch.once()

    links = {one.name: one for one in found[CARBON.name].links if one.kind == "provider"}
    assert links["em"].said == (
        f"provider.em.key_file: {tmp_path}/gone cannot be read: No such file or directory"
    )
    assert "neso: cannot be reached" in links["uk"].said


def test_one_file_that_cannot_be_written_does_not_cost_the_others(desk):
    """Somebody made a directory of the carbon file's name; the price is still told."""
    fetch = desk.fetch(carbon={"uk": good()}, price={"uk": good(quantity=PRICE.name)})
    (desk.place / "out" / "signal.json").mkdir()
    (desk.place / "out" / "signal.json" / "x").touch()

    with pytest.raises(SignalError, match=r"signal\.json: cannot write"):
        fetch.once()

    assert desk.bundle("signal-price.json").series is not None


def test_a_file_that_cannot_be_written_is_told_once(desk, caplog):
    """And what became of the links is told all the same."""
    fetch = desk.fetch(carbon={"uk": good()})
    (desk.place / "out" / "signal.json").mkdir()
    (desk.place / "out" / "signal.json" / "x").touch()

    with caplog.at_level(logging.INFO):
        desk.run(fetch)

    told = [one.getMessage() for one in caplog.records]
    assert len([one for one in told if "cannot write" in one]) == 1
    assert any(one.startswith("carbon provider uk: used: ") for one in told)
