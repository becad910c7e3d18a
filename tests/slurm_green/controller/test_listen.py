# SPDX-License-Identifier: Apache-2.0
"""An address that somebody else has is taken as soon as it is free."""

import logging
import socket
import threading
from collections.abc import Callable

import pytest

from slurm_green.controller.listen import listen


def _serve_on(port: int, got: threading.Event) -> Callable[[], Callable[[], None]]:
    def serve() -> Callable[[], None]:
        one = socket.create_server(("127.0.0.1", port))
        got.set()
        return one.close

    return serve


def _refused(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) != 0


def test_it_comes_when_the_port_is_free_and_goes_when_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    got = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stop = listen(
            _serve_on(port, got), level=logging.ERROR, without="no such thing", retry_s=0.01
        )
        assert "no such thing" in caplog.text
        assert not got.is_set()
    assert got.wait(60)
    assert not _refused(port)
    stop()
    assert _refused(port)


def test_stopped_before_it_came_it_never_comes() -> None:
    got = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listen(_serve_on(port, got), level=logging.ERROR, without="none", retry_s=0.01)()
    assert not got.is_set()
    assert _refused(port)
