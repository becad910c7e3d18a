# SPDX-License-Identifier: Apache-2.0
"""The wire as text: what Python makes of a request line, and the answers it writes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.hook.wire import (
    Ask,
    Defer,
    Pass,
    WireError,
    encode_answer,
    parse_ask,
    percent_decode,
    percent_encode,
)

BEGIN = datetime(2026, 11, 22, 12, 0, 10, tzinfo=UTC)


def test_a_request_becomes_an_ask_with_units():
    line = b"12\tuid=1001\tuser=alice\ttime_limit=90\ttime_min=30\trequeue=0\tcomment=a%09b%25\n"
    assert parse_ask(line) == Ask(
        seq=12,
        uid=1001,
        user="alice",
        time_limit_s=5400,
        time_min_s=1800,
        requeue=False,
        comment="a\tb%",
    )


def test_unlimited_is_not_the_same_as_unset():
    assert parse_ask(b"1\tuid=0\ttime_limit=unlimited\n").unlimited
    assert not parse_ask(b"1\tuid=0\n").unlimited


def test_keys_of_a_newer_courier_are_left_out():
    assert parse_ask(b"1\tuid=0\tcolour=blue\tseq=9\n") == Ask(seq=1, uid=0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\n", "seq=''"),
        (b"x\tuid=0\n", "seq='x'"),
        (b"1\n", "no uid"),
        (b"1\tuid=0\tfoo\n", "not key=value"),
        (b"1\tuid=-1\n", "uid='-1'"),
        (b"1\tuid=0\tmin_nodes=1.5\n", "min_nodes='1.5'"),
        (b"1\tuid=0\ttime_limit=" + b"9" * 400 + b"\n", "time_limit='999"),
        ("1\tuid=0\tmin_nodes=\u0661\n".encode(), "not ASCII"),
        (b"1\tuid=0\tname=caf\xe9\n", "not ASCII"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(line, words):
    with pytest.raises(WireError, match=words):
        parse_ask(line)


@given(st.binary(max_size=300))
def test_any_line_is_an_ask_or_a_wire_error(line):
    try:
        parse_ask(line)
    except WireError:
        pass


@given(st.binary(max_size=100))
def test_encoding_is_one_printable_word_and_loses_nothing(raw):
    text = percent_encode(raw)
    assert all(" " <= c <= "~" for c in text)
    assert percent_decode(text) == raw.decode("utf-8", "replace")


def test_answers_are_one_line_each():
    assert encode_answer(3, Pass(reason="no-slack")) == b"3\tpass\tno-slack\n"
    elsewhere = (BEGIN + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))
    answer = Defer(
        begin_utc=BEGIN, latest_utc=elsewhere, record="green:v1 id=1", message="50%\tless\nCO2"
    )
    assert encode_answer(4, answer) == (
        b"4\tdefer\tbegin=1795348810\tlatest=1795352410\trecord=green:v1 id=1"
        b"\tmsg=50%25%09less%0ACO2\n"
    )
