# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate plan`, `run` and `status` as a person calls them; no Slurm here."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slurm_green.cli.root import root
from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.proposals import Refused
from slurm_green.migration.execute.record import MoveRecord
from tests.slurm_green.migration.execute.test_words import SITES
from tests.slurm_green.migration.execute.world import World


def run(*args: object) -> Result:
    return CliRunner().invoke(root, ["migrate", *map(str, args)])


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    path = tmp_path / "sites.toml"
    path.write_text(SITES)
    return path


def test_status_without_moves(tmp_path: Path) -> None:
    result = run("status", "--journal", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (0, "no moves under way\n")
    shown = json.loads(run("status", "--journal", tmp_path, "--json").stdout)
    assert shown == {"moves": [], "abandoned": False}


def test_status_shows_what_is_under_way(tmp_path: Path) -> None:
    world = World()
    Journal(tmp_path).save(world.journal.records["m1-abc"])
    line, hint = run("status", "--journal", tmp_path).stdout.splitlines()
    assert line == "m1-abc  job 1  a -> b  signal"
    assert "`sgreen migrate run --sites FILE --yes --finish`" in hint
    with Journal(tmp_path).locked():
        assert run("status", "--journal", tmp_path).stdout == line + "\n"
    (one,) = json.loads(run("status", "--journal", tmp_path, "--json").stdout)["moves"]
    assert (one["step"], one["settled"], one["took_s"]) == ("signal", False, None)
    done = world.run()
    Journal(tmp_path).save(done)
    assert run("status", "--journal", tmp_path).stdout == "no moves under way\n"
    assert "done" in run("status", "--journal", tmp_path, "--all").stdout


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_halves_of_a_wish_are_refused(verb: str, sites: Path, tmp_path: Path) -> None:
    base = (verb, "--sites", sites, "--journal", tmp_path / "j")
    for words in (("--to", "b"), ("--from", "a"), ("--job", 3)):
        assert run(*base, *words).exit_code == 2
    missing = run(*base, "--job", 3, "--to", "c")
    assert missing.exit_code == 2
    assert "no site is called 'c'" in missing.output
    assert run(verb, "--sites", tmp_path / "none").exit_code == 2


def test_run_refuses_a_journal_of_other_sites(sites: Path, tmp_path: Path) -> None:
    world = World()
    sites.write_text(SITES.replace('name = "b"', 'name = "x"').replace('to = "b"', 'to = "x"'))
    Journal(tmp_path).save(world.journal.records["m1-abc"])
    result = run("run", "--sites", sites, "--journal", tmp_path, "--yes", "--finish")
    assert result.exit_code == 2
    assert "no site is called 'b'" in result.output


def test_plan_looks_at_files_before_it_asks_slurm(sites: Path, tmp_path: Path) -> None:
    asked = ("plan", "--sites", sites, "--journal", tmp_path / "j")
    result = run(*asked)
    assert result.exit_code == 2
    assert "site a has no `signal`" in result.output
    sites.write_text(SITES.replace("/a.conf", '/a.conf"\nsignal = "a.csv'))
    result = run(*asked)
    assert result.exit_code == 2
    assert str(tmp_path / "a.csv") in result.output


def test_what_was_begun_is_ended_although_nothing_new_can_be_chosen(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    Journal(tmp_path).save(world.journal.records["m1-abc"])
    driven: list[str] = []

    def drive(moves: list[MoveRecord], *_: object, **__: object) -> list[MoveRecord]:
        driven.extend(one.token for one in moves)
        return []

    monkeypatch.setattr("slurm_green.migration.execute.drive.drive", drive)
    result = run("run", "--sites", sites, "--journal", tmp_path, "--yes")
    assert driven == ["m1-abc"]
    assert result.exit_code == 2
    assert "has no `signal`" in result.output


def test_a_damaged_file_of_the_journal_does_not_keep_the_other_moves(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are ended, and nothing new begins: its job may be the one that would move."""
    Journal(tmp_path).save(World().journal.records["m1-abc"])
    (tmp_path / "m0-bad.json").write_text('{"token": "m0-b')
    driven: list[str] = []

    def drive(moves: list[MoveRecord], *_: object, **__: object) -> list[MoveRecord]:
        driven.extend(one.token for one in moves)
        return []

    monkeypatch.setattr("slurm_green.migration.execute.drive.drive", drive)
    chosen = "slurm_green.migration.execute.proposals.proposals"
    monkeypatch.setattr(chosen, lambda *_, **__: pytest.fail("nothing is chosen"))
    for more in ((), ("--finish",)):
        result = run("run", "--sites", sites, "--journal", tmp_path, "--yes", *more)
        assert driven == ["m1-abc"]
        assert result.exit_code == 2
        assert "m0-bad.json: no JSON" in result.stderr
        driven.clear()
    for more in ((), ("--json",)):
        result = run("status", "--journal", tmp_path, *more)
        assert result.exit_code == 2
        assert "m1-abc" in result.stdout
        assert "m0-bad.json: no JSON" in result.stderr


def test_the_process_beside_comes_again_for_a_file_only_where_that_may_help(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged one stays so; one that cannot be read now may be of a job that waits."""
    finish = ("run", "--sites", sites, "--journal", tmp_path, "--yes", "--finish")
    bad = tmp_path / "m0-bad.json"
    monkeypatch.setenv("SGREEN_STANDBY", "1")
    bad.write_text('{"token": "m0-b')
    result = run(*finish)
    assert result.exit_code == 0
    assert "m0-bad.json: no JSON" in result.stderr
    bad.unlink()
    bad.mkdir()
    result = run(*finish)
    assert result.exit_code == 2
    assert "m0-bad.json: cannot be read" in result.stderr


def test_without_yes_a_damaged_file_hides_nothing_either(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--yes` would do: end the others, begin nothing, and name the file."""
    Journal(tmp_path).save(World().journal.records["m1-abc"])
    (tmp_path / "m0-bad.json").write_text('{"token": "m0-b')
    chosen = "slurm_green.migration.execute.proposals.proposals"
    monkeypatch.setattr(chosen, lambda *_, **__: pytest.fail("nothing is chosen"))
    for more in ((), ("--finish",), ("--json",)):
        result = run("run", "--sites", sites, "--journal", tmp_path, *more)
        assert result.exit_code == 2
        assert "m0-bad.json: no JSON" in result.stderr
        assert "m1-abc" in result.stdout
        assert "you have no jobs" not in result.stdout
    assert [one["move"] for one in json.loads(result.stdout)["unfinished"]] == ["m1-abc"]


def test_run_has_nothing_to_finish(sites: Path, tmp_path: Path) -> None:
    result = run("run", "--sites", sites, "--journal", tmp_path, "--yes", "--finish")
    assert (result.exit_code, result.stdout) == (0, "nothing to move\n")
    shown = run("run", "--sites", sites, "--journal", tmp_path, "--finish", "--json")
    assert json.loads(shown.stdout) == {"dry_run": True, "unfinished": [], "moves": [], "stays": []}


def test_run_says_why_nothing_moves(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that cannot be looked at is no error; so it must be said."""
    why = Refused(job="a/7", why="the size of /run cannot be read")
    proposals = "slurm_green.migration.execute.proposals.proposals"
    monkeypatch.setattr(proposals, lambda *_, **__: ([], [why]))
    asked = ("run", "--sites", sites, "--journal", tmp_path, "--yes")
    assert run(*asked).stdout == f"stay a/7  {why.why}\nnothing to move\n"
    assert json.loads(run(*asked, "--json").stdout)["stays"] == [{"job": "a/7", "why": why.why}]


def test_who_interrupts_run_is_told_who_goes_on(
    sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drive(*_: object, **__: object) -> list[MoveRecord]:
        raise KeyboardInterrupt

    execute = "slurm_green.migration.execute"
    monkeypatch.setattr(f"{execute}.drive.drive", drive)
    monkeypatch.setattr(f"{execute}.standby.standing_by", lambda *_: nullcontext())
    result = run("run", "--sites", sites, "--journal", tmp_path, "--yes", "--finish")
    assert result.exit_code != 0
    assert "the process beside goes on" in result.stderr
    assert str(tmp_path / "standby.log") in result.stderr
