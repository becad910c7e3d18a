# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to an object store and back, as the nodes do it; the store is a directory here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_green.migration.execute import scripts, store_agent
from tests.slurm_green.migration.execute.test_scripts import checkpoint, sh


def carry(verb: str, directory: Path, url: str, *, compare: bool = False) -> None:
    if verb == "remove":
        store_agent.remove(url)
    else:
        getattr(store_agent, verb)(directory, url, compare=compare)


def test_as_the_text_of_a_script(tmp_path: Path) -> None:
    """Nothing of ours is installed on a node; odd names are no commands."""
    here, url = checkpoint(tmp_path / "it's $(here)"), f"file://{tmp_path}/store"
    for verb in ("put", "get"):
        script = scripts.store_script(sys.executable, verb, str(here), url, compare=True)
        subprocess.run(["sh"], input=script, text=True, check=True)
    assert sh(scripts.MANIFEST, tmp_path / "store") == sh(scripts.MANIFEST, here)


def test_there_and_back_again(tmp_path: Path) -> None:
    """Twice, since a killed transfer is repeated; then with damage that has the right size."""
    here, there = checkpoint(tmp_path / "site a" / "run"), tmp_path / "b" / "staging"
    there.mkdir(parents=True)
    url = f"file://{tmp_path}/store/m1"
    (there / "left over").touch()
    for _ in range(2):
        carry("put", here, url)
        carry("get", there, url)
        assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    (there / "weights.pt").write_bytes(b"\0" * 70_000)
    carry("get", there, url)
    assert sh(scripts.MANIFEST, there) != sh(scripts.MANIFEST, here)
    carry("put", here, url, compare=True)
    carry("get", there, url, compare=True)
    assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    for _ in range(2):
        carry("remove", Path("/"), url)
        assert list((tmp_path / "store").iterdir()) == []


def test_a_half_of_a_file_is_carried_again(tmp_path: Path) -> None:
    here, url = checkpoint(tmp_path / "run"), f"file://{tmp_path}/store/m1"
    carry("put", here, url)
    os.truncate(tmp_path / "store" / "m1" / "weights.pt", 10)
    (here / "deep er" / ".meta data").unlink()
    carry("put", here, url)
    there = tmp_path / "there"
    there.mkdir()
    carry("get", there, url)
    assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)


def test_links_come_along(tmp_path: Path) -> None:
    """`latest` is what a job goes on from; a store knows files alone."""
    here, there, url = checkpoint(tmp_path / "run"), tmp_path / "there", f"file://{tmp_path}/s/m1"
    (here / "latest").symlink_to("deep er")
    (here / "latest.pt").symlink_to("./weights.pt")
    (here / "half.tmp2.tmp").symlink_to("weights.pt")
    there.mkdir()
    (there / "left over").symlink_to(tmp_path)
    for leads_to in ("./weights.pt", "deep er/.meta data"):
        (here / "latest.pt").unlink()
        (here / "latest.pt").symlink_to(leads_to)
        assert sh(scripts.MANIFEST, there) != sh(scripts.MANIFEST, here)
        for _ in range(2):
            carry("put", here, url)
            carry("get", there, url)
            assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    assert (there / "latest" / ".meta data").read_text() == "x"
    assert not (there / "left over").is_symlink()
    for name in ("latest", "latest.pt"):
        (here / name).unlink()
    carry("put", here, url)
    carry("get", there, url)
    assert sh(scripts.MANIFEST, there) == sh(scripts.MANIFEST, here)
    assert sorted(path.name for path in there.iterdir()) == ["deep er", "weights.pt"]


@pytest.mark.parametrize(
    "links",
    [{"../out": "x"}, {"/ABSOLUTE/out": "x"}, {"a": "/ABSOLUTE", "a/out": "x"}],
    ids=["above", "absolute", "by a link"],
)
def test_names_of_others_in_a_store_lead_nowhere_else(
    tmp_path: Path, links: dict[str, str]
) -> None:
    """Whoever may write to the bucket must not write to the job's other directories."""
    here, there, url = checkpoint(tmp_path / "run"), tmp_path / "there", f"file://{tmp_path}/s/m1"
    there.mkdir()
    carry("put", here, url)
    text = json.dumps(links).replace("/ABSOLUTE", str(tmp_path))
    (tmp_path / "s" / "m1" / ".sgreen-links.json").write_text(text)
    with pytest.raises(ValueError, match="leads out of the checkpoint"):
        carry("get", there, url)
    assert not (tmp_path / "out").is_symlink()
