# SPDX-License-Identifier: Apache-2.0
"""One front door for replicas at several sites."""

__all__: list[str] = []
