# SPDX-License-Identifier: Apache-2.0
"""The bar for long work: on terminals alone, and only once it takes a moment."""

import sys
from types import ModuleType

import pytest

from slurm_green.cli import progress


@pytest.mark.parametrize(("took_s", "shown"), [(0.5, False), (2.0, True)])
def test_a_bar_appears_after_a_second(monkeypatch, capsys, took_s, shown):
    """With the name of the work; gone when it is over."""
    now_s = [0.0]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "time", ModuleType("time"))
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s[0], raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress_bar() as heard:
        heard("fifo [b]", 0.1)
        now_s[0] = took_s
        heard("fifo [b]", 0.5, "best [b]1.2 t")

    said = capsys.readouterr().err
    assert ("fifo [b]" in said) == ("best [b]1.2 t" in said) == shown


def test_nothing_is_printed_where_there_is_no_terminal(monkeypatch, capsys):
    """Whatever it takes."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress.progress_bar() as heard:
        heard("fifo", 0.5)

    assert capsys.readouterr().err == ""
