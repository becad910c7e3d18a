# SPDX-License-Identifier: Apache-2.0
"""`sgreen profile`: the verbs of this package, one file each."""

__all__: list[str] = []
