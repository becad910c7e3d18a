# SPDX-License-Identifier: Apache-2.0
"""Rows in any JSON: the shapes there are, and one sentence for what is none."""

import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.json_rows import TIME_KINDS, Expression, JsonRows

BERLIN = ZoneInfo("Europe/Berlin")
ISO = "%Y-%m-%dT%H:%M:%SZ"
# Over the night on which Berlin has an hour twice.
HOURS = [datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(hours=n) for n in range(30)]


@pytest.mark.parametrize(
    ("rows", "path", "answer"),
    [
        (JsonRows(), "@", [[f"{at:{ISO}}", n] for n, at in enumerate(HOURS)]),
        (JsonRows(time_kind="posix"), "@", [[at.timestamp(), n] for n, at in enumerate(HOURS)]),
        (
            JsonRows(time_kind="posix_ms", columns=True),
            "[t, v]",
            {"t": [int(at.timestamp()) * 1000 for at in HOURS], "v": list(range(30))},
        ),
        (
            JsonRows(time_field="t", value_field="v", columns=True, time_kind="posix"),
            "data[0]",
            {"data": [{"t": [at.timestamp() for at in HOURS], "v": list(range(30)), "x": 0}]},
        ),
        (
            JsonRows(),
            "sort_by(points, &t)[].[t, to_number(a.b)]",
            {"points": [{"t": f"{at:{ISO}}", "a": {"b": f"{n}.0"}}
                        for n, at in reversed([*enumerate(HOURS)])]},
        ),
        (
            JsonRows(time_kind="local", time_zone=BERLIN),
            "@",
            [[f"{at.astimezone(BERLIN):%Y-%m-%dT%H:%M}", n] for n, at in enumerate(HOURS)],
        ),
    ],
)  # fmt: skip
def test_shapes(rows, path, answer):
    """Pairs, columns, nested, text, newest first; a local day of 25 hours has 25 steps."""
    got = list(rows.read(Expression(path, "x: path").search(answer), "x"))
    assert [row.at for row in got] == HOURS
    assert [row.value for row in got] == list(range(30))
    assert all(row.quantiles == {} for row in got)


@pytest.mark.parametrize("first", range(16))
@pytest.mark.parametrize("minutes", [15, 60])
def test_local_rows_may_begin_in_the_hour_that_comes_again(first, minutes):
    """A forecast from now on is asked for in that hour too."""
    times = [HOURS[0] + timedelta(minutes=minutes * n) for n in range(first, 60)]
    shown = [[f"{at.astimezone(BERLIN):%Y-%m-%dT%H:%M}", 1] for at in times]
    rows = JsonRows(time_kind="local", time_zone=BERLIN)
    assert [row.at for row in rows.read(shown, "x")] == times


@pytest.mark.parametrize(
    ("options", "words"),
    [({"time_field": "t"}, "all names or numbers"), ({"factor": 0}, "factor 0"),
     ({"time_kind": "unix"}, "time_kind 'unix' is none of"), ({"quantity": "co2"}, "no quantity"),
     ({"time_kind": "local"}, "needs a time_zone"), ({"time_zone": BERLIN}, "needs a time_zone"),
     ({"factor": math.inf}, "factor inf")],
)  # fmt: skip
def test_rows_that_can_never_be_read(options, words):
    """The same for how rows are read."""
    with pytest.raises(SignalError, match=words):
        JsonRows(**options)


@pytest.mark.parametrize("shown", ["2026-03-29T02:30", "2026-03-30T02:30+01:00", "soon", 7, None])
def test_times_that_no_clock_showed(shown):
    """An hour that the change of clocks left out, and what is no local time at all."""
    with pytest.raises(SignalError, match=r"^x: row 0: "):
        list(JsonRows(time_kind="local", time_zone=BERLIN).read([[shown, 1]], "x"))


@pytest.mark.parametrize("kind", ["iso", "posix", "posix_ms"])
@pytest.mark.parametrize("time", ["soon", None, [], True, 10**400, 1e300])
def test_what_is_no_time(kind, time):
    """Neither a crash nor 1970."""
    with pytest.raises(SignalError, match="x: row 0: "):
        list(JsonRows(time_kind=kind).read([[time, 5]], "x"))


@pytest.mark.parametrize("found", [[None, [1]], ["0", "1"], [{}, {}]])
def test_columns_that_are_none(found):
    with pytest.raises(SignalError, match="no lists of one length"):
        list(JsonRows(columns=True, time_kind="posix").read(found, "x"))


def test_columns_of_different_lengths():
    """The longer one has a value that no time belongs to, or the other way round."""
    with pytest.raises(SignalError, match="no lists of one length"):
        list(JsonRows(columns=True, time_kind="posix").read([[0, 3600], [1]], "x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("out.rows[", "at character 10, it ends too early"), ("a b", "at character 3, near 'b'"),
     ("a.#b", "at character 3, near '#b'"), ("", "it is empty"), ("]", "at character 1, near ']'"),
     ("x[].to_nmber(v)", "there is no function to_nmber"), ("a[?b > `\"`]", "at character"),
     ("(" * 3000, "is no JMESPath")],
)  # fmt: skip
def test_what_is_no_jmespath(text, words):
    """Refused when constructed, saying where it is wrong, on one line."""
    with pytest.raises(SignalError) as caught:
        Expression(text, "x: path")
    assert str(caught.value).startswith(f"x: path: {text[:80]!r} is no JMESPath: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["t", "v", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def written(at, kind):
    """A time as an API of that kind has it."""
    if kind == "local":
        return f"{at.astimezone(BERLIN):%Y-%m-%dT%H:%M:%S}"
    return {"iso": f"{at:{ISO}}", "posix": at.timestamp(), "posix_ms": 1e3 * at.timestamp()}[kind]


@given(
    st.lists(st.none() | st.floats(0, 1e5), max_size=5),
    st.sampled_from(TIME_KINDS),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["as it is", "a cell", "a row", "all"]),
    st.data(),
)
def test_whatever_comes_back(values, kind, columns, named, spoilt, data):
    """Any JSON gives rows or one sentence, never another exception; what is right, all rows."""
    keys = ("t", "v") if named else (0, 1, 2)
    table = [[written(HOURS[n], kind), value, value] for n, value in enumerate(values)]
    if spoilt == "a cell" and table:
        row = data.draw(st.sampled_from(table))
        row[data.draw(st.integers(0, len(keys) - 1))] = data.draw(JSON)
    cells = [list(column) for column in zip(*table, strict=True)] if columns else table
    answer = dict(zip(keys, cells, strict=False)) if named and columns else cells
    if named and not columns:
        answer = [dict(zip(keys, row, strict=False)) for row in table]
    if spoilt == "a row" and isinstance(answer, list) and answer:
        answer[data.draw(st.integers(0, len(answer) - 1))] = data.draw(JSON)
    if spoilt == "all":
        answer = data.draw(JSON)
    fields = {"time_field": "t", "value_field": "v"} if named else {"p90_field": 2}
    zone = BERLIN if kind == "local" else None
    rows = JsonRows(time_kind=kind, time_zone=zone, columns=columns, **fields)
    got = []
    try:
        for row in rows.read(Expression("@", "x: path").search(answer), "x"):
            got.append((row.at, row.value))
            assert row.at.tzinfo is UTC
            assert row.value is None or 0 <= row.value <= 1e5
    except SignalError as exc:
        assert str(exc).startswith("x")
        assert spoilt != "as it is" or not values
        return
    if spoilt == "as it is":
        assert got == list(zip(HOURS, values, strict=False))
