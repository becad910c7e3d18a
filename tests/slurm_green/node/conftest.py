# SPDX-License-Identifier: Apache-2.0
"""A node on GPUs in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm_green.node.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Two GPUs, and a node that is up."""
    one = Rig(tmp_path)
    one.start()
    yield one
    if one.up:
        one.kill()
