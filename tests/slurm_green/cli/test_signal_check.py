# SPDX-License-Identifier: Apache-2.0
"""`sgreen signal check`: the chain in plain words; doctor's finding about the same."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest
import signal_cases as cases

from slurm_green.cli import signal_ask
from slurm_green.cli.signal_advice import advice_for
from slurm_green.cli.signal_origin import origins, rests_on
from slurm_green.cli.signal_state import gather
from slurm_green.cli.signal_text import lines
from slurm_green.config.load import loads
from slurm_green.fetch.refresh import Source
from slurm_green.fetch.store import Store
from slurm_green.signals.bundle import Link
from slurm_green.signals.climatology import climatology_of
from slurm_green.signals.provider import KeyRefusedError, RateLimitedError

UTC = cases.UTC


@pytest.fixture
def site(sgreen):
    """Two providers, the first of which has an expired key; all else is as it should be."""
    cases.configure(sgreen)
    cases.keep(sgreen, cases.past())
    cases.leave(sgreen, cases.whole(), usual=climatology_of(cases.past()))
    return sgreen


def _carbon(site, status=0, *words):
    return site.json("signal", "check", *words, status=status)["quantities"]["carbon_g_per_kwh"]


def _todo(site, status=0):
    return {one["seen"]: one["todo"] for one in _carbon(site, status)["todo"]}


def test_it_explains_the_chain_in_plain_words(site):
    """Who is asked, what became of it, what it rests on, what to do."""
    done = site("signal", "check")

    assert done.exit_code == 0
    text = done.stdout
    for words in (
        "asked         em (electricity-maps), then uk (neso)",
        f"{site.config.paths.signal}, written Sun 11:56, 4 min ago",
        "used    uk's past: 60.0 days",
        f"failed  em's forecast: {cases.REFUSED}",
        "used    uk's forecast: 24 h 00 min ahead",
        "carbon_g_per_kwh.uk.neso.GB.average.direct.csv: 60.0 days until Sun 12:00",
        "gCO2e/kWh, basis average, scope direct, region GB",
        "until Mon 12:00: forecast by neso, issued 12 min ago",
        "until Tue 12:00: built-in forecast, issued 60 s ago",
        "until Sun 6 Dec 12:00: what is usual",
        "Decisions rest on neso's forecast of 12 min ago until Mon 12:00, then on the built-in "
        "forecast until Tue 12:00, then on what is usual at that hour of the week until "
        "Sun 6 Dec 12:00.",
        "-> put a new key into /etc/slurm-green/em.key (provider.em.key_file)",
    ):
        assert words in text, words


def test_json_says_the_same(site):
    """One object, and one entry per quantity."""
    found = site.json("signal", "check")
    carbon = found["quantities"]["carbon_g_per_kwh"]

    assert found["usable"] is True
    assert list(found["quantities"]) == ["carbon_g_per_kwh"]
    assert carbon["providers"] == [
        {"name": "em", "type": "electricity-maps"},
        {"name": "uk", "type": "neso"},
    ]
    assert [one["status"] for one in carbon["links"]] == ["used", "failed", "used"]
    assert carbon["written_utc"] == "2026-11-22T11:56:00Z"
    assert carbon["pasts"][0]["days"] == 60
    assert carbon["signal"]["age_s"] == 720
    assert [one["kind"] for one in carbon["signal"]["origins"]] == [
        "forecast",
        "forecast",
        "climatology",
    ]
    assert [one["about"] for one in carbon["todo"]] == ["em"]
    assert carbon["asked"] is None


def test_who_waits_is_named_with_its_time(site):
    """A provider that limits us is not asked before then."""
    store = Store(directory=site.config.paths.signals)
    store.let_wait("uk", site.after(minutes=30))
    store.let_wait("em", site.after(minutes=-30))

    assert _carbon(site)["waiting"] == [{"name": "uk", "until_utc": "2026-11-22T12:30:00Z"}]
    assert "uk wants to be left alone until Sun 12:30" in site("signal", "check").stdout


@pytest.mark.parametrize(
    ("said", "name", "words"),
    [
        (cases.REFUSED, "em", "put a new key into /etc/slurm-green/em.key"),
        (
            "electricity-maps: cannot be reached: no route",
            "em",
            "proxy (HTTPS_PROXY) of the host that fetches, and provider.em.url",
        ),
        ("neso: no answer in time (ReadTimeout)", "uk", "proxy"),
        ("electricity-maps: asked for zone GB, row 0 is for 'DE'", "em", "provider.em.zone"),
        ("neso: asked for region 12, the answer is for '3'", "uk", "correct provider.uk.region"),
        ("neso: slot 3 lacks from; did the API change?", "uk", "newer slurm-green"),
        ("neso: answered 500 Internal Server Error", "uk", "second one in signal.carbon"),
        ("neso: row 3 (2026-11-22T13:30Z) has no value", "uk", "second one in signal.carbon"),
        ("neso: answered 429, too many requests", "uk", "fetch less often"),
        ("/w.csv: No such file or directory", "uk", "the file that [provider.uk] names"),
        (
            "/w.csv: has no rows before now in the time asked for",
            "uk",
            "the file that [provider.uk] names",
        ),
        (
            "/w.csv: covers 2020-01-01T00:00Z to 2021-01-01T00:00Z, and nothing at now",
            "uk",
            "the file that [provider.uk] names",
        ),
        ("its series does not cover now", "uk", "clock of the host that fetches"),
        ("nothing is measured yet", "uk", "copy a past of your own into"),
        ("KeyError: 'x'", "uk", "log of the fetching process"),
        (cases.REFUSED, "uk", "credentials in [provider.uk]"),
        (cases.REFUSED, "gone", "no [provider.gone] any more"),
    ],
)
def test_each_failure_comes_with_what_to_do(site, said, name, words):
    """By what the provider said."""
    site.config = replace(
        site.config,
        provider=loads(
            '[provider.uk]\ntype = "neso"\nregion = 12\n'
            '[provider.em]\ntype = "electricity-maps"\nzone = "GB"\n'
            'key_file = "/etc/slurm-green/em.key"\n'
        ).provider,
    )
    state = gather(site.config, site.now)[0]

    link = Link(name=name, kind="provider", status="failed", said=said)

    assert words in advice_for(link, state, site.config)


def test_a_key_that_was_never_given_is_asked_for(site):
    """There is no file to put a new one into."""
    site.config = replace(
        site.config,
        provider=loads(
            '[provider.uk]\ntype = "neso"\n[provider.em]\ntype = "electricity-maps"'
        ).provider,
    )

    assert _todo(site)[cases.REFUSED].startswith("set provider.em.key_file")


def test_a_model_without_a_past_is_told_apart(site):
    """The built-in forecast is no provider."""
    link = Link(name="climatology", kind="climatology", status="failed", said="no measured past")
    cases.leave(site, cases.series(), (link,))

    assert _todo(site)["no measured past"].startswith("it needs a measured past")


def test_one_cause_is_told_once(site):
    """A forecast and a past mostly fail together."""
    links = [
        Link(name="uk", kind=kind, status="failed", said=f"neso: cannot be reached: {kind}")
        for kind in ("history", "provider")
    ]
    cases.leave(site, cases.series(), tuple(links))

    assert len(_carbon(site)["todo"]) == 1


def test_a_silent_fetching_process_is_found(site):
    """What is usual is still believed, and said."""
    cases.leave(site, cases.whole(), (), minutes_ago=480, usual=climatology_of(cases.past()))

    found = _carbon(site)

    assert found["usable"]
    assert found["sentence"].startswith("Decisions rest on what is usual at that hour of the week")
    assert "silent for 8 h 00 min" in found["todo"][0]["seen"]
    assert "slurm-green-fetch" in found["todo"][0]["todo"]


def test_nothing_usable_is_status_1(site):
    """And says why, with the reasons of all links."""
    cases.leave(site, None)

    found = _carbon(site, status=1)

    assert not found["usable"]
    assert found["signal"] is None
    assert "nothing is deferred" in found["sentence"]
    assert cases.REFUSED in found["problem"]
    assert site("signal", "check").exit_code == 1


def test_a_missing_file_is_found(site):
    """Nothing was ever fetched."""
    site.config.paths.signal.unlink()

    todo = _todo(site, status=1)

    assert todo[f"{site.config.paths.signal}: no such file"].startswith("start slurm-green-fetch")


def test_a_damaged_file_is_found(site):
    """Not a traceback."""
    site.config.paths.signal.write_text("{")

    (seen,) = _todo(site, status=1)

    assert "cut or damaged" in seen


def test_no_provider_is_found(sgreen):
    """A fresh install."""
    (seen,) = _todo(sgreen, status=1)

    assert seen == "signal.carbon names no provider"
    assert "nobody: signal.carbon names no provider" in sgreen("signal", "check").stdout


def test_providers_of_different_kinds_are_found(site):
    """Marginal and average are not two words for one thing."""
    Store(directory=site.config.paths.signals).keep("em", cases.series(basis="marginal"))

    (seen,) = [seen for seen in _todo(site) if "mixes" in seen]

    assert "em is marginal, direct; uk is average, direct" in seen


def test_a_short_past_is_found(sgreen):
    """The built-in forecast wants four weeks."""
    cases.configure(sgreen)
    cases.keep(sgreen, cases.past(days=20))
    cases.leave(sgreen, cases.series())

    assert any("20 days to learn from" in seen for seen in _todo(sgreen))


def test_a_damaged_past_is_found(site):
    """The fetching process passes over it without a word."""
    path = site.config.paths.signals / "carbon_g_per_kwh.uk.neso.GB.marginal.direct.csv"
    path.write_text("rubbish\n")

    assert any(str(path) in seen for seen in _todo(site))


@pytest.mark.parametrize("name", [None, "carbon_g_per_kwh.uk.neso.Hall 2, b.average.direct.csv"])
def test_a_past_is_told_by_its_file_whatever_its_region(site, name):
    """One of a region with a blank or a dot is not damaged, as it was kept or as it was copied."""
    (before,) = site.config.paths.signals.glob("carbon_g_per_kwh.uk.*.csv")
    cases.keep(site, cases.past(region="Hall 2.b"))
    (path,) = {*site.config.paths.signals.glob("carbon_g_per_kwh.uk.*.csv")} - {before}
    if name is not None:
        path = path.rename(path.with_name(name))

    assert str(path) in [one["file"] for one in _carbon(site)["pasts"]]
    assert not [seen for seen in _todo(site) if "damaged" in seen]
    assert f"{path.name}: 60.0 days until" in site("signal", "check").stdout


def test_a_csv_copied_in_is_no_chain(site):
    """Providers are configured, but somebody put a file there."""
    rows = "".join(f"2026-11-22T{hour:02}:00:00Z,100\n" for hour in range(24))
    site.config.paths.signal.write_text(f"start_utc,carbon_g_per_kwh\n{rows}")
    import os

    os.utime(site.config.paths.signal, (cases.NOW.timestamp() - 60,) * 2)

    assert any("a CSV that somebody copied in" in seen for seen in _todo(site))
    assert "a CSV that somebody copied in" in site("signal", "check").stdout
    assert _carbon(site)["sentence"].startswith("Decisions rest on a file's trace until")


def test_a_demo_reads_a_trace_of_its_own(sgreen, tmp_path):
    """No signal file, no provider, nothing to do."""
    (tmp_path / "day.csv").write_text("start_s,carbon_g_per_kwh\n0,100\n3600,200\n")
    cases.configure(
        sgreen,
        f'read = ["csv"]\n[signal.csv]\npath = "{tmp_path}/day.csv"\n'
        'anchor_utc = "2026-11-22T00:00:00Z"\nrepeat = true',
        "",
    )

    assert _carbon(sgreen)["todo"] == []
    text = sgreen("signal", "check").stdout
    assert f"read          csv {tmp_path}/day.csv" in text
    assert "  file " not in text


def test_a_trace_too_old_for_sgreend_is_not_usable(sgreen, tmp_path):
    """Its age is that of the file."""
    import os

    rows = "".join(f"2026-11-22T{hour:02}:00:00Z,100\n" for hour in range(24))
    (tmp_path / "day.csv").write_text(f"start_utc,carbon_g_per_kwh\n{rows}")
    os.utime(tmp_path / "day.csv", (cases.NOW.timestamp() - 86_400,) * 2)
    cases.configure(sgreen, f'read = ["csv"]\n[signal.csv]\npath = "{tmp_path}/day.csv"', "")

    assert "controller.stale_signal allows" in _carbon(sgreen, status=1)["problem"]


def test_every_configured_quantity_is_explained(site):
    """Carbon alone decides the exit status."""
    cases.configure(site, 'carbon = ["uk"]\nprice = ["em"]')
    price = cases.series("electricity-maps", quantity="price_per_kwh")
    cases.leave(site, price, (), quantity="price_per_kwh")

    found = site.json("signal", "check")["quantities"]

    assert list(found) == ["carbon_g_per_kwh", "price_per_kwh"]
    assert found["price_per_kwh"]["sentence"].startswith(
        "The price rests on electricity-maps' forecast of 12 min ago"
    )
    assert "\nPrice\n" in site("signal", "check").stdout
    (site.config.paths.signal.parent / "signal-price.json").unlink()
    lost = site.json("signal", "check")["quantities"]["price_per_kwh"]
    assert lost["sentence"] == "There is no usable signal of the price."


def test_foreign_text_cannot_trick_a_terminal(site):
    """A provider's words come from the internet."""
    evil = Link(name="uk", kind="provider", status="failed", said="\x1b[2Jgone")
    cases.leave(site, cases.series(region="\x1b[31m"), (evil,))

    assert "\x1b" not in site("signal", "check").stdout


