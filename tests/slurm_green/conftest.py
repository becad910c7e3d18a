# SPDX-License-Identifier: Apache-2.0
"""Makes helpers importable by name in all tests below, and gives them a local web API."""

import logging
import sys
from pathlib import Path

import httpx
import pytest

_HERE = Path(__file__).parent
for _folder in (_HERE, _HERE / "signals", _HERE / "fetch", _HERE / "migration"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))


@pytest.fixture
def api():
    """A local web API: (base URL, script)."""
    from api_server import serving

    with serving() as served:
        yield served


@pytest.fixture
def client():
    """An HTTP client that knows no proxies."""
    with httpx.Client(timeout=httpx.Timeout(60.0), trust_env=False) as one:
        yield one


@pytest.fixture
def plain_logging():
    """Handlers, level and converter are as before afterwards, whatever is set up meanwhile."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.Formatter.converter)
    yield
    root.handlers, root.level = before[0], before[1]
    logging.Formatter.converter = before[2]
