# SPDX-License-Identifier: Apache-2.0
"""Policies on a simulated cluster: what each of them would have done with the same jobs."""

__all__: list[str] = []
