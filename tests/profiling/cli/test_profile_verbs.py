# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile` and its verbs: what they print, write and refuse."""

import json
import lzma
import os
import subprocess
import sys
from dataclasses import replace

import profile_cases
import pytest
from click.testing import CliRunner

from profiling.cli.root import VERBS, command
from profiling.errors import ProfileError
from profiling.files import read_profile, write_profile
from profiling.profile import Provenance

pytestmark = pytest.mark.slow

PERSEUS = "stage,instruction,frequency,time,energy\n" + "".join(
    f"0,forward,{clock},{60 / clock},{clock / 60}\n" for clock in (900, 1100, 1300, 1410)
)


def run(*args):
    """Standard output of a verb that succeeds."""
    result = CliRunner().invoke(command, [str(one) for one in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*args):
    """What a verb says that refuses."""
    with pytest.raises(ProfileError) as error:
        run(*args)
    assert error.value.exit_status == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def usage(*args):
    result = CliRunner().invoke(command, [str(one) for one in args])
    assert result.exit_code == 2
    return result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the profile `p`."""
    path = tmp_path_factory.mktemp("profiles")
    write_profile(path / "p", profile_cases.profile(batches=(1, 8), contexts=(512,), noise=0.004))
    return path


def test_the_verbs_help_is_their_own():
    for name, short in VERBS.items():
        assert command.get_command(None, name).short_help == short
        assert run(name, "--help")
    assert command.get_command(None, "guess") is None
    text = run("--help")
    assert all(f"{name} " in text for name in VERBS)


def test_help_imports_no_numbers():
    code = "import sys; from profiling.cli.root import command; command.list_commands(None); "
    code += (
        "import profiling.cli.fit, profiling.cli.show, profiling.cli.plot, profiling.cli.convert"
    )
    code += "; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


def test_show(place):
    facts = json.loads(run("show", place / "p", "--json"))
    assert facts["provenance"] == "simulated"
    assert facts["gpu"]["idle_w"] == 50
    assert facts["assumed"] == [
        "gpu.parked_w",
        "gpu.switch_latency_s",
        "engine.kv_tokens",
        "engine.max_batched_tokens",
        "engine.max_num_seqs",
    ]
    assert facts["points"] == {"inference": 44, "training": 22}
    best = {one["load"]: one for one in facts["loads"]}["prefill, batch 8, context 512"]
    assert best["settings"] == 11
    assert 960 <= best["best"] <= 1140
    assert best["energy_saved"] > 0.2
    text = run("show", place / "p")
    assert "model: made-up" in text
    assert "gpu.parked_w: 50 (assumed)" in text
    assert "engine_name: not known" in text
    assert "prefill, batch 8, context 512" in text


def test_fit_prints_constants_and_fills_a_new_profile(place):
    out = place / "fitted"
    args = ("--replicas", 4, "--batch", 4, "--setting", 600, "--setting", 1200)
    facts = json.loads(run("fit", place / "p", "--out", out, *args, "--json"))
    knee = facts["constants"]["knee"]
    low, high = knee["p05_p95"]
    assert low < high
    assert knee["value"] == pytest.approx(profile_cases.SHAPE.knee, abs=0.05)
    assert facts["held_out"]["power"] < 0.015
    assert json.loads((out / "fit.json").read_text())["constants"] == facts["constants"]
    filled = read_profile(out)
    assert filled.fitted
    assert {one.batch for one in filled.inference} == {1, 4, 8}
    assert {one.clock_mhz for one in filled.inference} == {600, 1200}
    text = run("fit", place / "p", "--replicas", 2)
    assert "voltage flat up to" in text
    assert "held out: 6 settings" in text
    assert "filled by a fit" in run("show", out)
    assert "is a fit already" in refused("fit", out)
    assert "is there already" in refused("fit", place / "p", "--out", out)


def test_the_interval_of_a_best_clock_is_around_it(place):
    """Memory slows down in straight pieces below a clock, which no smooth law has: it is carried.

    What is carried moves the best clock; an interval of the law alone would be elsewhere.
    """

    def kinked(one):
        slower = 1 + 4 * max(0.0, 1 - one.clock_mhz / 1050)
        return replace(
            one, latency_s=one.latency_s * slower, n=3, ci95_latency_s=1e-6, ci95_power_w=1e-3
        )

    found = profile_cases.profile(batches=(1, 8), contexts=(512,))
    kinks = tuple(kinked(one) for one in found.inference if one.phase == "decode")
    write_profile(place / "kinked", replace(found, inference=kinks, training=()))
    facts = json.loads(run("fit", place / "kinked", "--replicas", 20, "--json"))
    assert len(facts["loads"]) == 2
    for one in facts["loads"]:
        low, high = one["best_p05_p95"]
        assert low <= one["best"] <= high, one


def test_the_same_seed_gives_the_same_fit(place):
    one, other = (run("fit", place / "p", "--replicas", 2, "--json") for _ in range(2))
    assert one == other
    assert one != run("fit", place / "p", "--replicas", 2, "--seed", 1, "--json")


def test_fit_says_what_it_leaves_out(place):
    """Loads that ran under a cap are not filled in as if a clock had been set."""
    found = profile_cases.profile(batches=(1,), contexts=(512,), training=())
    capped = tuple(replace(one, batch=4, power_cap_w=200.0) for one in found.inference[:3])
    write_profile(place / "some", replace(found, inference=(*found.inference, *capped)))
    args = ("fit", place / "some", "--replicas", 2)
    assert json.loads(run(*args, "--json"))["left_out"] == 3
    text = run(*args, "--out", place / "whole")
    assert "left out: 3 points without a clock, or under a power cap" in text
    assert {one.batch for one in read_profile(place / "whole").inference} == {1}
    assert "left out" not in run("fit", place / "p", "--replicas", 2)


def test_fit_refuses_what_it_cannot_do(place):
    assert "say what --out is filled with" in refused("fit", place / "p", "--batch", 2)
    said = refused("fit", place / "p", "--replicas", 2, "--setting", 5, "--out", place / "beyond")
    assert f"{place / 'p'}: clock_mhz 5 is outside of what was swept, 510 to 1410" in said
    assert not (place / "beyond").exists()
    assert "no such directory" in refused("fit", place / "none")
    for value in ("-1", "0", "nan"):
        assert "setting" in usage("fit", place / "p", "--out", place / "x", "--setting", value)


@pytest.mark.parametrize("name, start", [("a.html", b"<!doctype html>"), ("a.PNG", b"\x89PNG")])
def test_plot(place, name, start):
    found = json.loads(run("plot", place / "p", "--out", place / name, "--json"))
    assert found["charts"][0] == "decode: Power"
    data = (place / name).read_bytes()
    assert data.startswith(start)
    assert run("plot", place / "p", "--out", place / name) == f"written: {place / name}\n"
    assert data == (place / name).read_bytes()


def test_plot_refuses_what_it_cannot_do(place):
    assert "ends in .png or .html" in refused("plot", place / "p", "--out", place / "a.gif")
    assert "cannot be written" in refused("plot", place / "p", "--out", place / "none" / "a.html")
    (place / "folder.html").mkdir()
    assert "is no plain file" in refused("plot", place / "p", "--out", place / "folder.html")


def test_compare(place):
    found = json.loads(run("compare", place / "p", place / "p", "--json"))
    assert [one["phase"] for one in found["differences"]] == ["prefill", "decode", "training"]
    assert found["differences"][0]["time_mean"] == pytest.approx(0, abs=1e-9)
    assert len(found["optima"]) == 4
    text = run("compare", place / "p", place / "p")
    assert "22 of 22" in text
    assert "regret" in text
    two = profile_cases.profile(batches=(1,), contexts=(512,), tp=2)
    write_profile(place / "tp2", replace(two, training=()))
    assert "decode, tp 2" in run("compare", place / "tp2", place / "tp2")


def test_convert(tmp_path):
    (tmp_path / "t.csv").write_text(PERSEUS)
    (tmp_path / "t.csv.xz").write_bytes(lzma.compress(PERSEUS.encode()))
    # As `cat` and some packers with threads make it: several files in one.
    halves = (PERSEUS[:70].encode(), PERSEUS[70:].encode())
    (tmp_path / "parts.csv.xz").write_bytes(b"\0\0\0\0".join(map(lzma.compress, halves)))
    args = ("--from", "perseus", "--where", "stage=0", "--gpu-name", "A100", "--date", "2024")
    for name in ("t.csv", "t.csv.xz", "parts.csv.xz"):
        out = tmp_path / f"from-{name}"
        found = json.loads(run("convert", tmp_path / name, *args, "--out", out, "--json"))
        assert (found["rows"], found["points"]) == (4, 4)
        assert "gpu_name" not in found["missing"]
        assert "gpu.idle_w" in found["missing"]
        made = read_profile(out)
        assert (made.provenance, made.gpu_name, made.date) == (
            Provenance.PUBLISHED, "A100", "2024",
        )  # fmt: skip
    text = run("convert", tmp_path / "t.csv", *args, "--out", tmp_path / "again")
    assert "4 points of 4 rows" in text
    assert "not known: driver," in text


def test_convert_a_plain_table(tmp_path):
    (tmp_path / "t.csv").write_text("W,tps,draw\n300,50,290\n250,48,249\n200,40,200\n150,25,150\n")
    args = ("--map", "power_cap_w=W", "--map", "rate=tps", "--map", "power_w=draw")
    args += ("--set", "workers=1", "--from", "csv")
    assert "needs --source" in refused(
        "convert", tmp_path / "t.csv", *args, "--out", tmp_path / "p"
    )
    run("convert", tmp_path / "t.csv", *args, "--source", "a blog", "--out", tmp_path / "p")
    assert read_profile(tmp_path / "p").source == "a blog"
    assert "W cap" in run("show", tmp_path / "p")
    (tmp_path / "t.csv").write_text("W,tps,draw,host\n300,50,290,a\n300,48,249,b\n")
    args += ("--source", "a blog", "--out", tmp_path / "hosts")
    assert "differ in host" in refused("convert", tmp_path / "t.csv", *args)
    run("convert", tmp_path / "t.csv", *args, "--ignore", "host")
    assert [one.rate for one in read_profile(tmp_path / "hosts").training] == [49]
    assert "lowest clock a cap forces" in run("fit", tmp_path / "p", "--replicas", 2)


def test_convert_refuses_what_it_cannot_do(tmp_path, monkeypatch):
    table, out = tmp_path / "t.csv", ("--out", tmp_path / "p")
    table.write_text(PERSEUS)
    perseus = ("convert", table, "--from", "perseus", *out)
    assert f"{table}: no row is as wanted; stage is '0'" in refused(*perseus, "--where", "stage=9")
    assert "--where 'stage': wanted NAME=VALUE" in refused(*perseus, "--where", "stage")
    twice = refused(*perseus, "--where", "stage=0", "--where", "stage=1")
    assert "--where stage: is given twice" in twice
    plain = ("convert", table, "--from", "csv", "--source", "x", *out, "--map", "rate=time")
    assert "rate: --map and --set both" in refused(*plain, "--set", "rate=1")
    assert "go with --from csv only" in refused(*perseus, "--set", "n=1")
    assert "line 1: no column dataset" in refused("convert", table, "--from", "zeus", *out)
    table.write_text(PERSEUS.splitlines()[0])
    assert f"{table}: has no rows" in refused(*perseus, "--where", "stage=0")
    assert "no such file" in refused("convert", tmp_path / "x.csv", "--from", "zeus", *out)
    (tmp_path / "cut.xz").write_bytes(lzma.compress(PERSEUS.encode())[:-20])
    assert "is cut" in refused("convert", tmp_path / "cut.xz", "--from", "zeus", *out)
    (tmp_path / "no.xz").write_bytes(b"stage")
    assert "is no .xz file" in refused("convert", tmp_path / "no.xz", "--from", "zeus", *out)
    second = lzma.compress(PERSEUS.encode())
    (tmp_path / "bad.xz").write_bytes(second + second[:24] + b"x" + second[25:])
    assert "or damaged" in refused("convert", tmp_path / "bad.xz", "--from", "zeus", *out)
    monkeypatch.setattr("profiling.cli.convert._MAX_BYTES", 2**20)
    (tmp_path / "large.xz").write_bytes(lzma.compress(b"a" * (2**20 + 1)))
    large = refused("convert", tmp_path / "large.xz", "--from", "zeus", *out)
    assert "is larger than 1 MiB unpacked" in large
    assert "Invalid value for '--from'" in usage("convert", table, "--from", "x", *out)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine").write_text("x")
    assert "is there already" in refused(*perseus)


def test_names_of_others_cannot_play_tricks_on_a_terminal(tmp_path):
    made = profile_cases.profile(batches=(1,), contexts=(512,), model="\x1b[31mred\nx")
    write_profile(tmp_path / "p", made)
    assert "model: ?[31mred?x" in run("show", tmp_path / "p")
