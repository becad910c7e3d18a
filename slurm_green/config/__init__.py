# SPDX-License-Identifier: Apache-2.0
"""The site's configuration: settings as data, one loader, one reference."""
