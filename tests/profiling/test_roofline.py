# SPDX-License-Identifier: Apache-2.0
"""Loads at batches and contexts that nobody ran."""

from dataclasses import fields, replace

import numpy as np
import pytest
from profile_cases import load

from profiling.law import Load
from profiling.roofline import load_at, tokens


def together(phase, settings):
    loads = [load(batch, context, phase) for batch, context in settings]
    return Load(
        **{
            one.name: np.concatenate([getattr(at, one.name) for at in loads])
            for one in fields(Load)
        }
    )


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_rooflines_shares_are_found(phase):
    known = [(1, 512), (1, 4096), (8, 512), (8, 4096), (32, 1024)]
    wanted = [(4, 2048), (32, 4096), (64, 512)]
    found = load_at(phase, together(phase, known), known, wanted)
    true = together(phase, wanted)
    for name in ("compute_s", "memory_s", "host_s", "switching_w", "memory_w"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1e-4)


def test_what_was_run_comes_back_unchanged_whatever_the_shares_say():
    known = [(1, 512), (2, 512), (4, 512)]
    odd = together("decode", known)
    odd = Load(
        **{
            one.name: getattr(odd, one.name) * np.array([[1.0], [3.0], [0.5]])
            for one in fields(Load)
        }
    )
    found = load_at("decode", odd, known, known)
    for one in fields(Load):
        assert getattr(found, one.name) == pytest.approx(getattr(odd, one.name), rel=1e-4)


def test_neighbours_count_by_the_inverse_square_of_the_doublings_between():
    known = [(1, 512), (16, 512), (1, 4096)]
    seen = together("decode", known)
    seen = replace(seen, memory_w=np.array([[60.0], [90.0], [75.0]]))
    found = load_at("decode", seen, known, [(4, 1024)])
    doublings = [
        np.hypot(np.log2(5 / (batch + 1)), np.log2(1025 / (context + 1)))
        for batch, context in known
    ]
    weight = np.array(doublings) ** -2.0
    expected = np.exp(weight @ np.log([60.0, 90.0, 75.0]) / weight.sum())
    assert found.memory_w.item() == pytest.approx(expected)


def test_what_the_shares_do_not_explain_is_carried_by_the_same_weights():
    """A load a token away from one that was run is as far off its shares as that one."""
    known = [(1, 512), (1, 4096), (8, 512), (8, 4096), (32, 1024), (64, 128)]
    seen = together("decode", known)
    odd = replace(seen, memory_s=seen.memory_s * np.array([[1.0]] * 5 + [[1.02]]))
    found = load_at("decode", odd, known, [(64, 129), (64, 128)]).memory_s[:, 0]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_single_load_stands_for_all():
    found = load_at("decode", together("decode", [(8, 512)]), [(8, 512)], [(8, 512), (16, 512)])
    assert found.compute_s[0] == pytest.approx(load(8, 512).compute_s[0])
    assert (found.compute_s[1] >= found.compute_s[0]).all()


def test_one_context_says_that_compute_grows_with_tokens():
    """Tokens, and tokens times context, grow alike in what was seen: not so in what was not."""
    known, wanted = [(1, 512), (4, 512), (8, 512)], [(1, 2048), (4, 4096)]
    found = load_at("prefill", together("prefill", known), known, wanted)
    true = together("prefill", wanted)
    assert found.compute_s == pytest.approx(true.compute_s, rel=0.2)


def test_rounding_does_not_say_which_of_equals_is_likelier():
    """Whatever the times are: eight times the context is eight times the compute, not 64 times."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        context = int(rng.choice([128, 1000, 8192]))
        known = [(batch, context) for batch in (1, 3, 4, 16)]
        seen = together("prefill", known)
        seen = replace(seen, compute_s=seen.compute_s * np.exp(rng.normal(0, 0.05, (4, 1))))
        found = load_at("prefill", seen, known, [(3, context), (3, 8 * context)]).compute_s[:, 0]
        assert found[1] < 10 * found[0]


def test_one_context_says_that_memory_grows_with_the_cache():
    known, wanted = [(1, 512), (8, 512), (128, 512)], [(8, 8192), (128, 4096)]
    found = load_at("decode", together("decode", known), known, wanted)
    assert found.memory_s == pytest.approx(together("decode", wanted).memory_s, rel=1e-3)


def test_one_batch_says_that_a_decode_reads_its_weights_once():
    known, wanted = [(1, 512), (1, 2048), (1, 8192)], [(8, 512), (32, 2048)]
    found = load_at("decode", together("decode", known), known, wanted)
    true = together("decode", wanted)
    assert found.memory_s == pytest.approx(true.memory_s, rel=1e-3)
    assert found.host_s == pytest.approx(load(1, 512).host_s.repeat(2, axis=0))
    assert (found.compute_s <= true.compute_s).all()


def test_tokens_of_an_iteration():
    assert tokens("prefill", 4, 512.0) == 2048
    assert tokens("decode", 4, 512.0) == 4
