# SPDX-License-Identifier: Apache-2.0
"""The tree of errors as drawn is the tree there is."""

import importlib
import pkgutil
import re

import slurm_green
from slurm_green import errors
from slurm_green.errors import SlurmGreenError

# `name` at its depth: four columns of drawing for each level.
_LINE = re.compile(r"^(?P<drawn>(?:[│ ]   )*(?:[├└]── )?)(?P<name>[A-Z]\w+Error)\b")


def drawn() -> dict[str, str]:
    """Each error of the docstring with its parent's name."""
    path: list[str] = []
    found: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth = len(match["drawn"]) // 4
        assert depth <= len(path), f"{line} has no parent"
        del path[depth:]
        found[match["name"]] = path[-1] if path else ""
        path.append(match["name"])
    return found


def defined(root: type[SlurmGreenError] = SlurmGreenError) -> dict[str, str]:
    """Each error of the whole package with its parent's name."""
    for module in pkgutil.walk_packages(slurm_green.__path__, "slurm_green."):
        importlib.import_module(module.name)
    found = {root.__name__: ""}
    waiting: list[type[SlurmGreenError]] = [root]
    while waiting:
        parent = waiting.pop()
        for child in parent.__subclasses__():
            if child.__module__.startswith("slurm_green."):
                found[child.__name__] = parent.__name__
                waiting.append(child)
    return found


def test_the_drawing_is_the_tree() -> None:
    assert drawn() == defined()


def test_every_error_says_what_it_is_for() -> None:
    for name in errors.__all__:
        assert getattr(errors, name).__doc__
