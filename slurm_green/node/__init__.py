# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded: the only part that runs as root, and sets clocks for the GPUs of live jobs."""

__all__: list[str] = []
