# SPDX-License-Identifier: Apache-2.0
"""The decision about one job: whether it waits for cleaner power, and until when at the latest."""
