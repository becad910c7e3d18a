# SPDX-License-Identifier: Apache-2.0
"""What a GPU and a model do at each setting: control, measurement, profiles and their fits."""

__all__: list[str] = []
