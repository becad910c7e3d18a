# SPDX-License-Identifier: Apache-2.0
"""Sources on the network, one file each; imported by the fetching process only."""
