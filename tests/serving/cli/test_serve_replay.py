# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve-replay` as a person calls it."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from profiling.files import write_profile
from serving.cli.serve_page import front
from slurm_green.cli.root import root
from tests.serving.made import profile

KEYS = {
    "energy_j", "j_per_token", "ttft_p50_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms",
    "attainment", "clock_changes", "carbon_g",
}  # fmt: skip
ALL = "max,min,static:1200,two-level,feedback,bandit,projection,governor,oracle"


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    rows = [f"{0.2 * i:.1f},{100 + i},{20 + i}" for i in range(30)]
    (tmp_path / "r.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]))
    (tmp_path / "s.csv").write_text("start_s,carbon_g_per_kwh\n0,300\n")
    write_profile(tmp_path / "profile", profile())
    return [
        "serve-replay", "--requests", str(tmp_path / "r.csv"), "--profile",
        str(tmp_path / "profile"), "--slo-ttft-ms", "500", "--slo-tpot-ms", "30",
    ]  # fmt: skip


def run(*args: str) -> Result:
    return CliRunner().invoke(root, list(args))


def test_json_has_what_the_contract_names(asked: list[str], tmp_path: Path) -> None:
    result = run(*asked, "--policy", ALL, "--signal", str(tmp_path / "s.csv"), "--json")
    assert result.exit_code == 0, result.output
    policies = json.loads(result.stdout)["policies"]
    assert list(policies) == ALL.split(",")
    for values in policies.values():
        assert set(values) >= KEYS
        assert values["carbon_g"] == pytest.approx(values["energy_j"] / 3.6e6 * 300)
    assert policies["min"]["energy_j"] < policies["max"]["energy_j"]
    assert policies["governor"]["attainment"] == 1.0


def test_the_page_has_the_front_and_loads_nothing(asked: list[str], tmp_path: Path) -> None:
    result = run(*asked, "--policy", "max,min,governor", "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out.html").read_text()
    assert "30 requests under 3 clock policies" in text
    assert text.count("<circle") == 3
    assert "<script" not in text and "http:" not in text and "src=" not in text


def test_where_nobody_misses_an_slo_the_axis_has_two_ends(asked: list[str], tmp_path: Path) -> None:
    result = run(*asked, "--policy", "max,governor", "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out.html").read_text()
    assert ">100 %</text>" in text and ">99.9 %</text>" in text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no/out.html", "cannot be written"),
        ("r.csv", "is the file of --requests"),
        ("s.csv", "is the file of --signal"),
        ("profile/inference.csv", "is the file of --profile inference.csv"),
    ],
)
def test_a_page_that_cannot_be_is_refused_before_anything_is_read(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, told: str
) -> None:
    def read(_: Path) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr("serving.replay.requests.read_requests", read)
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    signal = ("--signal", str(tmp_path / "s.csv"))
    result = run(*asked, *signal, "--policy", "max", "--report", str(tmp_path / name))
    assert (result.exit_code, told in result.stderr) == (2, True), result.output
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def test_the_front_is_what_nobody_beats_in_both() -> None:
    def one(energy_j: float, attainment: float | None) -> Any:
        return SimpleNamespace(energy_j=energy_j, attainment=attainment)

    found = {"a": one(5, 1.0), "b": one(4, 0.9), "c": one(4.5, 0.8), "d": one(4, 0.95)}
    assert front(found) == ["d", "a"]
    assert front({"none": one(1.0, None)}) == ["none"]


def test_without_a_signal_carbon_is_not_known(asked: list[str]) -> None:
    result = run(*asked, "--policy", "max", "--json")
    assert json.loads(result.stdout)["policies"]["max"]["carbon_g"] is None


