# SPDX-License-Identifier: Apache-2.0
"""Which clock the next iterations run at: policies, and the model of latency they share."""

__all__: list[str] = []
