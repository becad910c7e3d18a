# SPDX-License-Identifier: Apache-2.0
"""vLLM's metrics as they are, and as they are not."""

from serving.replica.probe import Flight, flight

TEXT = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 2.0
vllm:num_requests_running{engine="1",model_name="tiny"} 1.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 4.0
vllm:prompt_tokens_total{engine="0"} 1.5e+03
vllm:generation_tokens_total{engine="0"} 20.0
"""


def test_all_engines_count_and_nothing_counts_twice() -> None:
    assert flight(TEXT) == Flight(7, 1520.0)


def test_who_does_not_say_is_not_idle() -> None:
    assert flight(b"") is None
    assert flight(b"process_cpu_seconds_total 3.0\n") is None
