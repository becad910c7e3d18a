# SPDX-License-Identifier: Apache-2.0
"""What is run while a GPU is profiled: inference by vLLM, training by torch, or physics alone."""

__all__: list[str] = []
