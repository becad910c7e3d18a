# SPDX-License-Identifier: Apache-2.0
"""GPU models: the shipped ones are sound and sourced; a wrong one is refused in one line."""

import re
from pathlib import Path

import pytest

from profiling.device.emulated import models
from profiling.device.emulated.models import load_model, model_names
from profiling.device.emulated.physics import capped_clock_mhz, power_w
from profiling.errors import ProfileError

_SOURCE = Path(models.__file__).with_name("models") / "a100-sxm4-80gb.toml"


@pytest.mark.parametrize("name", model_names())
def test_every_constant_has_a_source_and_the_unsourced_are_called_assumed(name: str) -> None:
    model = load_model(name)
    for key, one in model.provenance.items():
        assert one.source.startswith("http" if one.kind != "assumed" else ("http", "no ")), key
    assert {"fitted", "published", "assumed"} == {one.kind for one in model.provenance.values()}


def test_published_end_points_are_met() -> None:
    """Idle and full-load watts, holdable clocks: the figures that the sources tell."""
    a100, h100, h200, rtx = map(load_model, ("a100-sxm4-80gb", "h100-sxm", "h200", "rtx-4090"))
    idle_w = {
        m.name: float(power_w(m.idle_clock_mhz, 0, 0, m, context=False)) for m in (h100, h200)
    }
    assert 70 <= idle_w["h100-sxm"] <= 75
    assert 79 <= idle_w["h200"] <= 81
    assert 62 <= float(power_w(1275, 0, 0, a100, context=False)) <= 67
    tax_w = float(power_w(1410, 0, 0, a100) - power_w(210, 0, 0, a100, context=False))
    assert 26 <= tax_w <= 50
    assert 690 <= float(power_w(1980, 1, 1, h100)) <= 710
    assert 1500 <= capped_clock_mhz(700, 1, 1, h200) < 1830
    assert float(power_w(rtx.hold_clock_mhz, 0, 0, rtx)) < 100


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"knee_mhz = .*\n", "", "constant knee_mhz is missing"),
        (r"knee_mhz", "nee_mhz", "unknown constant nee_mhz; did you mean knee_mhz?"),
        (r"knee_mhz = \{ value = 1095.0", "knee_mhz = { value = -1", "constant knee_mhz: wanted"),
        (r"knee_mhz = \{ value = 1095.0", "knee_mhz = { value = nan", "constant knee_mhz: wanted"),
        (r"knee_mhz = \{ value = 1095.0", "knee_mhz = { value = 1500", "knee_mhz must be among"),
        (r"knee_mhz = \{ value = 1095.0", "knee_mhz = { value = true", "constant knee_mhz: wanted"),
        (r"mig = \{ value = 1", "mig = { value = 2", "mig is 0 or 1"),
        (r"step_mhz = \{ value = 15.0", "step_mhz = { value = 7.0", "whole steps above"),
        (r"step_mhz = \{ value = 15.0", "step_mhz = { value = 0", "step_mhz must be above 0"),
        (r'value = 47.0, provenance = "fitted"', 'value = 1.0, provenance = "measured"', "one of"),
        (r'source = "stream"', 'source = "steam"', "source 'steam' is not in [sources]"),
        (r"\[0.65, 0.77, 0.9, 1.0\]", "[0.65, 0.77, 0.9]", "bandwidth_* differ in length"),
        (r"\[0.65, 0.77, 0.9, 1.0\]", "[0.65, 0.77, 0.9, 0.8]", "rise to 1"),
        (r"\[0.65, 0.77, 0.9, 1.0\]", "[]", "constant bandwidth_share: wanted a list"),
        (r"\[constants\]", "[constant]", "the two tables"),
        (r"\[constants\]", "[constants", "not TOML"),
        (r"value = 1095.0", f"value = 1{400 * '0'}", "constant knee_mhz: wanted a number"),
        (r"value = 1095.0", f"value = 1{5000 * '0'}", "not TOML: Exceeds"),
        (
            r"limit_min_w = \{ value = 100.0",
            "limit_min_w = { value = 500.0",
            "limit min <= default",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(
    tmp_path: Path, pattern: str, replacement: str, message: str
) -> None:
    text, count = re.subn(pattern, replacement, _SOURCE.read_text(encoding="utf-8"), count=1)
    assert count == 1
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_model(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ProfileError, match=r"known are a100-sxm4-80gb, .*; did you mean h100-sxm"):
        load_model("h100-sx")
