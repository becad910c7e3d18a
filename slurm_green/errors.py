# SPDX-License-Identifier: Apache-2.0
"""Every error slurm-green raises on purpose.

SlurmGreenError
├── BadInputError        what a person gave is wrong: file, option, config; exit status 2
│   ├── ConfigError      the site's configuration
│   │   └── KeyFileError     a file with a provider's key (fetch.keys)
│   └── PlanError        no plan can have what was asked for
├── SignalError          no usable carbon signal from a provider
│   ├── RateLimitedError    one that asks us to come back later (signals.provider)
│   └── KeyRefusedError     one that refuses our key (signals.provider)
├── SlurmError           Slurm refused, failed or did not answer
│   └── SlurmMissingError   Slurm's commands are not installed
├── LedgerError          the ledger cannot be read or written
├── PublishedError       the courier's published file (hook.published)
├── WireError            a request line that cannot be understood (hook.wire)
└── ClusterError         a demo or test cluster did not come up or go down
"""

__all__ = [
    "BadInputError",
    "ClusterError",
    "ConfigError",
    "LedgerError",
    "PlanError",
    "SignalError",
    "SlurmError",
    "SlurmGreenError",
    "SlurmMissingError",
]


class SlurmGreenError(Exception):
    """Root of all errors raised on purpose; its text is fit to show to a person."""


class BadInputError(SlurmGreenError):
    """What a person gave is wrong; the message says what, where, what is allowed, what to do."""


class ConfigError(BadInputError):
    """The site's configuration is wrong."""


class PlanError(BadInputError):
    """No plan can have what was asked for; the message says how close one can come."""


class SignalError(SlurmGreenError):
    """A provider gave no usable signal."""


class SlurmError(SlurmGreenError):
    """Slurm refused, failed or did not answer in time."""


class SlurmMissingError(SlurmError):
    """Slurm's commands are not installed on this machine."""


class LedgerError(SlurmGreenError):
    """The ledger cannot be read or written."""


class ClusterError(SlurmGreenError):
    """A demo or test cluster did not come up, or did not go down."""
