# SPDX-License-Identifier: Apache-2.0
"""C that does not compile is left out when slurm-green is installed, and its tests are skipped.

Where there is a compiler that is a defect, which nothing else would show.
"""

from pathlib import Path

import pytest

import serving
import slurm_green
from slurm_green.cluster.packages import missing
from slurm_green.plan.kernel import compiled

KERNELS = sorted(
    path
    for package in (slurm_green, serving)
    for path in Path(package.__path__[0]).rglob("c/kernel.c")
)


def test_the_kernels_are_found() -> None:
    assert len(KERNELS) >= 3


@pytest.mark.skipif(bool(missing(["compiler"])), reason="no C compiler")
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.parts[-4])
def test_where_there_is_a_compiler_they_are_compiled(kernel: Path) -> None:
    package = kernel.parents[1] / "__init__.py"
    assert compiled(str(package)) is not None, f"{kernel}: pip install -v -e . says why not"
