# SPDX-License-Identifier: Apache-2.0
"""The price file: what is written is read, what is damaged is refused, prices move to new slots."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from slurm_green.errors import BadInputError
from slurm_green.plan import price_file
from slurm_green.plan.outcome import Objective, Prices, Weights
from slurm_green.plan.price_file import FORMAT, PriceFile, read_prices, regrid, write_prices

HOUR, DAY = 3600.0, 86_400.0


def priced(mu, *, start_s=0.0, step_s=HOUR):
    """A file whose lam is twice and whose nu is a tenth of mu."""
    mu = np.asarray(mu, dtype=np.float64)
    return PriceFile(
        start_s=start_s,
        step_s=step_s,
        gpus=52,
        objective=Objective.PPC,
        weights=Weights(carbon=1.0, performance_g=12.5),
        prices=Prices(mu=mu, lam=2 * mu, nu=mu / 10),
        made_utc=datetime(2026, 11, 24, 12, 0, tzinfo=UTC),
    )


@pytest.fixture
def path(tmp_path):
    """Where a good file of three slots is."""
    where = tmp_path / "prices.json"
    write_prices(where, priced([1.5, 0.0, 300.0]))
    return where


def test_what_is_written_is_read(path):
    """Every field, to the last digit; nothing is left beside it."""
    found = read_prices(path)

    assert found.prices.mu.tolist() == [1.5, 0.0, 300.0]
    assert found.prices.lam.tolist() == [3.0, 0.0, 600.0]
    assert found.prices.nu.tolist() == [0.15, 0.0, 30.0]
    assert (found.start_s, found.step_s, found.gpus, found.slots) == (0, 3600, 52, 3)
    assert found.objective is Objective.PPC
    assert found.weights == Weights(carbon=1.0, performance_g=12.5)
    assert found.made_utc == datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert [one.name for one in path.parent.iterdir()] == ["prices.json"]


def test_the_documented_keys(path):
    """What other programs read."""
    assert json.loads(path.read_text()) == {
        "format": "slurm-green prices 1",
        "start_s": 0.0,
        "step_s": 3600.0,
        "gpus": 52,
        "objective": "ppc",
        "weights": {"carbon": 1.0, "performance_g": 12.5},
        "mu_g_per_kwh": [1.5, 0.0, 300.0],
        "lam_g_per_gpu_hour": [3.0, 0.0, 600.0],
        "nu_g_per_kwh": [0.15, 0.0, 30.0],
        "made_utc": "2026-11-24T12:00:00Z",
    }


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "slurm-green prices 2", f"this version reads '{FORMAT}'"),
        ("step_s", 0, "key step_s"),
        ("step_s", True, "key step_s"),
        ("start_s", "0", "key start_s"),
        ("start_s", 10**400, "key start_s"),
        ("gpus", 1.5, "not a whole number"),
        ("objective", "cheap", "none of performance-constrained"),
        ("weights", None, "key weights"),
        ("weights", {"carbon": 1}, "performance_g: missing"),
        ("mu_g_per_kwh", [1, 2], "mu_g_per_kwh has 2, lam_g_per_gpu_hour has 3"),
        ("mu_g_per_kwh", [], "one price per slot"),
        ("lam_g_per_gpu_hour", [1, -2, 3], "entry 2: '-2'"),
        ("nu_g_per_kwh", [1, 2, None], "entry 3: 'None'"),
        ("made_utc", "yesterday", "key made_utc"),
    ],
)
def test_a_wrong_key_is_named(path, key, value, said):
    """One line with the file, the key, and what is allowed."""
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, key: value}))

    with pytest.raises(BadInputError) as caught:
        read_prices(path)

    text = str(caught.value)
    assert text.startswith(str(path))
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b'{"format"', "line 1"),
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (b'{"format": "slurm-green prices 1", "step_s": NaN}', "NaN is not allowed"),
    ],
)
def test_what_is_no_price_file_is_refused(path, data, said):
    """Cut, binary, something else."""
    path.write_bytes(data)

    with pytest.raises(BadInputError, match=said):
        read_prices(path)


def test_reading_is_bounded_and_never_blocks(path, tmp_path, monkeypatch):
    """A directory, a missing file, one that is too large."""
    for where in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(BadInputError, match=r"plain file|no such file"):
            read_prices(where)
    monkeypatch.setattr(price_file, "MAX_BYTES", 100)
    with pytest.raises(BadInputError, match="larger than"):
        read_prices(path)


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    """Whole or not at all, and no temporary file stays."""
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInputError, match="No space left"):
        write_prices(path, priced([9.0]))

    assert path.read_text() == before
    assert len(list(path.parent.iterdir())) == 1


def test_the_same_slots_keep_their_prices():
    """Bit for bit the same signal."""
    found = regrid(priced([1, 0, 3], start_s=500), start_s=500, step_s=HOUR, slots=3)

    np.testing.assert_allclose(found.mu, [1, 0, 3], rtol=1e-12)
    np.testing.assert_allclose(found.lam, [2, 0, 6], rtol=1e-12)


def test_an_hour_later_the_new_slot_is_that_of_the_day_before():
    """The others move by one."""
    old = priced(np.arange(48.0), start_s=1e9)

    found = regrid(old, start_s=1e9 + HOUR, step_s=HOUR, slots=48)

    np.testing.assert_allclose(found.mu, [*range(1, 48), 24], rtol=1e-12)
    np.testing.assert_allclose(found.nu, found.mu / 10)


def test_far_beyond_the_end_the_last_day_repeats():
    """A file of two days, looked at a week later."""
    found = regrid(priced(np.arange(48.0)), start_s=7 * DAY, step_s=HOUR, slots=24)

    np.testing.assert_allclose(found.mu, np.arange(24.0, 48.0), rtol=1e-9, atol=1e-9)


def test_where_there_is_no_day_before_the_price_is_zero():
    """A file of three hours; and slots before it."""
    short = regrid(priced([5, 5, 5]), start_s=2 * HOUR, step_s=HOUR, slots=3)
    early = regrid(priced([5, 5, 5]), start_s=-2 * HOUR, step_s=HOUR, slots=3)

    assert short.mu.tolist() == [5, 0, 0]
    assert early.mu.tolist() == [0, 0, 5]


def test_other_steps_get_averages():
    """Coarser ones over what is covered, finer ones the price they lie in."""
    coarse = regrid(priced([1, 3, 8]), start_s=0, step_s=2 * HOUR, slots=2)
    fine = regrid(priced([1, 3]), start_s=HOUR / 2, step_s=HOUR / 2, slots=3)

    np.testing.assert_allclose(coarse.mu, [2, 8])
    np.testing.assert_allclose(fine.mu, [1, 3, 3])


def test_no_price_becomes_negative():
    """Zeros between large prices stay zeros."""
    old = priced(np.tile([7e5 / 3, 0.0], 5000))

    found = regrid(old, start_s=HOUR, step_s=HOUR, slots=9_000)

    assert found.mu.min() == 0
    assert found.mu[0::2].max() < 1e-6
