# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of the fetching process."""

import pytest
from fetch_fakes import Desk


@pytest.fixture
def desk(tmp_path):
    """A fetching process's desk: a store, a clock turned by hand, and a forecaster."""
    return Desk(tmp_path / "signals")
