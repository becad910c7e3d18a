# SPDX-License-Identifier: Apache-2.0
"""A port that nobody uses."""

import socket

import pytest


@pytest.fixture
def unused_port() -> int:
    """Of the loopback."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
