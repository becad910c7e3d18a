# SPDX-License-Identifier: Apache-2.0
"""Moving a job to where the power is green: whether it fits, what to move, and the move itself."""

__all__: list[str] = []
