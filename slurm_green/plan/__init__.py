# SPDX-License-Identifier: Apache-2.0
"""Where in time a job fits, and which of the starts that fit is the cleanest. Pure."""
