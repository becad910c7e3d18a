# SPDX-License-Identifier: Apache-2.0
"""To which replica a request goes, and what each site runs: policies, for live use and replay."""

__all__: list[str] = []
