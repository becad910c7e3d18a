# SPDX-License-Identifier: Apache-2.0
"""The inference side: clocks under latency SLOs, replicas, routing, and their replay."""

__all__: list[str] = []
