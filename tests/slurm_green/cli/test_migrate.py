# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate check` and `map` as a person calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm_green.cli.root import root

CHECK = ["migrate", "check", "--checkpoint-gb", "40", "--bandwidth-gbps", "10"]
KEYS = {
    "feasible", "class", "migration_s", "fraction_of_window", "energy_cost_j", "break_even_s",
    "binding", "reason",
}  # fmt: skip


def run(*args: str) -> Result:
    return CliRunner().invoke(root, list(args))


def test_check_prints_what_the_contract_names() -> None:
    result = run(*CHECK, "--window-h", "4", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer) == KEYS
    assert (answer["feasible"], answer["class"], answer["binding"]) == (True, "A", "none")
    assert answer["energy_cost_j"] is None


def test_check_says_it_in_words() -> None:
    result = run(*CHECK, "--window-h", "0.3")
    assert result.exit_code == 0
    assert "does not fit (time), class C" in result.stdout
    assert "3 min, more than the 108 s" not in result.stdout
    assert "more than the 2 min that it may take" in result.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ("--window-h", "-1"), ("--window-h", "nan"), ("--window-h", "inf"),
        ("--window-h", "4", "--alpha", "0"), ("--window-h", "4", "--green-share-here", "1.2"),
        ("--window-h", "4", "--bandwidth-gbps", "0"), (),
        ("--window-h", "1e308"), ("--window-h", "4", "--bandwidth-gbps", "1e-300"),
    ],
)  # fmt: skip
def test_wrong_numbers_are_refused(wrong: tuple[str, ...]) -> None:
    result = run(*CHECK, *wrong)
    assert result.exit_code == 2
    assert "--" in result.stderr


@pytest.mark.parametrize("kind", ["png", "svg", "html"])
def test_map_draws(tmp_path: Path, kind: str) -> None:
    out = tmp_path / f"domain.{kind}"
    result = run("migrate", "map", "--window-h", "2.5", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["largest_checkpoint_gb"]["10"] == pytest.approx(750)
    head = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}
    assert out.read_bytes().startswith(head[kind])


def test_map_refuses_another_kind_of_file(tmp_path: Path) -> None:
    result = run("migrate", "map", "--window-h", "2.5", "--out", str(tmp_path / "domain.pdf"))
    assert result.exit_code != 0
    assert not list(tmp_path.iterdir())
