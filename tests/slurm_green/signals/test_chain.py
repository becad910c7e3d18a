# SPDX-License-Identifier: Apache-2.0
"""What sgreend reads, in order: the first good series wins, and the others' reasons are kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import Bundle, Link, write_bundle
from slurm_green.signals.chain import Chain
from slurm_green.signals.series import Series
from slurm_green.signals.signal_file import SignalFile

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SERIES = Series(
    start_utc=NOW, step_s=1800.0, values=np.arange(96) + 0.1, issued_utc=NOW, provider="neso"
)


class Reader:
    """A provider that gives what it was told to, or raises it."""

    def __init__(self, name, result):
        self.name, self.result, self.asked = name, result, 0

    def fetch(self, now_utc):
        self.asked += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_first_good_link_wins():
    """Order is preference; those after the winner are not asked."""
    first, second, third = (
        Reader("a", SignalError("down")),
        Reader("b", SERIES),
        Reader("c", SERIES),
    )
    chain = Chain([first, second, third])
    assert chain.fetch(NOW) is SERIES
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)
    assert chain.failures == ("a: down",)
    assert chain.name == "a>b>c"


def test_link_that_lies_or_crashes(caplog):
    """A series that does not cover now and a reader's bug both cost only their link."""
    old = replace(SERIES, start_utc=NOW - timedelta(days=9))
    chain = Chain([Reader("old", old), Reader("bug", KeyError("x")), Reader("good", SERIES)])
    assert chain.fetch(NOW) is SERIES
    assert chain.failures == ("old: its series does not cover now", "bug: KeyError: 'x'")
    assert "bug" in caplog.text


def test_all_fail():
    """Every link and its reason, in order, in one sentence."""
    chain = Chain([Reader("a", SignalError("down")), Reader("b", SignalError("no key"))])
    with pytest.raises(SignalError, match=r"^no usable signal: a: down; b: no key$"):
        chain.fetch(NOW)
    assert chain.failures == ("a: down", "b: no key")


def test_failures_are_those_of_the_last_time():
    """A link that works again is no longer listed."""
    link = Reader("a", SignalError("down"))
    chain = Chain([link, Reader("b", SERIES)])
    chain.fetch(NOW)
    link.result = SERIES
    chain.fetch(NOW)
    assert chain.failures == ()


def test_nothing_at_all():
    """An empty chain says so."""
    with pytest.raises(SignalError, match="no provider is set"):
        Chain([]).fetch(NOW)
    assert Chain([]).links == ()


def test_what_the_fetching_process_said_is_passed_on(tmp_path):
    """From the file, wherever in the chain it is read."""
    said = (Link(name="uk", kind="provider", status="failed", said="uk: answered 500"),)
    path = tmp_path / "signal.json"
    write_bundle(path, Bundle(written_utc=NOW, series=None, links=said))
    chain = Chain([SignalFile(path=path), Reader("csv", SERIES)])
    assert chain.links == ()
    assert chain.fetch(NOW) is SERIES
    assert chain.links == said
