# SPDX-License-Identifier: Apache-2.0
"""A made-up profile: a small model whose decode is bound by memory and whose prefill by compute."""

from profiling.profile import Engine, Gpu, InferencePoint, Profile, Provenance

CLOCKS = (600.0, 900.0, 1200.0, 1500.0, 1800.0)


def profile(
    *,
    kv_tokens: int = 200_000,
    max_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
    switch_latency_s: float = 0.02,
) -> Profile:
    """5 ms a decode at most, 40 us a prompt token at the highest clock; no measured anything."""
    points = []
    for mhz in CLOCKS:
        share = mhz / CLOCKS[-1]
        for batch in (1, 8, 64):
            for context in (128, 1024, 4096):
                memory_s = (3e-3 + 2e-9 * batch * context) / min(1.0, share / 0.6)
                points.append(
                    InferencePoint(
                        phase="decode", batch=batch, context_tokens=context, clock_mhz=mhz,
                        latency_s=memory_s + 1e-5 * batch / share + 1e-3,
                        power_w=150 + 150 * share**2.5 + 0.5 * batch,
                    )
                )  # fmt: skip
        points += [
            InferencePoint(
                phase="prefill", batch=1, context_tokens=tokens, clock_mhz=mhz,
                latency_s=4e-3 + 4e-5 * tokens / share, power_w=150 + 400 * share**2.5,
            )
            for tokens in (128, 1024, 4096)
        ]  # fmt: skip
    return Profile(
        provenance=Provenance.SIMULATED,
        gpu=Gpu(idle_w=120, parked_w=60, switch_latency_s=switch_latency_s, clocks=CLOCKS),
        engine=Engine(
            kv_tokens=kv_tokens,
            max_batched_tokens=max_batched_tokens,
            max_num_seqs=max_num_seqs,
        ),
        inference=tuple(points),
    )
