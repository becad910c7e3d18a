# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of the fetching process."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest

_TESTS = Path(__file__).parent.parent


def _load(path):
    """A module that tests import by name."""
    name = path.stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


api_server = _load(_TESTS / "signals" / "api_server.py")
_load(_TESTS / "signals" / "neso_shapes.py")
fetch_fakes = _load(_TESTS / "fetch" / "fetch_fakes.py")


@pytest.fixture
def api():
    """A local web API: (base URL, script)."""
    with api_server.serving() as served:
        yield served


@pytest.fixture
def client():
    """An HTTP client that gives up soon and knows no proxies."""
    with httpx.Client(timeout=httpx.Timeout(2.0), trust_env=False) as one:
        yield one


@pytest.fixture
def desk(tmp_path):
    """A fetching process's desk: a store, a clock turned by hand, and a forecaster."""
    return fetch_fakes.Desk(tmp_path / "signals")
