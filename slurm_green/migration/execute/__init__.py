# SPDX-License-Identifier: Apache-2.0
"""Moving one job between two real clusters, step by step, so that no crash leaves two of it."""

__all__: list[str] = []
