# SPDX-License-Identifier: Apache-2.0
"""Carbon signals: one series type, providers behind a protocol, a chain with a cache."""
