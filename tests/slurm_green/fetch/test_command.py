# SPDX-License-Identifier: Apache-2.0
"""`sgreen fetch` from its configuration to the file, against a local web API."""

import json
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from fetch_fakes import HOUR, NOW, Forecaster
from neso_shapes import national, slots

from slurm_green.cli.app import App
from slurm_green.cli.root import root
from slurm_green.config.load import loads
from slurm_green.signals.signal_file import SignalFile


class EnoughError(Exception):
    """Ends a process that runs for ever."""


@pytest.fixture
def sgreen(tmp_path, api, monkeypatch):
    """Runs `sgreen WORDS` on a site with one provider, NESO."""
    url, script = api
    script.answer(national(slots(NOW)))
    # The real one imports a library of models, which is not what this is about.
    fake = SimpleNamespace(forecast=Forecaster())
    monkeypatch.setitem(sys.modules, "slurm_green.signals.forecast", fake)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    site = SimpleNamespace(url=url, script=script, waits=[], now=NOW, file=tmp_path / "signal.json")
    site.text = (
        f'[paths]\nsignal = "{site.file}"\nsignals = "{tmp_path}/signals"\n'
        f'[signal]\ncarbon = ["uk"]\n[provider.uk]\ntype = "neso"\nurl = "{url}"\n'
    )

    def sleep(seconds):
        site.waits.append(seconds)
        if len(site.waits) == 3:
            raise EnoughError

    def run(*words):
        app = App(
            environ={}, now=lambda: site.now, sleep=sleep, load_config=lambda _: loads(site.text)
        )
        return CliRunner().invoke(root, list(words), obj=app)

    site.run = run
    return site


def test_one_fetch_writes_what_sgreend_reads(sgreen):
    """And says in a line each what became of every link."""
    done = sgreen.run("fetch")

    assert done.exit_code == 0, done.output
    assert len(SignalFile(path=sgreen.file).fetch(NOW).values) >= 96
    first, *lines = done.stdout.splitlines()
    assert first == f"carbon_g_per_kwh: {sgreen.file}"
    assert any(one.split()[:3] == ["used", "provider", "uk:"] for one in lines)


def test_json_is_one_object_with_the_links(sgreen):
    """For scripts: by quantity, with whose signal it is and how far it reaches."""
    done = sgreen.run("fetch", "--json")

    found = json.loads(done.stdout)["carbon_g_per_kwh"]
    assert (found["file"], found["provider"], found["region"]) == (str(sgreen.file), "neso", "GB")
    assert {(one["kind"], one["status"]) for one in found["links"]} >= {("provider", "used")}


def test_no_signal_at_all_is_exit_status_1(sgreen):
    """The timer's unit then is failed, and the file says why."""
    sgreen.script.answer({}, status=500)

    done = sgreen.run("fetch")

    assert done.exit_code == 1
    assert "failed  provider    uk: neso: answered 500" in done.stdout
    assert json.loads(sgreen.file.read_text())["links"]


def test_a_site_without_a_chain_is_exit_status_2(sgreen):
    """Bad input: one line on stderr that says what to write."""
    sgreen.text = f'[paths]\nsignal = "{sgreen.file}"'

    done = sgreen.run("fetch")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "signal.carbon names no provider" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_setting_that_cannot_be_is_exit_status_2(sgreen):
    """A region that NESO does not have."""
    sgreen.text = sgreen.text.replace('type = "neso"', 'type = "neso"\nregion = 99')

    done = sgreen.run("fetch")

    assert (done.exit_code, done.stdout) == (2, "")
    assert "provider.uk.region = 99 is out of range" in done.stderr
    assert not sgreen.file.exists()


def test_a_place_that_cannot_be_written_is_one_line(sgreen, tmp_path):
    """Run by the wrong user, as by hand."""
    (tmp_path / "signals").write_text("a file where the directory should be")

    done = sgreen.run("fetch")

    assert done.exit_code == 1
    assert "it belongs to the fetching user" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_repeats_at_its_pace_whatever_happens(sgreen):
    """As a service: an outage does not end it."""
    sgreen.script.answer({}, status=500)

    done = sgreen.run("fetch", "--every", "600")

    assert isinstance(done.exception, EnoughError)
    assert sgreen.waits == [600.0] * 3


def test_what_a_provider_says_cannot_move_the_cursor(sgreen):
    """An answer of the internet is printed on somebody's terminal."""
    rows = slots(NOW)
    rows[3]["from"] = "\x1b[2J\x1b]0;owned\x07"
    sgreen.script.answer(national(rows))

    done = sgreen.run("fetch")

    assert "\x1b" not in done.output
    assert "\x07" not in done.output


def test_the_file_of_an_hour_ago_is_replaced(sgreen):
    """Newer words win."""
    sgreen.run("fetch")
    sgreen.now = NOW + HOUR
    sgreen.script.answer(national(slots(sgreen.now, forecast=lambda _: 7)))

    sgreen.run("fetch")

    assert SignalFile(path=sgreen.file).fetch(sgreen.now).at(sgreen.now) == 7.0