def test_long_sentences_keep_their_indent_on_a_terminal(site):
    """A pipe gets one line a fact."""
    state = gather(site.config, site.now)[0]

    text = list(lines(state, [], site.now, UTC, 80))

    # Paths are left whole: somebody is going to copy them.
    assert all(len(line) <= 80 or len(line.split()) < 4 for line in text)
    assert any(line.startswith(" " * 16) and line.strip() for line in text)


def test_the_last_good_forecast_is_called_that(site):
    """A cache is not the provider."""
    series = cases.series(minutes_ago=180).relabelled("cache(neso)")

    said = rests_on(series, origins(series, site.now), site.now, UTC)

    assert said == (
        "Decisions rest on the last good forecast of neso of 3 h 00 min ago until Mon 12:00."
    )


def test_a_stand_in_for_the_model_is_called_what_it_is(site):
    """With less than four weeks the built-in forecast is a plainer one."""
    series = cases.series("forecast(neso)")
    naive = replace(series, provenance=(replace(series.stretches[0], kind="naive"),))

    (origin,) = origins(naive, site.now)

    assert origin.what == "the built-in forecast, from under four weeks"


def test_prices_have_a_zone_of_their_own(site):
    """Some providers name it differently."""
    cases.configure(
        site,
        'price = ["ec"]',
        '[provider.ec]\ntype = "energy-charts"\ncountry = "de"\nbidding_zone = "DE-LU"',
    )
    state = gather(site.config, site.now)[1]
    said = "ec: asked for DE-LU, the answer is for 'AT'"
    link = Link(name="ec", kind="provider", status="failed", said=said)

    assert "provider.ec.bidding_zone" in advice_for(link, state, site.config)


