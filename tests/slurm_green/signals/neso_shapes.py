# SPDX-License-Identifier: Apache-2.0
"""Answers of the NESO API in its documented shapes, written by hand."""

from datetime import datetime, timedelta


def slots(start_utc: datetime, count: int = 97, forecast=lambda i: 100 + i):
    """Half hours as the API writes them, from the half hour that `start_utc` lies in."""
    start = start_utc.replace(minute=start_utc.minute // 30 * 30, second=0, microsecond=0)
    return [
        {
            "from": f"{start + timedelta(minutes=30 * i):%Y-%m-%dT%H:%MZ}",
            "to": f"{start + timedelta(minutes=30 * (i + 1)):%Y-%m-%dT%H:%MZ}",
            "intensity": {"forecast": forecast(i), "actual": None, "index": "moderate"},
        }
        for i in range(count)
    ]


def national(rows):
    """`/intensity/{from}/fw48h`."""
    return {"data": rows}


def regional(rows, **identity):
    """`/regional/intensity/{from}/fw48h/regionid/{id}` and `.../postcode/{code}`."""
    mix = [{"fuel": "gas", "perc": 43.6}, {"fuel": "wind", "perc": 56.4}]
    return {
        "data": {
            **identity,
            "dnoregion": "SSE South",
            "shortname": "South England",
            "data": [{**row, "generationmix": mix} for row in rows],
        }
    }
