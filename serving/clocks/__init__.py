# SPDX-License-Identifier: Apache-2.0
"""Who sets a replica's clocks, and the thread that asks them."""

__all__: list[str] = []
