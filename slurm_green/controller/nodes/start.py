# SPDX-License-Identifier: Apache-2.0
"""From the configuration to a running node API; where it cannot run, jobs go on without clocks."""

import logging
import pwd
from collections.abc import Callable

from slurm_green.config.node import NodesSection
from slurm_green.controller.listen import listen
from slurm_green.controller.nodes.api import NodeApi
from slurm_green.controller.nodes.desk import Desk
from slurm_green.controller.nodes.server import serve_nodes
from slurm_green.errors import SlurmError
from slurm_green.slurm.munge import Munge

__all__ = ["start_nodes"]

_LOG = logging.getLogger(__name__)


def start_nodes(settings: NodesSection, desk: Desk) -> Callable[[], None]:
    """Listen in threads of their own; returns what stops it."""
    uids = {0}
    try:
        uids.add(pwd.getpwnam(settings.user).pw_uid)
    except KeyError:
        _LOG.warning("no user %s here (nodes.user): only root's nodes are heard", settings.user)
    try:
        api = NodeApi(desk, Munge(settings.munge_socket), uids)
    except SlurmError as error:
        _LOG.error("no API for nodes on %s: %s", settings.listen, error)
        return lambda: None

    def serve() -> Callable[[], None]:
        stop = serve_nodes(settings.listen, api)
        _LOG.info("nodes are answered on %s", settings.listen)
        return stop

    return listen(serve, level=logging.ERROR, without=f"no API for nodes on {settings.listen}")
