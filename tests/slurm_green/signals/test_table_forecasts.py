# SPDX-License-Identifier: Apache-2.0
"""Tables of issued forecasts, in the columns of the project's contract."""

import math

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.table import read_forecasts

NAN = math.nan

FORECASTS = """\
issued_s,start_s,carbon_g_per_kwh,p10,p90,renewable_w,renewable_p10
7200,7200,20,10,30,500,400
3600,3600,1,,2,700,
7200,10800,21,11,31,501,401
3600,5400,2,1,,701,650
3600,7200,3,1,4,702,
9000,9000,9,8,10,800,750
"""


def written(folder, text):
    path = folder / "forecasts.csv"
    path.write_text(text)
    return path


def test_forecasts(tmp_path):
    """One series per issue, in that order, however rows are mixed; unknown quantiles are NaN."""
    early, middle, late = read_forecasts(written(tmp_path, FORECASTS), region="GB")
    assert [one.issued_utc.timestamp() for one in (early, middle, late)] == [3600, 7200, 9000]
    assert (early.start_utc.timestamp(), early.step_s, early.region) == (3600, 1800.0, "GB")
    assert list(early.values) == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal([NAN, 1, 1], early.quantiles[0.1])
    np.testing.assert_array_equal([2, NAN, 4], early.quantiles[0.9])
    assert (middle.step_s, list(middle.values)) == (3600.0, [20.0, 21.0])
    assert late.step_s == 1800.0  # a lone row lasts as long as the file's shortest
    renewable = read_forecasts(written(tmp_path, FORECASTS), "renewable_w")
    assert [one.values[0] for one in renewable] == [700.0, 500.0, 800.0]
    assert [list(one.quantiles) for one in renewable] == [[0.1]] * 3


def test_quantiles_of_prices(tmp_path):
    """As `sgreen forecast --quantity price --csv` has them, or beside carbon, whose p10 it is."""
    alone = written(tmp_path, "issued_s,start_s,price_per_kwh,p10\n0,0,0.1,-0.1\n")
    assert read_forecasts(alone, "price_per_kwh")[0].quantiles == {0.1: [-0.1]}
    named = alone.read_text().replace("p10", "price_per_kwh_p10")
    assert read_forecasts(written(tmp_path, named), "price_per_kwh")[0].quantiles == {0.1: [-0.1]}
    names = "issued_s,start_s,carbon_g_per_kwh,p10,price_per_kwh,price_per_kwh_p10"
    both = written(tmp_path, f"{names}\n0,0,100,80,0.1,-0.2\n")
    assert read_forecasts(both, "price_per_kwh")[0].quantiles == {0.1: [-0.2]}
    assert read_forecasts(both)[0].quantiles == {0.1: [80.0]}
    power = written(tmp_path, "issued_s,start_s,price_per_kwh,base_power_w,p10\n0,0,0.1,5e3,0\n")
    for quantity in ("price_per_kwh", "base_power_w"):  # of which of the two is not said
        assert read_forecasts(power, quantity)[0].quantiles == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("10800,21", "10800,", "line 4: column carbon_g_per_kwh: no value"),
        ("3600,5400", "3600,3600", "line 5: column start_s: not after"),
        ("3600,7200,3", "3600,9000,3", "line 6: column start_s: leaves a gap"),
        ("3600,7200,3", "3600,8000,3", "line 6: column start_s: lies between"),
        ("20,10,30", "20,40,30", "issued 1970-01-01T02:00:00Z: "),
        ("issued_s", "made", "wanted issued_utc or issued_s"),
        ("3600,5400", ",5400", "line 5: column issued_s: '' is not a number of seconds"),
    ],
)
def test_bad_forecasts(tmp_path, old, new, words):
    """A forecast has no gaps, and a bad row is named by its own line."""
    assert FORECASTS.count(old) == 1
    path = written(tmp_path, FORECASTS.replace(old, new))
    with pytest.raises(SignalError) as caught:
        read_forecasts(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
