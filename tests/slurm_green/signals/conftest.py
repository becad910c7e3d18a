# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the signal tests."""

import importlib.util
import sys
from pathlib import Path

import httpx
import pytest


def _load(name):
    """A module of this folder that tests import by name."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


api_server = _load("api_server")
_load("neso_shapes")


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
