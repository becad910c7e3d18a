# SPDX-License-Identifier: Apache-2.0
"""`sgreen route-replay` as a person calls it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import profiling.shipped
from profiling.files import write_profile
from serving.replay.route.kernel import library
from slurm_green.cli.root import root
from slurm_green.errors import BadInputError
from tests.serving.made import profile

try:
    library()
except BadInputError:
    pytest.skip("the kernel is not compiled here", allow_module_level=True)

KEYS = {
    "goodput_rps", "attainment", "e2e_p50_s", "e2e_p99_s", "dropped", "rerouted", "energy_j",
    "unused_wh", "wall_s",
}  # fmt: skip
ALL = "per-site,per-site-admit,wrr-power,power-cap,greedy-latency,heron,reactive,prices,oracle"
SITES = """[[site]]
name = "north"
gpus = 2
rtt_ms = 10
power_column = "n_w"
[[site]]
name = "south"
gpus = 1
rtt_ms = 30
power_column = "s_w"
"""


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    rows = [f"{0.2 * i:.1f},{100 + i},{20 + i % 50}" for i in range(150)]
    (tmp_path / "r.csv").write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]))
    (tmp_path / "sites.toml").write_text(SITES)
    (tmp_path / "p.csv").write_text("start_s,n_w,s_w\n-60,1500,900\n10,0,900\n20,700,900\n")
    write_profile(tmp_path / "profile", profile())
    return [
        "route-replay", "--sites", str(tmp_path / "sites.toml"), "--power", str(tmp_path / "p.csv"),
        "--requests", str(tmp_path / "r.csv"), "--profile", str(tmp_path / "profile"),
        "--slo-ttft-ms", "500", "--slo-tpot-ms", "50",
    ]  # fmt: skip


def run(*args: str) -> Result:
    return CliRunner().invoke(root, list(args))


def test_json_has_what_the_contract_names(asked: list[str]) -> None:
    result = run(*asked, "--policy", ALL, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert list(answer["policies"]) == ALL.split(",")
    for values in answer["policies"].values():
        assert set(values) >= KEYS
        assert values["goodput_rps"] <= answer["bound_rps"] * (1 + 1e-6)


def test_parked_may_cost_nothing_and_a_switch_take_no_time(
    asked: list[str], tmp_path: Path
) -> None:
    made = profile()
    gpu = replace(made.gpu, idle_w=0.0, parked_w=0.0, switch_latency_s=0.0)
    write_profile(tmp_path / "ideal", replace(made, gpu=gpu))
    result = run(*asked, "--profile", str(tmp_path / "ideal"), "--policy", ALL, "--json")
    assert result.exit_code == 0, result.output
    for values in json.loads(result.stdout)["policies"].values():
        assert values["attainment"] > 0 and values["energy_j"] > 0 and values["unused_wh"] > 0


def test_two_runs_differ_in_their_own_time_only(asked: list[str]) -> None:
    first, second = (
        json.loads(run(*asked, "--policy", "heron,prices", "--json").stdout)["policies"]
        for _ in range(2)
    )
    for values in (*first.values(), *second.values()):
        del values["wall_s"]
    assert first == second


def test_nothing_is_said_beside_the_answer(
    asked: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Rates that fade for minutes: HiGHS repairs the plans of some, and says so on its own stdout.
    rows = "".join(f"{20 * i},100,60000\n" for i in range(5))
    (tmp_path / "r.csv").write_text(f"arrival_s,prompt_tokens,output_tokens\n{rows}")
    (tmp_path / "p.csv").write_text("start_s,n_w\n0,2800\n")
    (tmp_path / "sites.toml").write_text(SITES.split('[[site]]\nname = "south"')[0])
    shipped = str(Path(profiling.shipped.__file__).with_name("h100-sxm-8b"))
    asked += ["--profile", shipped, "--slo-ttft-ms", "2000", "--slo-tpot-ms", "60"]
    result = run(*asked, "--policy", "heron", "--no-bound", "--json")
    assert result.exit_code == 0, result.output
    assert capfd.readouterr() == ("", "")


def test_the_table_is_for_people(asked: list[str]) -> None:
    result = run(*asked, "--policy", "per-site,prices")
    assert result.exit_code == 0
    assert "POLICY" in result.stdout
    assert "150 requests, simulated" in result.stdout
    assert "no policy can have more than" in result.stdout


def test_the_page_is_written_and_loads_nothing(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "sites.toml").write_text(SITES.replace("north", "<b>no"))
    result = run(*asked, "--policy", "per-site,prices", "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out.html").read_text()
    assert "&lt;b&gt;no" in text
    assert "<b>no" not in text
    assert "http://" not in text and "https://" not in text
    assert text.count("<svg") == 4


def test_every_axis_of_the_page_begins_and_ends_in_a_figure_with_its_unit(
    asked: list[str], tmp_path: Path
) -> None:
    result = run(*asked, "--policy", "per-site,prices", "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 0, result.output
    pictures = re.findall("<svg.*?</svg>", (tmp_path / "out.html").read_text())
    for picture, unit in zip(pictures, ("/s", " %", " W", " W"), strict=True):
        told = re.findall("<text[^>]*>([^<]*)</text>", picture)
        assert [re.sub("-?[0-9.,]+", "N", one) for one in told] == [
            f"N{unit}", f"N{unit}", "N s", "N s",
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["r.csv", "sites.toml", "profile/inference.csv"])
def test_no_page_takes_the_place_of_what_is_read(
    asked: list[str], tmp_path: Path, name: str
) -> None:
    before = (tmp_path / name).read_bytes()
    result = run(*asked, "--policy", "per-site", "--report", str(tmp_path / name))
    assert (result.exit_code, "is the file of --" in result.stderr) == (2, True), result.output
    assert (tmp_path / name).read_bytes() == before


def test_a_forecast_is_read(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text(
        "issued_s,start_s,n_w,n_w_p10,s_w\n-60,-60,1500,1400,900\n-60,10,0,0,900\n-60,20,700,600,900\n"
    )
    blind, warned = (
        json.loads(run(*asked, "--policy", "prices", "--json", *more).stdout)["policies"]["prices"]
        for more in ((), ("--forecast", str(tmp_path / "f.csv")))
    )
    assert warned["rerouted"] <= blind["rerouted"]


def test_one_request_has_a_rate(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("arrival_s,prompt_tokens,output_tokens\n3,100,10\n")
    result = run(*asked, "--policy", "per-site", "--json")
    answer = json.loads(result.stdout)
    assert answer["policies"]["per-site"]["goodput_rps"] == 1.0
    assert answer["bound_rps"] == pytest.approx(1.0)


def test_nothing_to_be_had_is_a_plain_nothing(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("start_s,n_w,s_w\n-60,0,0\n")
    result = run(*asked, "--policy", "per-site", "--json")
    assert '"bound_rps": 0.0' in result.stdout


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("", "has no rows"),
        ("0,0,1,1\n1,0,1,1\n" * 2, "f.csv: line 4: column start_s: two rows have issued_s 0 and"),
    ],
)
def test_a_forecast_that_says_nothing_or_two_things(
    asked: list[str], tmp_path: Path, rows: str, told: str
) -> None:
    path = tmp_path / "f.csv"
    path.write_text("issued_s,start_s,n_w,s_w\n" + rows)
    result = run(*asked, "--policy", "per-site", "--forecast", str(path))
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("sites.toml", "", "names no site"),
        ("sites.toml", SITES.replace("gpus = 2", "gpus = 0"),
         "sites.toml: line 3: [[site]] 1: gpus: wanted a whole number"),
        ("sites.toml", SITES.replace("rtt_ms = 30", "rtt_ms = -1"),
         "line 9: [[site]] 2: rtt_ms: wanted a number"),
        ("sites.toml", SITES.replace("rtt_ms = 10", "rtt = 10"),
         "line 4: [[site]] 1: rtt: no such key"),
        ("sites.toml", SITES.replace("gpus = 1\n", ""), "line 6: [[site]] 2: gpus: wanted a"),
        ("sites.toml", "site = [{name = 'x'}]", "sites.toml: [[site]] 1: gpus: wanted a"),
        ("sites.toml", SITES.replace("gpus = 2", "gpus = 3\ntp = 2"),
         "line 3: [[site]] 1: gpus: 3 is not a multiple of tp 2"),
        ("sites.toml", SITES.replace("south", "north"), "north is there twice"),
        ("sites.toml", SITES + "tp = 1\n[[site]]\nname='x'\ngpus=2\ntp=2\nrtt_ms=1\n"
         "power_column='s_w'\n", "different tp"),
        ("sites.toml", SITES.replace("s_w", "start_s"), "start_s holds times"),
        ("sites.toml", SITES + "[moves]\n", "moves: no such table"),
        ("p.csv", "start_s,n_w\n0,1\n", "no column s_w"),
        ("p.csv", "start_s,n_w,s_w\n0,1,1\n0,1,1\n", "line 3: column start_s: must rise"),
        ("p.csv", "start_s,n_w,s_w\n0,-1,1\n", "line 2: column n_w"),
        ("p.csv", "start_s,n_w,s_w\n5,1,1\n", "--power: reaches from 5"),
        ("r.csv", "arrival_s,prompt_tokens,output_tokens\n", "has none"),
        ("r.csv", "arrival_s,prompt_tokens,output_tokens\n0,5,0\n", "line 2: column output_tokens"),
        # A decimal comma: the numbers are all there, in the wrong columns.
        ("r.csv", "arrival_s,prompt_tokens,output_tokens\n0,5,9\n0,5,200,11\n",
         "line 3: column 4: 4 cells where the header has 3"),
        ("r.csv", "arrival_s,prompt_tokens,output_tokens\n0,5,9\n#1,5,9\n",
         "line 3: column arrival_s: '#1' is no number"),
        ("r.csv", "arrival_s,prompt_tokens,output_tokens\n0,2e9,9\n",
         "line 2: column prompt_tokens: 2e9 is not allowed; wanted a whole number from 1 to 107"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(
    asked: list[str], tmp_path: Path, name: str, text: str, told: str
) -> None:
    (tmp_path / name).write_text(text)
    result = run(*asked)
    assert result.exit_code != 0
    assert told in str(result.exception) + result.output


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--policy", "turbo"), "turbo"),
        (("--policy", ","), "names no policy"),
        (("--policy", "prices,prices"), "twice"),
        (("--slo-tpot-ms", "nan"), "finite"),
        (("--report", "/nowhere/at/all.html"), "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(asked: list[str], more: tuple[str, ...], told: str) -> None:
    result = run(*asked, *more)
    assert result.exit_code != 0
    assert told in str(result.exception) + result.output
