# SPDX-License-Identifier: Apache-2.0
"""The fetching process: the only part that meets the internet, and all it does is write files."""
