# SPDX-License-Identifier: Apache-2.0
"""Replicas at several sites on a trace of requests and a trace of power for each site."""

__all__: list[str] = []
