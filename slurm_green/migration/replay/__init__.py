# SPDX-License-Identifier: Apache-2.0
"""The same decisions on sites, weather and jobs of the past."""

__all__: list[str] = []
