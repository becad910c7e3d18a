# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import os
from pathlib import Path

import pytest

from profiling.errors import ProfileError
from profiling.whole import check_new, whole_file, write_directory


@pytest.mark.parametrize("sync", [False, True])
def test_the_new_file_takes_the_old_ones_place_for_anybody_to_read(
    tmp_path: Path, sync: bool
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with whole_file(path, sync=sync) as file:
        file.write("new \N{DEGREE SIGN}")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new \N{DEGREE SIGN}"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_never_open_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, modes, fchmod = tmp_path / "key", [], os.fchmod

    def spied(handle: int, mode: int) -> None:
        modes.extend((os.fstat(handle).st_mode & 0o777, mode))
        fchmod(handle, mode)

    monkeypatch.setattr(os, "fchmod", spied)
    with whole_file(path, mode=0o600) as file:
        file.write("secret")
    assert set(modes) == {0o600}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("trouble", [OSError("full"), KeyboardInterrupt()])
def test_trouble_on_the_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, trouble: BaseException
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(trouble)), whole_file(path, binary=True) as file:
        file.write(b"half")
        raise trouble
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_cannot_be_made_is_refused_before_there_is_anything_to_write(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "empty").mkdir()
    for good in ("new", "empty", "not/there/yet"):
        check_new(tmp_path / good)
    for bad in ("file/new", "file/not/there", 300 * "a"):
        with pytest.raises(ProfileError, match="cannot be written"):
            check_new(tmp_path / bad)
    (tmp_path / "link").symlink_to("gone")
    for taken in (tmp_path, tmp_path / "link", Path()):
        with pytest.raises(ProfileError, match="is there already"):
            check_new(taken)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "file", "link"]


def test_what_is_in_a_directory_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who made it removes then what it was made of."""
    path, synced = tmp_path / "p", set()

    def spied(handle: int) -> None:
        assert not path.exists()
        synced.add((os.fstat(handle).st_ino, os.fstat(handle).st_size))

    monkeypatch.setattr(os, "fsync", spied)
    write_directory(path, {"one": "1", "two": "22"})
    assert synced == {(file.stat().st_ino, file.stat().st_size) for file in path.iterdir()}