class Answering:
    """A provider that gives a forecast and a past."""

    name = "neso"

    def fetch(self, now_utc):
        return cases.series(minutes_ago=0)

    def history(self, start_utc, end_utc):
        return cases.past(days=61)


class Refusing:
    """A provider whose key expired."""

    name = "electricity-maps"

    def fetch(self, now_utc):
        raise KeyRefusedError(cases.REFUSED)


class Limiting:
    """A provider that wants to be left alone."""

    name = "neso"

    def fetch(self, now_utc):
        raise RateLimitedError("neso: answered 429, too many requests", retry_after_s=600)


def _model(past, now_utc, ahead_s):
    return cases.series("forecast(neso)", hours=96, minutes_ago=0)


@pytest.fixture
def asking(site, monkeypatch):
    """Providers that answer without a network, and a model that needs no time."""
    chain = [
        Source(name="em", provider=Refusing(), measures=False),
        Source(name="uk", provider=Answering()),
    ]
    monkeypatch.setattr(signal_ask, "build_sources", lambda config, quantity, client: chain)
    monkeypatch.setattr(signal_ask, "_built_in", lambda: _model)
    return site, chain


def _files(site):
    return {
        path.name: path.read_bytes()
        for path in [*site.config.paths.signals.iterdir(), site.config.paths.signal]
    }


