# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the signal tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

_SPEC = importlib.util.spec_from_file_location(
    "neso_server", Path(__file__).with_name("neso_server.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
neso_server = importlib.util.module_from_spec(_SPEC)
sys.modules["neso_server"] = neso_server  # tests import it by name
_SPEC.loader.exec_module(neso_server)


@pytest.fixture
def api():
    """A local NESO API: (base URL, script)."""
    with neso_server.serving() as served:
        yield served
