# SPDX-License-Identifier: Apache-2.0
"""Policies: what to start now, seen through what is known now. The replay and sgreend ask them."""

__all__: list[str] = []