def test_asking_now_shows_what_would_come_and_writes_nothing(asking):
    """The exit status is still about what sgreend reads."""
    site, _ = asking
    before = _files(site)
    cases.leave(site, None, minutes_ago=10)
    before["signal.json"] = site.config.paths.signal.read_bytes()

    found = _carbon(site, 1, "--ask")

    assert _files(site) == before
    assert [(one["name"], one["status"]) for one in found["asked"]["links"]][:3] == [
        ("uk", "used"),
        ("em", "failed"),
        ("uk", "used"),
    ]
    assert found["asked"]["signal"]["provider"] == "neso"
    text = site("signal", "check", "--ask").stdout
    assert "asked now     used    uk's past" in text
    assert "if fetched    Decisions rest on neso's forecast of 0 s ago until Mon 12:00" in text


def test_asking_leaves_alone_who_wants_to_be(asking):
    """And does not remember on the site's behalf either."""
    site, chain = asking
    Store(directory=site.config.paths.signals).let_wait("uk", site.after(hours=1))
    before = _files(site)

    statuses = {one["status"] for one in _carbon(site, 0, "--ask")["asked"]["links"]}
    chain[:] = [Source(name="uk", provider=Limiting(), measures=False)]

    assert "waiting" in statuses
    assert site("signal", "check", "--ask").exit_code == 0
    assert _files(site) == before


