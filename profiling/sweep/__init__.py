# SPDX-License-Identifier: Apache-2.0
"""The sweep behind `sgreen profile run`: which windows, how they are judged, and what comes out."""

__all__: list[str] = []