def test_idle_may_cost_nothing_and_a_switch_take_no_time(asked: list[str], tmp_path: Path) -> None:
    made = profile()
    gpu = replace(made.gpu, idle_w=0.0, parked_w=0.0, switch_latency_s=0.0)
    write_profile(tmp_path / "ideal", replace(made, gpu=gpu))
    (tmp_path / "r.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,1024,1\n99,1024,1\n")
    result = run(*asked, "--profile", str(tmp_path / "ideal"), "--policy", ALL, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["policies"]
    lowest = next(
        one
        for one in made.inference
        if (one.phase, one.context_tokens, one.clock_mhz) == ("prefill", 1024, 600)
    )
    assert lowest.power_w is not None
    assert found["min"]["ttft_p99_ms"] == pytest.approx(lowest.latency_s * 1e3)
    assert found["min"]["energy_j"] == pytest.approx(2 * lowest.latency_s * lowest.power_w)


def test_two_runs_differ_in_their_own_time_only(asked: list[str]) -> None:
    first, second = (
        json.loads(run(*asked, "--policy", "governor,bandit", "--json").stdout)["policies"]
        for _ in range(2)
    )
    for values in (*first.values(), *second.values()):
        del values["wall_s"]
    assert first == second


def test_the_table_is_for_people(asked: list[str]) -> None:
    result = run(*asked)
    assert result.exit_code == 0
    assert "POLICY" in result.stdout
    assert "30 requests, simulated" in result.stdout


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--policy", "turbo"), "turbo"),
        (("--policy", "static:99"), "600 to 1800 MHz"),
        (("--policy", "static:1_200"), "600 to 1800 MHz"),
        (("--policy", "static:fast"), "fast"),
        (("--policy", ","), "names no policy"),
        (("--policy", "max,max"), "twice"),
        (("--tp", "4"), "profile: the profile has no decode at tp 4"),
        (("--slo-tpot-ms", "nan"), "finite"),
        (("--ceiling-mhz", "599"), "--ceiling-mhz 599: the profile's lowest clock is 600 MHz"),
        (("--ceiling-w", "10"), "--ceiling-w 10: at the lowest clock, 600 MHz, a replica may draw"),
    ],
)
def test_what_cannot_be_is_refused(asked: list[str], more: tuple[str, ...], told: str) -> None:
    result = run(*asked, *more)
    assert result.exit_code != 0
    assert told in str(result.exception) + result.output


def test_a_bad_row_is_named(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,5,0\n")
    result = run(*asked)
    assert result.exit_code != 0
    assert "line 2: column output_tokens" in str(result.exception) + result.output


@pytest.mark.parametrize("zero_s", [-1000.0, 1e9])
def test_times_may_begin_anywhere(asked: list[str], tmp_path: Path, zero_s: float) -> None:
    words = (*asked, "--policy", ALL, "--signal", str(tmp_path / "s.csv"), "--json")
    usual = json.loads(run(*words).stdout)["policies"]
    header, *rows = (tmp_path / "r.csv").read_text().split()
    moved = (f"{float(at) + zero_s!r},{rest}" for at, rest in (row.split(",", 1) for row in rows))
    (tmp_path / "r.csv").write_text("\n".join([header, *moved]))
    (tmp_path / "s.csv").write_text(f"start_s,carbon_g_per_kwh\n{zero_s},300\n")
    result = run(*words)
    assert result.exit_code == 0, result.output
    for name, values in json.loads(result.stdout)["policies"].items():
        for key in KEYS:
            assert values[key] == pytest.approx(usual[name][key], rel=1e-4), (name, key)


def test_who_is_refused_is_told(asked: list[str], tmp_path: Path) -> None:
    with (tmp_path / "r.csv").open("a") as file:
        file.write("\n1,300000,5\n")
    assert "1 refused: longer than the KV cache of 200000 tokens" in run(*asked).stdout


def test_objectives_spend_carbon_on_speed(asked: list[str], tmp_path: Path) -> None:
    signal = ("--signal", str(tmp_path / "s.csv"), "--policy", "governor", "--json")

    def told(*more: str) -> dict[str, float]:
        result = run(*asked, *signal, *more)
        assert result.exit_code == 0, result.output
        values: dict[str, float] = json.loads(result.stdout)["policies"]["governor"]
        return values

    least = told()
    ppc = told("--objective", "ppc")
    rich = told("--objective", "carbon-constrained", "--carbon-budget-g", "100")
    assert least["carbon_g"] < ppc["carbon_g"]
    assert least["performance"] < ppc["performance"] <= rich["performance"] + 0.01
    assert ppc["ppc"] == pytest.approx(ppc["performance"] / ppc["carbon_g"] * 1e3)
    capped = told("--objective", "ppc", "--ceiling-mhz", "900")
    assert capped["performance"] < ppc["performance"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--objective", "ppc"), "give --signal"),
        (("--objective", "carbon-constrained"), "give --signal"),
        (("--carbon-budget-g", "5"), "go together"),
    ],
)
def test_what_an_objective_needs_is_asked_for(
    asked: list[str], more: tuple[str, ...], why: str
) -> None:
    result = run(*asked, *more)
    assert result.exit_code == 2
    assert why in result.stderr
