# SPDX-License-Identifier: Apache-2.0
"""The shell scripts, by a real shell on real files."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from slurm_green.migration.execute import scripts
from slurm_green.migration.execute.access import Copy, claim_of, old_of, staging_of

TOKEN = "m1-ab"


def sh(script: str, *arguments: object) -> str:
    argv = ["sh", "-c", script, "sh", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def checkpoint(at: Path) -> Path:
    (at / "deep er").mkdir(parents=True)
    (at / "weights.pt").write_bytes(os.urandom(70_000))
    (at / "deep er" / ".meta data").write_text("x")
    (at / "half.tmp").write_text("being written")
    (at / "step 2.tmp").mkdir()
    (at / "step 2.tmp" / "shard").write_text("being written, too")
    (at / "step 2.tmp" / "first").symlink_to("shard")
    return at


def test_a_listing_changes_with_the_files_alone(tmp_path: Path) -> None:
    here = checkpoint(tmp_path / "run")
    first = sh(scripts.LISTING, here)
    assert first.split()[1] == "2"
    (here / "other.tmp").touch()
    (here / "step 2.tmp" / "another shard").touch()
    assert sh(scripts.LISTING, here) == first
    fresh = here / "new"
    fresh.write_bytes((here / "weights.pt").read_bytes())
    os.utime(fresh, ns=(0, (here / "weights.pt").stat().st_mtime_ns))
    fresh.replace(here / "weights.pt")  # the same name, size and time
    assert sh(scripts.LISTING, here) != first
    assert sh(scripts.LISTING, tmp_path / "none") == "none 0"
    (tmp_path / "empty").mkdir()
    assert sh(scripts.LISTING, tmp_path / "empty") == "none 0"
    (tmp_path / "empty" / "latest").symlink_to("gone")  # nothing to go on from
    assert sh(scripts.LISTING, tmp_path / "empty") == "none 0"
    odd = here / "\\cut here"
    odd.touch()
    assert sh(scripts.LISTING, here).split()[1] == "3"


def test_a_manifest_is_of_contents_alone(tmp_path: Path) -> None:
    here = checkpoint(tmp_path / "run")
    there = tmp_path / "else where"
    shutil.copytree(here, there)
    (there / "half.tmp").unlink()
    shutil.rmtree(there / "step 2.tmp")
    os.utime(there / "weights.pt", (0, 0))
    found = sh(scripts.MANIFEST, here)
    assert found.split()[1:] == ["70001", "2"]
    assert sh(scripts.MANIFEST, there) == found
    with (there / "weights.pt").open("r+b") as file:
        file.write(b"\0\1\2")
    assert sh(scripts.MANIFEST, there) != found
    assert sh(scripts.MANIFEST, tmp_path / "none") == "none 0 0"


def test_a_directory_that_cannot_be_read_has_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a store it would not come along, and what arrives would be the whole of it."""
    here, tools = checkpoint(tmp_path / "run"), tmp_path / "tools"
    tools.mkdir()
    (tools / "find").write_text(f'#!/bin/sh\n{shutil.which("find")} "$@"; exit 1\n')
    (tools / "find").chmod(0o755)  # as it ends then; nothing keeps root from reading
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(subprocess.CalledProcessError):
        sh(scripts.MANIFEST, here)


def test_where_a_link_leads_belongs_to_a_checkpoint(tmp_path: Path) -> None:
    here = checkpoint(tmp_path / "run")
    seen = {script: {sh(script, here)} for script in (scripts.LISTING, scripts.MANIFEST)}
    for leads_to in ("weights.pt", "deep er"):
        (here / "latest.new").symlink_to(leads_to)
        (here / "latest.new").replace(here / "latest")
        for script, known in seen.items():
            assert len(known) < len(known | {sh(script, here)})
            known.add(sh(script, here))
    assert sh(scripts.MANIFEST, here).split()[1:] == ["70001", "2"]


