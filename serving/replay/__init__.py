# SPDX-License-Identifier: Apache-2.0
"""A vLLM replica on a trace: batching and KV cache as vLLM does it, time and power by profile."""

__all__: list[str] = []
