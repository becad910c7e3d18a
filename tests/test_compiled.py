# SPDX-License-Identifier: Apache-2.0
"""C that does not compile is left out when slurm-green is installed, and its tests are skipped.

Where there is a compiler that is a defect, which nothing else would show.
"""

import shutil
from ctypes import Structure, c_int64
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import serving
import slurm_green
from slurm_green.cluster.packages import missing
from slurm_green.plan.kernel import CBoard, CLists, compiled

ROOT = Path(__file__).parents[1]
KERNELS = sorted(
    path
    for package in (slurm_green, serving)
    for path in Path(package.__path__[0]).rglob("c/kernel.c")
)
needs_compiler = pytest.mark.skipif(bool(missing(["compiler"])), reason="no C compiler")


def test_the_kernels_are_found() -> None:
    assert len(KERNELS) >= 3


@needs_compiler
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.parts[-4])
def test_where_there_is_a_compiler_they_are_compiled(kernel: Path) -> None:
    package = ".".join(kernel.parents[1].relative_to(ROOT).parts)
    found = import_module(package).library()
    assert found is not None, f"{kernel}: pip install -v -e . says why not"


class Longer(Structure):
    """A board that got one more field since."""

    _fields_ = [*CBoard._fields_, ("more", c_int64)]


@needs_compiler
@pytest.mark.parametrize("shared", [(Longer, CLists), (CBoard,), (CLists, CBoard), ()])
def test_a_library_of_another_source_is_not_used(
    shared: tuple[type[Structure], ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Left behind in a development tree: it would read one field for another."""
    package = import_module("slurm_green.plan.kernel").__file__
    assert package is not None
    assert compiled(package, *shared) is None
    assert "is of another source" in caplog.text


@needs_compiler
def test_nor_one_that_does_not_tell(tmp_path: Path) -> None:
    other = import_module("_ctypes").__file__
    if other is None or not other.endswith(EXTENSION_SUFFIXES[0]):
        pytest.skip("this Python has ctypes built in")
    (tmp_path / "c").mkdir()
    shutil.copy(other, tmp_path / "c" / f"_kernel{EXTENSION_SUFFIXES[0]}")
    assert compiled(str(tmp_path / "__init__.py"), CBoard) is None
