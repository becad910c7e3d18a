# SPDX-License-Identifier: Apache-2.0
"""Who slurmctld runs as, for the socket it alone may use."""

import os
import pwd

__all__ = ["slurm_uid"]


def slurm_uid(name: str | None = None) -> int:
    """The uid of SlurmUser, which slurm.conf gives as `name` or `name(uid)`; else our own."""
    if not name:
        return os.geteuid()
    user, _, rest = name.partition("(")
    if rest.rstrip(")").isdigit():
        return int(rest.rstrip(")"))
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return os.geteuid()
