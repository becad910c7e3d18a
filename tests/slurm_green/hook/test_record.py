# SPDX-License-Identifier: Apache-2.0
"""The record in the AdminComment: it comes back as it went in, and never eats others' text."""

import string
from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW, at
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.hook.record import (
    Record,
    append,
    energy_of,
    new_token,
    parse,
    remove,
    replace_record,
    with_energy,
)

instants = st.integers(1, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
words = st.text(string.ascii_letters + string.digits + "-_.:/@=", min_size=1, max_size=20)
numbers = st.none() | st.integers(-(10**9), 10**9)


@st.composite
def records(draw: st.DrawFn) -> Record:
    signal = draw(st.none() | words)
    return Record(
        token=draw(words),
        decided_utc=draw(instants),
        start_utc=draw(instants),
        latest_utc=draw(instants),
        policy=draw(words),
        workers=draw(numbers),
        clock_mhz=draw(numbers),
        save_g=draw(numbers),
        signal=signal,
        signal_age_s=draw(numbers) if signal else None,
    )


def record(**fields: object) -> Record:
    given_fields: dict = {
        "token": "0a1b2c",
        "decided_utc": NOW,
        "start_utc": at(6),
        "latest_utc": at(12),
        "policy": "lowest-window",
    }
    return Record(**(given_fields | fields))


@given(records())
def test_every_record_comes_back(one: Record) -> None:
    assert parse(str(one)) == one


def test_the_line_is_the_contract() -> None:
    one = record(save_g=412, signal="neso", signal_age_s=90)
    assert str(one) == (
        "green:v1 id=0a1b2c decided=2026-11-23T06:00:00Z start=2026-11-23T12:00:00Z "
        "latest=2026-11-23T18:00:00Z workers=- clock=- by=lowest-window save_g=412 sig=neso@90s"
    )


# Others' text as tools write it: no record of ours in it, no blanks at its ends.
others = st.text(max_size=80).map(str.strip).filter(lambda text: "green:v1" not in text)


@given(others, records(), records(), others)
def test_others_keep_their_text_to_the_letter(
    before: str, first: Record, second: Record, behind: str
) -> None:
    text = append(before, first)
    assert parse(text) == first
    text = f"{text} {behind}" if behind else text
    changed = replace_record(text, second)
    assert parse(changed) == second
    assert changed.count("green:v1") == 1
    left = remove(changed)
    assert left == f"{before} {behind}".strip()


def test_key_value_words_behind_ours_belong_to_others() -> None:
    text = f"{record()} id=7 energy=5J start=soon"
    assert remove(text) == "id=7 energy=5J start=soon"
    assert parse(text) == record()


@given(st.text(max_size=300))
def test_parse_never_raises(text: str) -> None:
    parse(text)


@given(st.dictionaries(st.sampled_from(["decided", "start", "latest", "save_g", "sig"]), words))
def test_parse_never_raises_for_half_a_record(fields: dict[str, str]) -> None:
    line = "green:v1 id=x " + " ".join(f"{key}={value}" for key, value in fields.items())
    parse(line)
    assert parse(f"{line} {record()}") == record()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "green:v1",
        "green:v1 id=x decided=now start=now latest=now by=x",
        "green:v1 id=x decided=2026-11-23T06:00:00Z",
        "green:v1 id=x save_g=" + "9" * 5000,
        str(record()).replace("save_g=-", "save_g=1e9"),
        "green:v2 id=x",
        "\x00\ud800green:v1 id=",
    ],
)
def test_what_cannot_be_read_is_no_record(text: str) -> None:
    assert parse(text) is None


def test_a_hundred_kilobytes_are_read_at_once() -> None:
    assert parse("green:v1 id=" * 10_000) is None
    assert parse("x" * 100_000 + f" {record()}") == record()


def test_the_last_record_counts() -> None:
    forged = record(latest_utc=NOW + timedelta(days=400))
    assert parse(append(f"copied {forged}", record())) == record()


def test_blanks_in_a_providers_name_do_not_break_the_line() -> None:
    one = record(signal="csv /data/my trace.csv", signal_age_s=1)
    read = parse(str(one))
    assert read is not None
    assert read.signal == "csv_/data/my_trace.csv"
    assert remove(str(one)) == ""


def test_tokens_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100


def test_the_energy_of_a_finished_job_stands_behind_all_else() -> None:
    record = "mine green:v1 id=a decided=2026-11-23T06:00:00Z"
    once = with_energy(record, 5120.4, "nvml-counter")
    assert once == f"{record} green:energy j=5120 by=nvml-counter"
    assert energy_of(once) == (5120.0, "nvml-counter")
    assert with_energy(once, 7, "emulated") == f"{record} green:energy j=7 by=emulated"
    assert with_energy("", 7, "emulated") == "green:energy j=7 by=emulated"
    for other in ("", "green:energy", "green:energy j=-5 by=x", "green:energy j=5 by=x,y"):
        assert energy_of(other) is None