def test_the_size_of_a_checkpoint_whose_directory_is_a_link(tmp_path: Path) -> None:
    here = tmp_path / "run"
    here.mkdir()
    (here / "weights.pt").write_bytes(b"x" * 70)
    (tmp_path / "latest").symlink_to("run")
    assert [sh(scripts.ARRIVED, tmp_path / name) for name in ("run", "latest")] == ["70", "70"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("done", [0, 1, 2])
def test_placing_may_be_repeated_from_wherever_it_died(
    tmp_path: Path, before: bool, done: int
) -> None:
    target = tmp_path / "run"
    staging, old = Path(staging_of(str(target), TOKEN)), Path(old_of(str(target), TOKEN))
    staging.mkdir()
    (staging / "new").touch()
    if before:
        target.mkdir()
        (target / "older").touch()
    if done >= 1 and before:
        target.rename(old)
    if done == 2:
        staging.rename(target)
    for _ in range(2):
        sh(scripts.PLACE, staging, target, old)
        assert [path.name for path in target.iterdir()] == ["new"]
        assert [path.name for path in old.glob("*")] == (["older"] if before else [])
    sh(scripts.SWEEP, staging, old)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync (.ci/install-debian --tests)")
@pytest.mark.parametrize("leads_to", ["kept", "purged"])
def test_a_checkpoint_takes_the_place_of_a_link(tmp_path: Path, leads_to: str) -> None:
    """Also of one that leads nowhere, as where old scratch is purged."""
    here, target = checkpoint(tmp_path / "run"), tmp_path / "b" / "run"
    staging, old = (Path(of(str(target), TOKEN)) for of in (staging_of, old_of))
    (tmp_path / "b" / "kept").mkdir(parents=True)
    target.symlink_to(leads_to)
    sh(scripts.PREPARE, staging)
    copy = Copy(
        directory=str(here), target=str(target), token=f"{TOKEN}.c1", reach="",
        kib_per_s=0, limit_s=60, compare=False,
    )  # fmt: skip
    sh(scripts.copy_script(copy, token=TOKEN))
    for _ in range(2):
        sh(scripts.PLACE, staging, target, old)
        assert not target.is_symlink()
        assert sh(scripts.MANIFEST, target) == sh(scripts.MANIFEST, here)
    sh(scripts.SWEEP, staging, old)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"run", "kept"}


@pytest.mark.skipif(shutil.which("rsync") is None, reason="no rsync (.ci/install-debian --tests)")
@pytest.mark.parametrize("delta", [True, False])
def test_a_transfer_may_be_repeated_and_repairs(tmp_path: Path, delta: bool) -> None:
    here = checkpoint(tmp_path / "site a" / "run")
    target = tmp_path / "b" / "run"
    shutil.copytree(here, target)  # of an earlier move
    with (target / "weights.pt").open("r+b") as file:
        file.write(b"older")
    os.utime(target / "weights.pt", (0, 0))
    staging = Path(staging_of(str(target), TOKEN))
    assert int(sh(scripts.PREPARE, staging)) > 0

    def transfer(*, compare: bool) -> None:
        copy = Copy(
            directory=str(here), target=str(target), token=f"{TOKEN}.c1", reach="",
            kib_per_s=0, limit_s=60, compare=compare, delta=delta,
        )  # fmt: skip
        log = Path(scripts.log_of(str(here), TOKEN, "c1"))
        log.touch()
        sh(scripts.copy_script(copy, token=TOKEN))
        assert not log.exists()

    transfer(compare=False)
    assert sh(scripts.MANIFEST, staging) == sh(scripts.MANIFEST, here)
    assert sh(scripts.ARRIVED, staging) == "70001"
    # What a killed rsync left, and a file that was damaged and looks as before.
    (staging / ".weights.pt.Ab12Cd").touch()
    weights, time_ns = staging / "weights.pt", (here / "weights.pt").stat().st_mtime_ns
    weights.write_bytes(b"\0" * 70_000)
    os.utime(weights, ns=(time_ns, time_ns))
    transfer(compare=True)
    assert sh(scripts.MANIFEST, staging) == sh(scripts.MANIFEST, here)


def test_nothing_of_a_name_is_a_command(tmp_path: Path) -> None:
    odd = tmp_path / "a'; touch pwned; $(touch pwned) `touch pwned`"
    odd.mkdir()
    (odd / "x\ny").write_text("z")
    assert sh(scripts.MANIFEST, odd).split()[2] in {"1", "2"}
    copy = Copy(
        directory=str(odd), target=str(odd), token="m.c1", reach="", kib_per_s=0, limit_s=1,
        compare=False,
    )  # fmt: skip
    subprocess.run(["sh", "-n"], input=scripts.copy_script(copy, token="m"), text=True, check=True)
    assert not Path("pwned").exists()


def test_of_two_moves_one_has_the_job(tmp_path: Path) -> None:
    """Whoever comes first, until it lets go; what it leaves is one link beside the checkpoint."""
    here = tmp_path / "not yet" / "it's $(run)"
    tokens = ("m14-ab", "m14-cd")
    paths = {claim_of(str(here), token) for token in tokens}
    assert len(paths) == 1
    (mark,) = paths
    assert mark != claim_of(str(here), "m15-ab")
    for first, second in (tokens, tokens[::-1]):
        for _ in range(2):
            assert sh(scripts.CLAIM, mark, first) == "1"
            assert sh(scripts.CLAIM, mark, second) == "0"
        sh(scripts.UNCLAIM, mark, second, "m14-ef")
        assert [path.readlink() for path in here.parent.iterdir()] == [Path(first)]
        for _ in range(2):
            sh(scripts.UNCLAIM, mark, second, first, "m14-ef")
        assert list(here.parent.iterdir()) == []
    here.parent.rmdir()
    here.parent.touch()
    with pytest.raises(subprocess.CalledProcessError):
        sh(scripts.CLAIM, mark, "m14-ab")
