# SPDX-License-Identifier: Apache-2.0
"""Daemons gone, hung, slow or talking nonsense: the job passes, and slurmctld waits little.

Time-outs are counted by time lost: the limit is made long enough to stand out from noise.
"""

import os
import socket
import threading
import time

import pytest

from slurm_green.hook.wire import encode_answer

LIMIT_S = 0.2


def cost_s(new_shim, times, below_s, *, timeout_s=LIMIT_S):
    """Time that unchanged submissions take a courier that knows nothing yet.

    The best of some tries: what else runs on the machine can only make it longer.
    """
    found_s = float("inf")
    for _ in range(5):
        shim = new_shim()
        assert shim.load().fields["ok"] == b"true"
        shim.configure(timeout_s=timeout_s)
        result = shim.submit(times)
        assert result.unchanged
        found_s = min(found_s, result.took_s)
        if found_s < below_s:
            break
    return found_s


def first(line: bytes) -> str:
    return line.split(b"\t", 1)[0].decode().strip()


def alive_but_silent(line: bytes) -> bytes | None:
    return b"pong\n" if line == b"ping\n" else None


def test_a_hung_daemon_costs_one_time_out_in_five_hundred_jobs(new_shim, bad_daemon):
    bad_daemon(lambda line: None)
    assert 0.9 * LIMIT_S <= cost_s(new_shim, 500, 1.9 * LIMIT_S) < 1.9 * LIMIT_S


def test_a_daemon_that_accepts_nothing_costs_one_time_out(new_shim, shim):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(shim.socket))
        listener.listen(64)
        took_s = cost_s(new_shim, 500, 1.9 * LIMIT_S)
    assert 0.9 * LIMIT_S <= took_s < 1.9 * LIMIT_S


def test_a_daemon_whose_backlog_is_full_costs_no_more_than_three(new_shim, shim):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as filler:
        listener.bind(str(shim.socket))
        listener.listen(0)
        filler.connect(str(shim.socket))
        assert cost_s(new_shim, 500, 4 * LIMIT_S) < 4 * LIMIT_S


def test_a_daemon_that_answers_pings_only_costs_three(shim, bad_daemon):
    daemon = bad_daemon(alive_but_silent)
    shim.configure(timeout_s=LIMIT_S)

    def lost() -> int:
        """Each question runs into a time-out."""
        return sum(line != b"ping\n" for line in list(daemon.lines))

    deadline = time.monotonic() + 60
    while lost() < 3:
        assert shim.submit().unchanged
        time.sleep(0.002)  # a submission's pace
        assert time.monotonic() < deadline
    assert shim.submit(100).unchanged
    assert lost() == 3


def test_after_a_hang_the_first_sign_of_life_is_enough(shim, bad_daemon, tools):
    wake = threading.Event()

    def reply(line: bytes) -> bytes:
        wake.wait(60)
        if line == b"ping\n":
            return b"pong\n"
        return encode_answer(int(first(line)), tools.defer())

    bad_daemon(reply)
    shim.configure(timeout_s=LIMIT_S)
    assert shim.submit(50).unchanged
    wake.set()
    shim.configure(timeout_s=30)
    deadline = time.monotonic() + 60
    while shim.submit().unchanged:
        assert time.monotonic() < deadline


def test_a_late_answer_is_never_the_next_jobs(shim, bad_daemon, tools):
    slow = {"1"}

    def reply(line: bytes) -> bytes:
        if line == b"ping\n":
            return b"pong\n"
        if first(line) in slow:
            time.sleep(2 * LIMIT_S)
            return encode_answer(int(first(line)), tools.defer(50))
        return f"{first(line)}\tpass\tx\n".encode()

    bad_daemon(reply)
    shim.configure(timeout_s=LIMIT_S)
    shim.submit()  # where all stood still meanwhile, its own answer may be in time
    for _ in range(200):
        assert shim.submit().unchanged
        time.sleep(0.005)


