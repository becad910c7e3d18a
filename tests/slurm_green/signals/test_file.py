# SPDX-License-Identifier: Apache-2.0
"""A series in a JSON file: everything it knows survives, and a damaged file is one sentence."""

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.file import read_series, write_series, write_text
from slurm_green.signals.series import Series, Stretch

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SERIES = Series(
    start_utc=NOW,
    step_s=1800.0,
    values=np.arange(96) + 0.1,
    issued_utc=NOW,
    provider="neso",
    region="GB-12",
    scope="direct",
    time_scale=2.0,
    quantiles={0.1: np.full(96, 0.05), 0.9: np.where(np.arange(96) < 48, np.nan, 200.0)},
    provenance=(
        Stretch(steps=90, provider="neso", issued_utc=NOW),
        Stretch(steps=6, provider="c", issued_utc=NOW - timedelta(days=3), kind="climatology"),
    ),
)
ARRAYS = {"values", "edges_s", "cumulative", "quantiles"}


def same(one, two):
    """Whether two series are equal in everything."""
    ours = {k: v for k, v in vars(one).items() if k not in ARRAYS}
    theirs = {k: v for k, v in vars(two).items() if k in ours}
    return (
        ours == theirs
        and list(one.values) == list(two.values)
        and one.quantiles.keys() == two.quantiles.keys()
        and all(
            np.array_equal(one.quantiles[share], two.quantiles[share], equal_nan=True)
            for share in one.quantiles
        )
    )


@pytest.mark.parametrize(
    "series",
    [
        SERIES,
        replace(SERIES, quantiles={}, provenance=()),
        replace(SERIES, quantity="price_per_kwh", values=-SERIES.values, quantiles={}),
    ],
)
def test_round_trip(tmp_path, series):
    """Everything a series knows survives the file, and nothing is left beside it."""
    path = tmp_path / "signal.json"
    write_series(path, series)
    assert same(series, read_series(path))
    assert list(tmp_path.iterdir()) == [path]


def test_another_user_may_read_it(tmp_path):
    """The fetching user writes, sgreend's reads."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """A full disk leaves the old file whole and no temporary one."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SignalError, match="No space left"):
        write_series(path, SERIES.relabelled("other"))
    assert read_series(path).provider == "neso"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_not_there(tmp_path):
    """The message names the file."""
    with pytest.raises(SignalError, match=r"none/x\.json: cannot write .*: No such file"):
        write_text(tmp_path / "none" / "x.json", "")


def _cut(text):
    return text[: len(text) // 2]


def _changed(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


def _without(name):
    return lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != name})


DAMAGES = {
    "cut": _cut,
    "empty": lambda text: "",
    "one brace": lambda text: "{",
    "a list": lambda text: "[]",
    "zeros": lambda text: "\x00" * 100,
    "NaN": lambda text: text.replace("0.1", "NaN", 1),
    "huge number": lambda text: text.replace("0.1", "1e999", 1),
    "whole number no float holds": lambda text: text.replace("0.1", "1" + "0" * 400, 1),
    "nested without end": lambda text: "[" * 100_000,
    "no values": _changed(values=[]),
    "an unknown value": _changed(values=[1, None]),
    "less than nothing": _changed(values=[-1]),
    "values of text": _changed(values="100"),
    "a value in words": _changed(values=["100"]),
    "absurd": _changed(values=[1e300]),
    "no step": _changed(step_s=0),
    "a step beyond the calendar": _changed(step_s=1e300),
    "a flag for a step": _changed(step_s=True),
    "no zone": _changed(start_utc="2026-05-01T12:00:00"),
    "a number for a time": _changed(start_utc=5),
    "an older format": _changed(version=1),
    "a newer format": _changed(version=3),
    "another format": _changed(format="other"),
    "nobody's": _changed(provider=None),
    "of nothing": _changed(quantity="co2"),
    "quantiles of text": _changed(quantiles="none"),
    "a quantile too short": _changed(quantiles={"0.1": [1.0]}),
    "a share in words": _changed(quantiles={"low": [1.0] * 96}),
    "quantiles that cross": _changed(quantiles={"0.1": [5.0] * 96, "0.9": [4.0] * 96}),
    "origins of half": _changed(
        provenance=[{"steps": 5, "provider": "x", "issued_utc": NOW.isoformat(), "kind": "x"}]
    ),
    "an origin that is none": _changed(provenance=[5]),
    "endless origins": lambda text: text.replace('"steps": 90', '"steps": 1e999'),
    **{f"without {name}": _without(name) for name in ("values", "step_s", "provenance", "scope")},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file(tmp_path, damage):
    """Missing, cut, NaN, wrong types: one error that names the file."""
    path = tmp_path / "signal.json"
    write_series(path, SERIES)
    path.write_text(DAMAGES[damage](path.read_text()))
    with pytest.raises(SignalError, match=r"^/.*signal\.json: "):
        read_series(path)


def test_missing_file(tmp_path):
    """The fetching process has not run yet."""
    with pytest.raises(SignalError, match="no such file"):
        read_series(tmp_path / "signal.json")
