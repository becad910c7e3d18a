# SPDX-License-Identifier: Apache-2.0
"""The journal of a sweep: what a kill leaves, and what it refuses to go on with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.errors import ProfileError
from profiling.sweep.journal import SweepJournal

HEADER = {"gpus": ["GPU-0"], "window_s": 5.0, "clocks": (1, 2)}


def begun(path):
    with SweepJournal(path, HEADER, resume=False) as journal:
        journal.add("window", power_w=1.5)
        journal.add("window", power_w=None)
    return path.read_bytes()


def test_what_was_added_is_there_again(tmp_path):
    begun(tmp_path / "j")
    with SweepJournal(tmp_path / "j", HEADER, resume=True) as journal:
        assert [one["power_w"] for one in journal.of("window")] == [1.5, None]
        journal.add("window", power_w=2.0)
    with SweepJournal(tmp_path / "j", HEADER, resume=True) as journal:
        assert [one["power_w"] for one in journal.of("window")] == [1.5, None, 2.0]


@given(cut=st.integers(0, 400))
def test_cut_anywhere_it_goes_on_with_the_whole_lines(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "j"
    data = begun(path)[:cut]
    path.write_bytes(data)
    whole = max(data.count(b"\n") - 1, 0)
    with SweepJournal(path, HEADER, resume=True) as journal:
        assert len(journal.of("window")) == whole
        journal.add("window", power_w=9.0)
    with SweepJournal(path, HEADER, resume=True) as journal:
        assert journal.entries[-1]["power_w"] == 9.0
        assert len(journal.of("window")) == whole + 1


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({**HEADER, "gpus": ["GPU-1"]}, r'begun with gpus \["GPU-0"\], now it is \["GPU-1"\]'),
        ({**HEADER, "window_s": 1.0}, "begun with window_s 5.0, now it is 1.0"),
        ({**HEADER, "more": 1}, "begun with more null, now it is 1"),
    ],
)
def test_another_sweep_is_refused_in_one_line(tmp_path, header, said):
    begun(tmp_path / "j")
    with pytest.raises(ProfileError, match=said) as error:
        SweepJournal(tmp_path / "j", header, resume=True)
    assert "\n" not in str(error.value)


def test_without_resume_nothing_is_overwritten(tmp_path):
    data = begun(tmp_path / "j")
    with pytest.raises(ProfileError, match="--resume goes on with it"):
        SweepJournal(tmp_path / "j", HEADER, resume=False)
    assert (tmp_path / "j").read_bytes() == data


def test_two_at_once_are_refused(tmp_path):
    with (
        SweepJournal(tmp_path / "j", HEADER, resume=False),
        pytest.raises(ProfileError, match="another sweep"),
    ):
        SweepJournal(tmp_path / "j", HEADER, resume=True)


@pytest.mark.parametrize("damage", [b"nonsense\n", b'{"kind": 3}\n', b"[]\n"])
def test_damage_elsewhere_is_said(tmp_path, damage):
    data = begun(tmp_path / "j")
    first, rest = data.split(b"\n", 1)
    (tmp_path / "j").write_bytes(first + b"\n" + damage + rest)
    with pytest.raises(ProfileError, match="line 2 is none"):
        SweepJournal(tmp_path / "j", HEADER, resume=True)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ProfileError, match="cannot be written"):
        SweepJournal(tmp_path / "file" / "j", HEADER, resume=False)
