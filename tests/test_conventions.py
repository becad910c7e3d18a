# SPDX-License-Identifier: Apache-2.0
"""What holds for every module: licence, size, docstrings, and an __all__ that is what it says."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import profiling
import serving
import slurm_green

ROOT = Path(__file__).parents[1]
PACKAGES = (slurm_green, profiling, serving)
MODULES = sorted(
    one.name
    for package in PACKAGES
    for one in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=print)
)
SOURCES = sorted(
    path
    for package in PACKAGES
    for kind in ("*.py", "*.lua", "*.c", "*.h")
    for path in Path(package.__path__[0]).rglob(kind)
)
# Click finds these by their file: `sgreen NAME` is the `command` of cli/NAME.py.
_VERB = "command"
_COMMENT = {
    ".c": "//",
    ".h": "//",
    ".py": "#",
    ".lua": "--",
    ".sh": "#",
    ".service": "#",
    ".timer": "#",
}


_IMPURE = {"datetime.now", "time.time", "time.monotonic", "time.sleep", "open", "subprocess.run"}


def _calls_itself_pure(name: str) -> bool:
    text = importlib.import_module(name).__doc__ or " "
    return "Pure." in text.splitlines()[0] or text.rstrip().endswith("Pure.")


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Functions and classes that a module defines under a public name."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if (
            own
            and not name.startswith("_")
            and (inspect.isfunction(value) or inspect.isclass(value))
        ):
            yield name, value


def _offenders(found: Callable[[str], str]) -> list[str]:
    """Modules with what is wrong with them; nothing is an empty text."""
    return [f"{name}: {words}" for name in MODULES if (words := found(name))]


def test_all_names_exist_and_no_public_one_is_missing() -> None:
    assert _offenders(_wrong_names) == []


def _wrong_names(name: str) -> str:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    defined = {own for own, _ in public(module)} - {_VERB}
    if listed is None:
        return f"defines {sorted(defined)} and has no __all__" if defined else ""
    twice = sorted({one for one in listed if listed.count(one) > 1})
    unknown = [one for one in listed if not hasattr(module, one)]
    missing = sorted(defined - set(listed))
    said = {"listed twice": twice, "listed and not there": unknown, "not listed": missing}
    return "; ".join(f"{what}: {names}" for what, names in said.items() if names)


def test_what_is_public_says_what_it_does() -> None:
    assert _offenders(_silent) == []


def _silent(name: str) -> str:
    module = importlib.import_module(name)
    silent = [] if module.__doc__ else ["the module"]
    silent += [own for own, value in public(module) if not _documented(value)]
    for own, value in public(module):
        if inspect.isclass(value):
            silent += [
                f"{own}.{method}"
                for method, code in vars(value).items()
                if not method.startswith("_")
                and method not in getattr(value, "__dataclass_fields__", {})
                and _is_method(code)
                and not _documented(code)
                and not _inherited(value, method)
            ]
    return ", ".join(silent)


def _is_method(code: object) -> bool:
    plain = inspect.isfunction(code)
    return plain or isinstance(code, property | classmethod | staticmethod)


def _documented(value: object) -> bool:
    text = value.__doc__ or ""
    # A dataclass without a docstring of its own gets its signature for one.
    return bool(text) and not (
        inspect.isclass(value) and text.startswith(f"{value.__name__}(")  # not a sentence
    )


def _inherited(owner: type, method: str) -> bool:
    """Somebody else's contract: their documentation holds."""
    return any(hasattr(base, method) for base in owner.__mro__[1:])


def test_no_module_is_longer_than_a_person_reads() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path): count for path, count in lines.items() if count > 400} == {}


def _tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if done.returncode != 0:
        return []
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_every_source_file_names_its_licence() -> None:
    files = [path for path in _tracked() if path.suffix in _COMMENT and path.exists()] or SOURCES
    assert [str(path) for path in files if not _licensed(path)] == []


def _licensed(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines and lines[0].startswith("#!") else (lines or [""])[0]
    return first == f"{_COMMENT[path.suffix]} SPDX-License-Identifier: Apache-2.0"


def test_a_pure_module_is_handed_its_time_and_its_files() -> None:
    assert any(map(_calls_itself_pure, MODULES))
    assert _offenders(_impure_calls) == []


def _impure_calls(name: str) -> str:
    if not _calls_itself_pure(name):
        return ""
    source = inspect.getsource(importlib.import_module(name))
    # Few have the words at all, and syntax trees take time.
    if not any(words in source for words in _IMPURE):
        return ""
    called = {
        ast.unparse(one.func) for one in ast.walk(ast.parse(source)) if isinstance(one, ast.Call)
    }
    return ", ".join(sorted(called & _IMPURE))
