# SPDX-License-Identifier: Apache-2.0
"""Loads at batches and contexts that nobody ran."""

from dataclasses import fields

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
