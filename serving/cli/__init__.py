# SPDX-License-Identifier: Apache-2.0
"""The inference side's verbs of `sgreen`, one file each."""

__all__: list[str] = []
