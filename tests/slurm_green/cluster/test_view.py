# SPDX-License-Identifier: Apache-2.0
"""What is left in a chroot when a cluster's view of it is taken away."""

from pathlib import Path

from slurm_green.cluster.layout import Layout
from slurm_green.cluster.view import remove_view


def test_mount_points_go_and_what_debian_brought_stays(tmp_path: Path) -> None:
    root = tmp_path / "chroot"
    for brought in ("tmp", "run", "var/lib/dpkg/info"):
        (root / brought).mkdir(parents=True)
    owned = root / "var/lib/dpkg/info/base-files.list"
    owned.write_text("/.\n/run\n/tmp\n/var\n", encoding="utf-8")
    for made in ("/tmp/clusters/c1", "/run/sgreen/c2"):
        point = root / made.removeprefix("/")
        point.mkdir(parents=True)
        remove_view(Layout(directory=Path(made)), root)
        assert not point.parent.exists()
    assert (root / "tmp").is_dir()
    assert (root / "run").is_dir()
