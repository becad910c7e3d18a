# SPDX-License-Identifier: Apache-2.0
"""Replicas of vLLM as processes and as Slurm jobs: started, registered, drained, replaced."""

__all__: list[str] = []
