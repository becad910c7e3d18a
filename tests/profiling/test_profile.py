# SPDX-License-Identifier: Apache-2.0
"""A profile's types: what they refuse, and what a reader takes for what is not known."""

from dataclasses import replace

import profile_cases
import pytest

from profiling.errors import ProfileError
from profiling.profile import (
    Engine,
    Gpu,
    InferencePoint,
    Profile,
    Provenance,
    TrainingPoint,
    assumed_engine,
    assumed_gpu,
)

POINT = InferencePoint(
    phase="decode", batch=4, context_tokens=1000, clock_mhz=1410.0, latency_s=0.01, tp=2,
    power_w=600.0,
)  # fmt: skip
SHAPE = TrainingPoint(workers=4, rate=1.0, clock_mhz=900.0, power_w=1600.0)


@pytest.mark.parametrize("driver", ["535.1 (emulated)", "EMULATED-1"])
def test_nothing_emulated_is_measured(driver):
    for provenance in (Provenance.SIMULATED, Provenance.PUBLISHED):
        Profile(provenance=provenance, driver=driver, inference=(POINT,))
    with pytest.raises(ProfileError, match="what an emulated GPU feeds is simulated"):
        Profile(provenance=Provenance.MEASURED, driver=driver, inference=(POINT,))
    Profile(provenance=Provenance.MEASURED, driver="535.1", inference=(POINT,))


@pytest.mark.parametrize("field, point", [("inference", POINT), ("training", SHAPE)])
def test_no_two_points_share_a_setting(field, point):
    with pytest.raises(ProfileError, match="two points"):
        Profile(provenance=Provenance.PUBLISHED, **{field: (point, replace(point, power_w=1.0))})


def test_what_is_given_is_not_assumed():
    gpu = Gpu(idle_w=50.0, parked_w=30.0, switch_latency_s=0.02, clocks=(900.0, 1410.0))
    engine = Engine(kv_tokens=1, max_batched_tokens=2, max_num_seqs=3)
    given = Profile(
        provenance=Provenance.SIMULATED, gpu=gpu, engine=engine, inference=(POINT,),
        training=(SHAPE,),
    )  # fmt: skip
    assert assumed_gpu(given) == (gpu, ())
    assert assumed_engine(given) == (engine, ())


def test_what_is_assumed_is_named():
    bare = Profile(provenance=Provenance.SIMULATED, inference=(POINT,), training=(SHAPE,))
    gpu, names = assumed_gpu(bare)
    assert names == ("idle_w", "parked_w", "switch_latency_s", "clocks")
    assert gpu == Gpu(
        idle_w=pytest.approx(48), parked_w=pytest.approx(48), switch_latency_s=0.1,
        clocks=(900.0, 1410.0),
    )  # fmt: skip
    engine, names = assumed_engine(bare)
    assert names == ("kv_tokens", "max_batched_tokens", "max_num_seqs")
    assert engine == Engine(kv_tokens=4000, max_batched_tokens=2048, max_num_seqs=256)


def test_the_cache_holds_the_largest_decode_and_no_prompt():
    small = replace(POINT, batch=1, context_tokens=100)
    prompt = replace(POINT, phase="prefill", batch=64)
    bare = Profile(provenance=Provenance.SIMULATED, inference=(small, POINT, prompt))
    assert assumed_engine(bare)[0].kv_tokens == 4000


def test_a_shape_s_power_is_of_all_its_gpus():
    wide = replace(SHAPE, gpus_per_worker=2)
    assert (wide.gpus, POINT.gpus) == (8, 2)
    bare = Profile(provenance=Provenance.MEASURED, training=(wide,))
    assert assumed_gpu(bare)[0].idle_w == pytest.approx(0.12 * 200)


def test_unknown_is_none_where_nothing_can_be_assumed():
    point = replace(POINT, power_w=None, context_tokens=None, clock_mhz=None)
    bare = Profile(provenance=Provenance.PUBLISHED, inference=(point,))
    gpu, names = assumed_gpu(bare)
    assert (gpu.idle_w, gpu.parked_w, gpu.clocks) == (None, None, ())
    assert names == ("switch_latency_s",)
    assert assumed_engine(bare)[0].kv_tokens is None


def test_the_supported_clocks_come_before_those_that_occur():
    made = profile_cases.profile()
    assert made.clocks_mhz == made.gpu.clocks
    assert replace(made, gpu=Gpu()).clocks_mhz == profile_cases.CLOCKS


def test_a_clock_that_came_of_a_cap_is_none_that_the_gpu_supports():
    """Else a governor would ask for the average clock of a capped run."""
    capped = replace(POINT, clock_mhz=1387.5, power_cap_w=300.0)
    slowed = replace(SHAPE, clock_mhz=612.5, power_cap_w=300.0)
    made = Profile(
        provenance=Provenance.PUBLISHED, inference=(POINT, capped), training=(SHAPE, slowed)
    )
    assert made.clocks_mhz == (900.0, 1410.0)
    assert assumed_gpu(made)[0].clocks == (900.0, 1410.0)
