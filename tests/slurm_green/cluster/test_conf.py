# SPDX-License-Identifier: Apache-2.0
"""The text of Slurm's configuration files."""

from pathlib import Path

import pytest

from slurm_green.cluster import conf
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.ports import Ports
from slurm_green.cluster.spec import ClusterSpec
from slurm_green.errors import BadInputError

LAYOUT = Layout(directory=Path("/base/alpha"))
PORTS = Ports(first=21000, count=6)


def text(*extra: str, slurmdbd: tuple[int, Path] | None = None, **shape: object) -> str:
    spec = ClusterSpec(name="alpha", **{"nodes": 2, **shape})  # type: ignore[arg-type]
    return conf.slurm_conf(
        spec=spec, layout=LAYOUT, ports=PORTS, user="root", extra=extra, slurmdbd=slurmdbd
    )


def values(text: str, key: str) -> list[str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return [value for name, value in pairs if name == key]


def test_each_node_has_its_own_port_and_says_that_its_gpus_are_emulated() -> None:
    """The seam to slurmd: name, port, GPUs; and no reader takes them for real ones."""
    nodes = [line for line in text().splitlines() if line.startswith("NodeName=")]

    assert [line.split()[0] for line in nodes] == ["NodeName=alpha-n1", "NodeName=alpha-n2"]
    assert ["Port=21002" in nodes[0], "Port=21003" in nodes[1]] == [True, True]
    assert all("Feature=emulated,h100 Gres=gpu:h100:8" in line for line in nodes)


def test_no_gres_without_gpus() -> None:
    """A node of a CPU cluster declares no GPU."""
    assert "Gres=" not in text(gpus=0)


def test_an_extra_line_replaces_ours_in_any_case_of_letters() -> None:
    """Slurm's keys know no case; two lines of one key would be an error in its log."""
    assert values(text("minjobage=5"), "MinJobAge") == ["5"]


def test_plus_equals_extends_a_list_and_sets_what_was_not_there() -> None:
    """SchedulerParameters has values of ours that a test wants to keep."""
    parameters = values(text("SchedulerParameters+=bf_continue"), "SchedulerParameters")

    assert len(parameters) == 1
    assert parameters[0].endswith(",bf_continue")
    assert "sched_interval=1" in parameters[0]
    assert values(text("PriorityFlags+=ACCRUE_ALWAYS"), "PriorityFlags") == ["ACCRUE_ALWAYS"]


def test_more_partitions_stand_beside_main_but_another_main_replaces_it() -> None:
    """Partitions repeat; a second main would be refused by Slurm."""
    beside = values(text("PartitionName=shadow Nodes=ALL"), "PartitionName")
    instead = values(text("PartitionName=main Nodes=ALL MaxTime=60"), "PartitionName")

    assert [value.split()[0] for value in beside] == ["main", "shadow"]
    assert instead == ["main Nodes=ALL MaxTime=60"]


def test_two_controllers_have_two_addresses_and_listen_on_their_own() -> None:
    """Both use one port."""
    backup = text(backup=True)

    assert values(backup, "SlurmctldHost") == ["alpha-ctl1(127.0.0.1)", "alpha-ctl2(127.0.0.2)"]
    assert values(backup, "CommunicationParameters") == ["NoCtldInAddrAny"]
    assert "127.0.0.2 alpha-ctl2" in conf.hosts(ClusterSpec(name="alpha", backup=True))


def test_the_hook_is_off_unless_asked_for() -> None:
    """A cluster without the plugin is the counterpart of every measurement."""
    assert values(text(), "JobSubmitPlugins") == []
    assert values(text(hook=True), "JobSubmitPlugins") == ["lua"]


def test_accounting_names_the_munge_socket_twice() -> None:
    """Without AccountingStoragePass Slurm looks for the machine's munge and hangs."""
    with_it = text(slurmdbd=(21001, Path("/base/alpha/run/munge.sock")))

    assert values(with_it, "AccountingStoragePass") == ["/base/alpha/run/munge.sock"]
    assert values(with_it, "AccountingStoragePort") == ["21001"]
    assert values(text(), "AccountingStorageType") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("22.05.8", "CgroupPlugin=cgroup/v1\n"),
        ("24.11.5", "CgroupPlugin=disabled\n"),
        ("26.05.5", "CgroupPlugin=disabled\n"),
    ],
)
def test_cgroups_are_disabled_in_the_words_the_version_knows(version: str, expected: str) -> None:
    """22.05 refuses the word that 24.11 needs."""
    assert conf.cgroup_conf(version) == expected


def test_extra_lines_come_from_files_and_from_words(tmp_path: Path) -> None:
    """--extra-conf takes both; comments and blank lines are no settings."""
    file = tmp_path / "more.conf"
    file.write_text("# why\n\nKillWait=1\n")

    assert conf.extra_lines([str(file), "MinJobAge=2"]) == ("KillWait=1", "MinJobAge=2")


@pytest.mark.parametrize("given", ["nonsense", "=5", "Key with space=5"])
def test_extra_lines_that_are_none_are_refused_with_what_is_allowed(given: str) -> None:
    """Slurm would end with a fatal error on them."""
    with pytest.raises(BadInputError, match="KEY=VALUE"):
        conf.extra_lines([given])


def test_one_gres_line_a_device() -> None:
    """Slurm counts them."""
    devices = [Path("/d/nvidia0"), Path("/d/nvidia1")]
    lines = conf.gres_conf(spec=ClusterSpec(name="a"), devices=devices).splitlines()

    assert lines[1:] == ["Name=gpu Type=h100 File=/d/nvidia0", "Name=gpu Type=h100 File=/d/nvidia1"]


def test_hooks_and_the_type_are_those_of_the_emulated_model() -> None:
    """Without a model there is no hook; a person's own line still wins."""
    plain, emulated = text(), text(gpu_model="a100-sxm4-80gb")

    assert values(plain, "Prolog") == values(plain, "PrologFlags") == []
    assert values(emulated, "Prolog") == ["/base/alpha/etc/prolog.d/*.sh"]
    assert values(emulated, "Epilog") == ["/base/alpha/etc/epilog.d/*.sh"]
    assert values(emulated, "PrologFlags") == ["Alloc"]
    assert "Gres=gpu:a100:8" in emulated
    assert values(text("prolog=/x", gpu_model="h200"), "Prolog") == ["/x"]
