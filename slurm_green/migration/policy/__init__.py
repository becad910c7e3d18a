# SPDX-License-Identifier: Apache-2.0
"""Which moves are wanted: one policy per file."""

__all__: list[str] = []