def test_an_answer_that_trickles_is_bound_by_the_total_limit(new_shim, bad_daemon):
    stop = threading.Event()
    daemon = bad_daemon(lambda line: None)

    def trickle() -> None:
        while not stop.wait(0.01):
            for peer in daemon._peers:
                try:
                    peer.send(b"1")
                except OSError:
                    pass  # the courier has hung up

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        assert cost_s(new_shim, 1, 2 * LIMIT_S) < 2 * LIMIT_S
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kind", ["missing", "dead", "unreadable-directory", "a-file", "too-long"])
def test_a_socket_nobody_serves_costs_no_time(shim, kind):
    if kind == "dead":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(shim.socket))
    elif kind == "a-file":
        shim.socket.write_text("not a socket")
    elif kind == "unreadable-directory":
        shim.configure(socket="/proc/1/nowhere/hook.sock")
    elif kind == "too-long":
        shim.configure(socket="/" + "x" * 200)
    shim.configure(timeout_s=30.0)
    result = shim.submit(500)
    assert result.unchanged
    assert result.took_s < 25
    assert len(result.log) == 1, "the log is told once, not once a job"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run Lua as another user")
def test_a_socket_of_somebody_else_costs_no_time(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer(), allowed_uids=(12345,)) as server:
        shim.configure(timeout_s=30.0)
        result = shim.submit(50)
        assert result.unchanged
        assert result.took_s < 25
        assert server.counts.asked == 0
        assert server.counts.strangers > 0


GARBAGE = [
    b"\n",
    b"garbage\n",
    b"\x00\xff\xfe\n",
    b"{}\n",
    b"999999\tpass\tx\n",
    b"%SEQ\n",
    b"%SEQ\tdefer\n",
    b"%SEQ\trun\tos.execute=1\n",
    b"%SEQ\tdefer\tbegin=-5\tlatest=%LATEST\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=1000\tlatest=%LATEST\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%FAR\tlatest=%LATEST\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=1e9\tlatest=%LATEST\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=nan\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=1\trecord=%REC\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=hello\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=green:v1 id=a%0Ab\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=green:v1 id=$(x)\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=green:v1 " + b"i" * 400 + b"\tmsg=\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=%REC\tmsg=" + b"m" * 301 + b"\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=%REC\tmsg=a%0Ab%0Ac\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=%REC\tmsg=%1B[31m\n",
    b"%SEQ\tdefer\tbegin=%BEGIN\tlatest=%LATEST\trecord=%REC\tmsg=%C3%A9\n",
    b"%SEQ\tlook\tbegin=%BEGIN\tlatest=%LATEST\trecord=%REC\tmsg=\n",
    b"%SEQ\tpass\t" + b"x" * 5000 + b"\n",
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_changes_nothing_and_is_nobody_elses_problem(shim, bad_daemon, tools, garbage):
    def reply(line: bytes) -> bytes:
        seq = first(line)
        if int(seq) > 20:
            return encode_answer(int(seq), tools.defer())
        return (
            garbage.replace(b"%SEQ", seq.encode())
            .replace(b"%BEGIN", str(int(tools.later(10).timestamp())).encode())
            .replace(b"%FAR", str(int(tools.later(900).timestamp())).encode())
            .replace(b"%LATEST", str(int(tools.later(7200).timestamp())).encode())
            .replace(b"%REC", tools.RECORD.encode())
        )

    bad_daemon(reply)
    shim.configure(timeout_s=30.0)
    for _ in range(20):
        result = shim.submit()
        assert result.unchanged
        assert len([text for text in result.log if "unusable answer" in text]) == 1
    # The very next job is asked about: nonsense is not a failure of the transport.
    assert not shim.submit().unchanged


def test_a_truncated_answer_changes_nothing_and_costs_no_time(shim, bad_daemon):
    bad_daemon(lambda line: line[:1] + b"\tdefer\tbeg", hang_up=True)
    shim.configure(timeout_s=30.0)
    result = shim.submit(100)
    assert result.unchanged
    assert result.took_s < 25
