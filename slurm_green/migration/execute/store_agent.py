# SPDX-License-Identifier: Apache-2.0
"""Runs on a node: a checkpoint to an object store, or from it. Python's own library and fsspec.

    python3 store_agent.py put DIRECTORY URL | get DIRECTORY URL | remove DIRECTORY URL

A file that is there in its size is not carried again, unless COMPARE is set; contents are compared
by the manifest afterwards. It is sent as text, so nothing of ours is installed on the nodes.
A store knows no symbolic links, and what a job goes on from is often one ("latest"): a file beside
the others says where they lead.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["get", "main", "put", "remove"]

_LINKS = ".sgreen-links.json"


def put(directory: Path, url: str, *, compare: bool) -> None:
    """Every file that is not being written; what does not belong there goes."""
    import fsspec

    system, root = fsspec.core.url_to_fs(url)
    system.makedirs(root, exist_ok=True)
    there = _sizes(system, root)
    here = {name: path for name, path in _files(directory).items() if not _being_written(name)}
    for name, path in here.items():
        if compare or there.get(name) != path.stat().st_size:
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            system.put_file(str(path), f"{root}/{name}")
    for name in there.keys() - here.keys():
        system.rm_file(f"{root}/{name}")
    if links := _links(directory):
        system.pipe_file(f"{root}/{_LINKS}", json.dumps(links).encode())


def get(directory: Path, url: str, *, compare: bool) -> None:
    """The same the other way; a file appears by a rename."""
    import fsspec

    system, root = fsspec.core.url_to_fs(url)
    there = _sizes(system, root)
    links: dict[str, str] = {}
    if there.pop(_LINKS, None) is not None:
        links = json.loads(system.cat_file(f"{root}/{_LINKS}"))
    for name in _links(directory):
        (directory / name).unlink()
    here = _files(directory)
    for name, size in there.items():
        path = _inside(directory, name)
        if not compare and name in here and path.stat().st_size == size:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.tmp")
        system.get_file(f"{root}/{name}", str(fresh))
        fresh.replace(path)
    for name in here.keys() - there.keys():
        here[name].unlink()
    for name, leads_to in links.items():
        path = _inside(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(leads_to)


def remove(url: str) -> None:
    """All of it; nothing where nothing is."""
    import fsspec

    system, root = fsspec.core.url_to_fs(url)
    if system.exists(root):
        system.rm(root, recursive=True)


def _inside(directory: Path, name: str) -> Path:
    """Where a file of that name belongs; whoever may write to the store writes nowhere else."""
    path = directory / name
    if not path.parent.resolve().is_relative_to(directory.resolve()):
        raise ValueError(f"{name!r} leads out of the checkpoint")
    return path


def _files(directory: Path) -> dict[str, Path]:
    found = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(directory).as_posix(): path for path in found}


def _links(directory: Path) -> dict[str, str]:
    found = (path for path in directory.rglob("*") if path.is_symlink())
    # Not Path.readlink, which tidies what it reads.
    named = {path.relative_to(directory).as_posix(): os.readlink(path) for path in found}  # noqa: PTH115
    return {name: to for name, to in named.items() if not _being_written(name)}


def _being_written(name: str) -> bool:
    return any(part.endswith(".tmp") for part in name.split("/"))


def _sizes(system: Any, root: str) -> dict[str, int]:
    system.invalidate_cache()
    found = system.find(root, detail=True)
    base = root.rstrip("/") + "/"
    return {path.removeprefix(base): int(one["size"]) for path, one in found.items()}


def main() -> None:
    """Do what the command line says."""
    verb, directory, url = sys.argv[1:4]
    compare = bool(os.environ.get("COMPARE"))
    if verb == "put":
        put(Path(directory), url, compare=compare)
    elif verb == "get":
        get(Path(directory), url, compare=compare)
    else:
        remove(url)


if __name__ == "__main__":
    main()
