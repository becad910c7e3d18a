# SPDX-License-Identifier: Apache-2.0
"""The governor inside vLLM: a scheduler class that picks clocks and tells joules by request."""

__all__: list[str] = []
