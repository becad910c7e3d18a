# SPDX-License-Identifier: Apache-2.0
"""The signal file: series, links and what is usual go in and come out, or one sentence does."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import Bundle, Link, read_bundle, write_bundle
from slurm_green.signals.climatology import Climatology
from slurm_green.signals.file import read_series, write_series
from slurm_green.signals.series import Series, Stretch

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LINKS = (
    Link(
        name="em", kind="provider", status="failed", said='em: answered 401; "new key"\N{EM DASH}'
    ),
    Link(name="last good of em", kind="cache", status="used", said="46 h ahead"),
    Link(name="built-in forecast", kind="forecast", status="spare", said="not needed"),
    Link(name="uk", kind="history", status="waiting", said="asked to be left alone"),
)
SERIES = Series(
    start_utc=NOW,
    step_s=1800.0,
    values=np.arange(96) + 0.1,
    issued_utc=NOW - timedelta(hours=2),
    provider="cache(em)",
    region="DE",
    quantiles={0.5: np.full(96, np.nan)},
    provenance=(Stretch(steps=96, provider="cache(em)", issued_utc=NOW - timedelta(hours=2)),),
)
USUAL = Climatology(
    values=np.arange(168.0),
    quantiles={share: np.arange(168.0) + 10 * share for share in (0.1, 0.5, 0.9)},
    made_utc=NOW - timedelta(hours=1),
    days=41,
    provider="em",
    region="DE",
    basis="marginal",
    scope="direct",
)
BUNDLE = Bundle(written_utc=NOW, series=SERIES, links=LINKS, climatology=USUAL)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "signal.json"


def test_round_trip(path):
    """Everything sgreend and `sgreen signal check` are to know."""
    write_bundle(path, BUNDLE)

    got = read_bundle(path)

    assert (got.written_utc, got.links) == (NOW, LINKS)
    assert list(got.series.values) == list(SERIES.values)
    assert got.series.stretches == SERIES.stretches
    for name in ("made_utc", "days", "provider", "region", "quantity", "basis", "scope"):
        assert getattr(got.climatology, name) == getattr(USUAL, name)
    assert list(got.climatology.values) == list(USUAL.values)
    assert got.climatology.quantiles.keys() == USUAL.quantiles.keys()
    assert list(got.climatology.quantiles[0.9]) == list(USUAL.quantiles[0.9])


@pytest.mark.parametrize("series", [None, SERIES])
@pytest.mark.parametrize("usual", [None, USUAL])
def test_each_part_may_be_missing(path, series, usual):
    """No signal at all is something to say, too."""
    write_bundle(path, replace(BUNDLE, series=series, climatology=usual))

    got = read_bundle(path)

    assert (got.series is None) == (series is None)
    assert (got.climatology is None) == (usual is None)
    assert got.links == LINKS


def test_it_reads_as_a_plain_series_too(path):
    """Other tools need not know what a bundle is."""
    write_bundle(path, BUNDLE)

    assert list(read_series(path).values) == list(SERIES.values)


def test_a_plain_series_is_a_bundle_written_when_it_was_issued(path):
    """Somebody copied one in; nobody stands behind it later than its issue."""
    write_series(path, SERIES)

    got = read_bundle(path)

    assert (got.written_utc, got.links) == (SERIES.issued_utc, ())
    assert (got.climatology, got.series.provider) == (None, "cache(em)")


def test_why_there_is_no_series_in_one_line():
    """From all links but those that were used."""
    problem = replace(BUNDLE, series=None).problem

    assert problem == (
        'no usable signal: em: em: answered 401; "new key"\N{EM DASH}; '
        "built-in forecast: not needed; uk: asked to be left alone"
    )
    assert Bundle(written_utc=NOW, series=None).problem == ("no usable signal: no provider is set")


def test_a_status_nobody_knows_is_refused():
    """A typing error here would hide a failed link from the metrics."""
    with pytest.raises(SignalError, match="link em: status 'fialed' is none"):
        replace(LINKS[0], status="fialed")


def _cut(raw):
    return json.dumps(raw)[:-200]


def _set(*place, to):
    def spoil(raw):
        inner = raw
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = to
        return json.dumps(raw)

    return spoil


DAMAGES = {
    "cut": _cut,
    "a list": lambda raw: "[1]",
    "a number": lambda raw: "5",
    "a series without its format": _set("format", to=None),
    "a value that is none": _set("values", to=[None]),
    "no zone": _set("written_utc", to="2026-05-01T12:00:00"),
    "a number for a time": _set("written_utc", to=5),
    "links that are none": _set("links", to=7),
    "no links but a word for them": _set("links", to=None),
    "a link that is a word": _set("links", 0, to="em"),
    "a link without words": _set("links", 0, to={"name": "em", "kind": "x", "status": "used"}),
    "a status nobody knows": _set("links", 0, "status", to="fialed"),
    "a usual that is a word": _set("climatology", to="none"),
    "a usual week too short": _set("climatology", "values", to=[1.0] * 167),
    "a usual amount that is none": _set("climatology", "values", 3, to=None),
    "a usual band too short": _set("climatology", "quantiles", "0.1", to=[1.0]),
    "a usual share in words": _set("climatology", "quantiles", to={"low": [1.0] * 168}),
    "a usual made at no time": _set("climatology", "made_utc", to="yesterday"),
    "a usual without zone": _set("climatology", "made_utc", to="2026-05-01T12:00:00"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_sentence_that_names_it(path, damage):
    """Whatever a full disk or a person made of it."""
    write_bundle(path, BUNDLE)
    path.write_text(DAMAGES[damage](json.loads(path.read_text())))

    with pytest.raises(SignalError, match=r"^/.*signal\.json: ") as caught:
        read_bundle(path)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "damaged"),
    [('"days": 41', '"days": 1e999'), ('"values": [0.0', '"values": [1' + "0" * 400)],
    ids=["days", "values"],
)
def test_a_number_no_float_holds_is_damage_too(path, place, damaged):
    """Python's own error for it is none of those that are looked for."""
    write_bundle(path, replace(BUNDLE, series=None))
    text = path.read_text()
    assert place in text
    path.write_text(text.replace(place, damaged, 1))

    with pytest.raises(SignalError):
        read_bundle(path)


def test_a_sentence_is_not_called_by_its_class(path):
    """People read it."""
    write_bundle(path, BUNDLE)
    path.write_text(DAMAGES["a status nobody knows"](json.loads(path.read_text())))

    with pytest.raises(SignalError) as caught:
        read_bundle(path)

    assert "SignalError" not in str(caught.value)


@settings(max_examples=200)
@given(st.data())
def test_any_one_change_of_a_file_is_read_or_refused(tmp_path_factory, data):
    """A byte that a disk got wrong never raises anything but SignalError."""
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    write_bundle(path, BUNDLE)
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        read_bundle(path)
    except SignalError:
        pass
