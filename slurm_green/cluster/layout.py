# SPDX-License-Identifier: Apache-2.0
"""Where the files of one cluster live: everything of it below one directory.

Unix socket paths are cut at 108 bytes by the kernel, which Slurm and munge report as something
else entirely; so the length is checked here, before anything starts.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from slurm_green.cluster.spec import check_name
from slurm_green.errors import BadInputError

__all__ = ["DIRECTORY_VARIABLE", "Layout", "clusters_directory"]

DIRECTORY_VARIABLE = "SLURM_GREEN_CLUSTERS"
_SOCKET_PATH_MAX = 107


def clusters_directory(given: Path | None = None) -> Path:
    """The directory that holds clusters: option, environment, or this machine's default.

    The default is a run directory: like the processes it does not outlive a reboot, and its path
    is short. Root's is the machine's, since other users must reach the sockets in it.
    """
    if given is not None:
        return given.absolute()
    if from_environment := os.environ.get(DIRECTORY_VARIABLE):
        return Path(from_environment).absolute()
    if os.geteuid() == 0:
        return Path(platformdirs.site_runtime_dir("sgreen"))
    return Path(platformdirs.user_runtime_dir("sgreen"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths of one cluster; makes and reads nothing."""

    directory: Path

    @classmethod
    def of(cls, name: str, base: Path) -> "Layout":
        """The layout of the cluster of that name, if its sockets can have such long paths."""
        layout = cls(directory=base / check_name(name))
        if len(os.fsencode(layout.longest_socket)) > _SOCKET_PATH_MAX:
            raise BadInputError(
                f"{layout.directory}: too long for unix sockets (the longest would be"
                f" {layout.longest_socket}, more than {_SOCKET_PATH_MAX} bytes);"
                f" choose a shorter name or --directory (or {DIRECTORY_VARIABLE})"
            )
        return layout

    @property
    def name(self) -> str:
        """The cluster's name, which is its directory's."""
        return self.directory.name

    @property
    def etc(self) -> Path:
        """slurm.conf and its neighbours."""
        return self.directory / "etc"

    @property
    def run(self) -> Path:
        """Sockets and pid files."""
        return self.directory / "run"

    @property
    def controller_run(self) -> Path:
        """slurmctld's pid file, apart: a controller ends the one whose pid it finds there."""
        return self.run / "controller"

    @property
    def backup_run(self) -> Path:
        """The same directory, as the backup controller sees it."""
        return self.run / "controller-backup"

    @property
    def log(self) -> Path:
        """Every daemon's log."""
        return self.directory / "log"

    @property
    def state(self) -> Path:
        """slurmctld's StateSaveLocation."""
        return self.directory / "state"

    @property
    def spool(self) -> Path:
        """One spool directory per slurmd."""
        return self.directory / "spool"

    @property
    def devices(self) -> Path:
        """The character devices that stand for GPUs."""
        return self.directory / "dev"

    @property
    def work(self) -> Path:
        """A working directory for jobs that every version and every user of it can reach."""
        return self.directory / "work"

    @property
    def commands(self) -> Path:
        """Wrappers for the commands of a Slurm that lives in a chroot."""
        return self.directory / "bin"

    @property
    def root(self) -> Path:
        """Where that chroot is mounted for this cluster alone."""
        return self.directory / "root"

    @property
    def database(self) -> Path:
        """MariaDB's files."""
        return self.directory / "db"

    @property
    def database_tmp(self) -> Path:
        """MariaDB's temporary tables, its own: one that starts deletes those that it finds."""
        return self.directory / "db-tmp"

    @property
    def record(self) -> Path:
        """What `up` wrote down: the spec, the ports, the owner."""
        return self.directory / "cluster.json"

    @property
    def slurm_conf(self) -> Path:
        """The file to export as SLURM_CONF."""
        return self.etc / "slurm.conf"

    @property
    def green_conf(self) -> Path:
        """The file to export as SLURM_GREEN_CONF; written by whoever configures slurm-green."""
        return self.etc / "slurm-green.toml"

    @property
    def job_submit(self) -> Path:
        """The site's hook script."""
        return self.etc / "job_submit.lua"

    @property
    def env_file(self) -> Path:
        """To be sourced by a shell."""
        return self.directory / "env.sh"

    @property
    def munge_key(self) -> Path:
        """Shared by all clusters that trust each other."""
        return self.directory / "munge" / "munge.key"

    @property
    def munge_socket(self) -> Path:
        """This cluster's own munged."""
        return self.run / "munge.sock"

    @property
    def database_socket(self) -> Path:
        """MariaDB listens here and nowhere else."""
        return self.run / "mysql.sock"

    @property
    def hook_socket(self) -> Path:
        """Where the hook asks sgreend."""
        return self.run / "sgreend.sock"

    @property
    def hook_published(self) -> Path:
        """What the hook reads when nobody answers."""
        return self.run / "hook.plan"

    @property
    def nodes(self) -> Path:
        """A directory for each node: its emulated GPUs, its sgreen-noded's files."""
        return self.directory / "nodes"

    def gpus(self, node: str) -> Path:
        """The state file of a node's emulated GPUs."""
        return self.nodes / node / "gpus"

    def hooks(self, name: str) -> Path:
        """The directory of which slurmd runs every file as "prolog" or "epilog"."""
        return self.etc / f"{name}.d"

    @property
    def gpu_library(self) -> Path:
        """The emulated libnvidia-ml.so.1, where jobs and a chroot see it too."""
        return self.directory / "lib" / "libnvidia-ml.so.1"

    @property
    def orders(self) -> Path:
        """Clocks of jobs for every sgreen-noded (`node.orders`) of a cluster without the hook."""
        return self.run / "orders.json"

    @property
    def longest_socket(self) -> Path:
        """The longest socket path Slurm or MariaDB will make (a step's: node_job.step)."""
        return self.spool / f"{self.name}-n200" / f"{self.name}-n200_4294967295.4294967295"
