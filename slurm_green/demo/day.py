# SPDX-License-Identifier: Apache-2.0
"""The example carbon day: made up, with the shape of a grid that has wind at night and sun at noon.

    python -m slurm_green.demo.day > examples/demo/carbon-day.csv

It is no measurement of any grid and says so wherever it is shown.
"""

import math
import sys

__all__ = ["DAY_S", "STEP_S", "csv_text", "intensity_g_per_kwh"]

DAY_S = 86_400
STEP_S = 900
_USUAL_G_PER_KWH = 345.0
# (hour, half width in hours, g/kWh): what the hours of a day add to the usual, or take from it.
_BUMPS = (
    (3.2, 2.3, -175.0),  # wind, and everybody asleep
    (8.2, 1.5, 95.0),  # the morning's kettles
    (13.1, 2.0, -250.0),  # the sun
    (19.0, 2.3, 165.0),  # the evening, gas plants at full load
)


def intensity_g_per_kwh(hour: float) -> float:
    """Grams of CO2e per kWh at an hour of the day, the same every day."""
    total = _USUAL_G_PER_KWH
    for centre, width, height in _BUMPS:
        # Around the clock: the evening's tail reaches into the night.
        apart = (hour - centre + 12.0) % 24.0 - 12.0
        total += height * math.exp(-0.5 * (apart / width) ** 2)
    return total


def csv_text() -> str:
    """The day as the CSV trace provider reads it."""
    lines = ["start_s,carbon_g_per_kwh"]
    for start_s in range(0, DAY_S, STEP_S):
        middle_h = (start_s + STEP_S / 2) / 3600
        lines.append(f"{start_s},{intensity_g_per_kwh(middle_h):.1f}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(csv_text())
