# SPDX-License-Identifier: Apache-2.0
"""Every error that profiling raises on purpose.

ProfilingError
├── ProfileError         a profile, table or option that a person gave is wrong; exit status 2
└── DeviceError          a GPU or its driver library refuses, fails or is not there
    └── RefusedError         one setting that is refused, and why (device.gpu)
"""

__all__ = ["DeviceError", "ProfileError", "ProfilingError"]


class ProfilingError(Exception):
    """Root of all errors raised on purpose; its text is fit to show to a person."""

    exit_status = 1


class ProfileError(ProfilingError):
    """What a person gave is wrong; the message says what, where, what is allowed, what to do."""

    exit_status = 2


class DeviceError(ProfilingError):
    """A GPU, or the library that speaks for it, cannot do what was asked."""
