# SPDX-License-Identifier: Apache-2.0
"""Load of a vLLM server, read from its metrics."""

from serving.vllm.gauges import gauges


def test_engines_are_summed_and_what_is_no_number_is_left_out():
    """Other metrics, histograms and comments are not taken."""
    text = (
        b"# TYPE vllm:num_requests_running gauge\n"
        b'vllm:num_requests_running{engine="0",model_name="m"} 2.0\n'
        b'vllm:num_requests_running{engine="1",model_name="m"} 3.0\n'
        b"vllm:num_requests_waiting NaN\n"
        b"vllm:prompt_tokens_total x\n"
        b"vllm:generation_tokens_total 1e3\n"
        b"vllm:num_requests_waiting_by_reason 7\n"
    )

    assert gauges(text) == {"num_requests_running": 5.0, "generation_tokens_total": 1000.0}