def test_asking_without_ever_having_fetched(asking):
    """No directory yet, and none afterwards."""
    import shutil

    site, _ = asking
    shutil.rmtree(site.config.paths.signals)

    assert _carbon(site, 0, "--ask")["asked"]["signal"]["provider"] == "neso"
    assert not site.config.paths.signals.exists()


def test_asking_with_a_key_nobody_may_read_costs_that_provider(site):
    """It is said, and the next one is asked."""
    done = site("signal", "check", "--ask")

    assert done.exit_code == 0
    assert "provider.em.key_file" in done.stdout


def test_asking_nobody_is_fine(sgreen):
    """No provider is a finding of its own."""
    assert sgreen("signal", "check", "--ask").exit_code == 1


@pytest.mark.parametrize("words", [["check", "--nope"], ["chek"], ["check", "extra"]])
def test_bad_input_is_status_2(site, words):
    """One line, nothing on stdout."""
    done = site("signal", *words)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_the_group_imports_nothing_heavy():
    """`sgreen signal --help` is as quick as the root's."""
    code = (
        "import sys\n"
        "from slurm_green.cli.root import root\n"
        "try: root(['signal', 'check', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'httpx', 'matplotlib', 'sqlite3'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "--ask" in done.stdout


def _doctor(site):
    found = json.loads(site("doctor", "--json").stdout)
    return next(one for one in found["checks"] if one["name"] == "signal")


def test_doctor_warns_of_a_failed_provider_with_a_fallback(site):
    """With what to do; without failure it is content."""
    found = _doctor(site)

    assert found["status"] == "warn"
    assert found["seen"].startswith("neso, 12 min old")
    assert f"em failed: {cases.REFUSED}" in found["seen"]
    assert found["todo"].startswith("put a new key into /etc/slurm-green/em.key")
    cases.leave(site, cases.whole(), cases.LINKS[2:])
    assert _doctor(site)["status"] == "ok"


def test_doctor_warns_where_only_the_usual_is_left(site):
    """It is no forecast."""
    cases.leave(site, cases.whole(), (), minutes_ago=480, usual=climatology_of(cases.past()))

    found = _doctor(site)

    assert found["status"] == "warn"
    assert "no forecast, only what is usual" in found["seen"]


def test_doctor_fails_without_a_signal_and_says_what_to_do(site):
    """The provider's failure is the cause."""
    cases.leave(site, None)

    found = _doctor(site)

    assert found["status"] == "fail"
    assert found["todo"].startswith("put a new key into")


def test_a_signal_that_begins_in_the_past_is_told_from_now(site):
    """What is over is not said to be trusted."""
    site.now = cases.NOW + timedelta(hours=30)
    cases.leave(site, cases.whole(), (), minutes_ago=-29 * 60)

    assert _carbon(site)["sentence"].startswith("Decisions rest on the built-in forecast until")
