# SPDX-License-Identifier: Apache-2.0
"""`sgreen site size` as a person calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from profiling.files import write_profile
from slurm_green.cli.root import root
from tests.serving.made import profile


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    rows = [f"{3600 * i},{20_000 + 9_000 * (i % 7)},{70_000 - 8_000 * (i % 5)}" for i in range(70)]
    (tmp_path / "p.csv").write_text("\n".join(["start_s,north_w,south_w", *rows]))
    write_profile(tmp_path / "profile", profile())
    return [
        "site", "size", "--power", str(tmp_path / "p.csv"), "--profile", str(tmp_path / "profile"),
    ]  # fmt: skip


def run(*args: str) -> Result:
    return CliRunner().invoke(root, list(args))


def test_json_has_a_size_for_each_percentile(asked: list[str]) -> None:
    result = run(*asked, "--percentiles", "10,50", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["sites"] == ["north_w", "south_w"]
    assert [one["percentile"] for one in answer["sizes"]] == [10, 50]
    assert answer["sizes"][0]["goodput_rps"] < answer["sizes"][1]["goodput_rps"]


def test_the_table_is_for_people(asked: list[str]) -> None:
    result = run(*asked)
    assert result.exit_code == 0
    assert "PERCENTILE" in result.stdout
    assert "2 sites, modelled" in result.stdout


def test_the_picture_is_written(asked: list[str], tmp_path: Path) -> None:
    assert run(*asked, "--plot", str(tmp_path / "x.png")).exit_code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--percentiles", "10,x"), "wanted numbers from 0 to 100"),
        (("--percentiles", "1_0"), "wanted numbers from 0 to 100"),
        (("--percentiles", "110"), "wanted numbers from 0 to 100"),
        (("--load", "2"), "--load"),
        (("--tp", "4"), "profile: the profile has no decode at tp 4"),
        (("--slo-tpot-ms", "0.1"), "--slo-tpot-ms 0.1: at its highest clock"),
        (("--slo-ttft-ms", "0.1"), "--slo-ttft-ms 0.1: at its highest clock"),
    ],
)
def test_what_cannot_be_is_refused(asked: list[str], more: tuple[str, ...], told: str) -> None:
    result = run(*asked, *more)
    assert result.exit_code != 0
    assert told in str(result.exception) + result.output


def test_a_file_without_sites_is_named(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("start_s\n0\n")
    result = run(*asked)
    assert result.exit_code != 0
    assert "no column of watts" in str(result.exception) + result.output


def test_no_picture_takes_the_place_of_what_is_read(asked: list[str], tmp_path: Path) -> None:
    for name in ("p.csv", "profile/profile.toml"):
        before = (tmp_path / name).read_bytes()
        result = run(*asked, "--plot", str(tmp_path / name))
        assert (result.exit_code, "is the file of --p" in result.stderr) == (2, True), result.output
        assert (tmp_path / name).read_bytes() == before
