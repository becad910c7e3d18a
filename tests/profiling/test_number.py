# SPDX-License-Identifier: Apache-2.0
"""What a text is a number for."""

import pytest

from profiling.number import number_of


@pytest.mark.parametrize(
    ("text", "found"), [(" 5", 5), ("+5\t", 5), ("-1.5e3", -1500), (".5", 0.5), ("\xa07 ", 7)]
)
def test_numbers(text, found):
    assert number_of(text) == found


@pytest.mark.parametrize(
    "text", ["1_000", "\u0661\u0662", "\uff15", "0x10", "1,5", "1 000", "", "x"]
)
def test_no_numbers(text):
    with pytest.raises(ValueError, match=r"number|convert"):
        number_of(text)
