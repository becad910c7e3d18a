# SPDX-License-Identifier: Apache-2.0
"""A cluster's own slurmdbd on a private MariaDB that listens on a unix socket only."""

import os
import pwd
import shutil
import subprocess

from slurm_green.cluster import processes
from slurm_green.cluster.conf import slurmdbd_conf
from slurm_green.cluster.daemons import log_tail, wait_until
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.packages import SEARCH_PATH
from slurm_green.errors import ClusterError, SlurmMissingError

__all__ = ["register", "start_accounting"]

_GRANTS = (
    "create database if not exists slurm_acct_db;"
    " create user if not exists 'slurm'@'localhost' identified by 'slurm';"
    " grant all on slurm_acct_db.* to 'slurm'@'localhost'"
)


def start_accounting(machine: Machine) -> None:
    """MariaDB, then slurmdbd; needs the cluster's munged."""
    _start_database(machine)
    layout = machine.layout
    user = pwd.getpwuid(os.geteuid()).pw_name
    conf = layout.etc / "slurmdbd.conf"  # slurmdbd looks beside SLURM_CONF, there is no option
    conf.write_text(
        slurmdbd_conf(layout=layout, port=machine.record.ports.slurmdbd, user=user),
        encoding="utf-8",
    )
    conf.chmod(0o600)
    log = layout.log / "slurmdbd.log"
    # The only way to tell the database's client library which socket to use.
    socket = {"MYSQL_UNIX_PORT": str(layout.database_socket)}
    machine.start(machine.argv("slurmdbd"), log="slurmdbd", environment=socket)

    def answers() -> bool:
        if not any(p.kind == "slurmdbd" for p in processes.find(layout.directory)):
            raise ClusterError(f"slurmdbd ended right after its start{log_tail(log)}")
        return machine.client("sacctmgr", "-n", "show", "cluster").returncode == 0

    wait_until(answers, timeout_s=60, what="slurmdbd's answer", log=log)


def register(machine: Machine) -> None:
    """Make the cluster known to its slurmdbd; no harm when it is known already."""
    done = machine.client("sacctmgr", "-i", "add", "cluster", machine.record.spec.name)
    if done.returncode != 0 and "already exists" not in done.stdout + done.stderr:
        words = (done.stderr or done.stdout).strip()
        raise ClusterError(f"slurmdbd did not take cluster {machine.record.spec.name}: {words}")


def _start_database(machine: Machine) -> None:
    layout = machine.layout
    log = layout.log / "mariadb.log"
    user = pwd.getpwuid(os.geteuid()).pw_name
    layout.database_tmp.mkdir(mode=0o700, exist_ok=True)
    where = [f"--datadir={layout.database}", f"--tmpdir={layout.database_tmp}"]
    if not (layout.database / "mysql").is_dir():
        install = [
            *("--no-defaults", f"--user={user}", *where),
            *("--auth-root-authentication-method=socket", "--skip-test-db"),
            "--innodb-log-file-size=16M",
        ]
        done = subprocess.run(
            [_program("mariadb-install-db"), *install],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ClusterError(f"mariadb-install-db failed: {(done.stderr or done.stdout)[-600:]}")
    server = [
        *("--no-defaults", f"--user={user}", *where),
        *(f"--socket={layout.database_socket}", f"--pid-file={layout.run / 'mariadb.pid'}"),
        *("--skip-networking", f"--log-error={log}"),
        # Small, and quick rather than safe: it dies with the demo.
        *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M"),
        *("--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0"),
    ]
    # mariadbd does not go into the background by itself.
    machine.start(["setsid", "--fork", _program("mariadbd"), *server], log="mariadb")
    client = ["--no-defaults", f"--socket={layout.database_socket}", f"--user={user}"]

    def answers() -> bool:
        # Not mariadb-admin: that is in a package of its own.
        ping = [_program("mariadb"), *client, "-e", "select 1"]
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0

    wait_until(answers, timeout_s=30, what="MariaDB's answer", log=log)
    done = subprocess.run(
        [_program("mariadb"), *client, "-e", _GRANTS], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"MariaDB refused to make Slurm's database: {done.stderr.strip()}")


def _program(name: str) -> str:
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise SlurmMissingError(f"{name}: not found; `sgreen cluster up --accounting` installs it")
    return path
