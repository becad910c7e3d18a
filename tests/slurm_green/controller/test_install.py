# SPDX-License-Identifier: Apache-2.0
"""`sgreend --files`: what it writes fits this installation, and is what etc/ shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_green.config.load import VARIABLE
from slurm_green.config.settings import Config
from slurm_green.controller.daemon import main
from slurm_green.controller.install import controller_files
from slurm_green.node.daemon import main as noded

ROOT = Path(__file__).parents[3]
ETC = ROOT / "etc"
BIN = Path(sys.executable).parent
UNITS = {"slurm-green.service", "slurm-green-fetch.service", "slurm-green-fetch.timer"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a site's.toml"
    path.write_text(
        f'[paths]\nsocket = "{tmp_path}/run of it/hook.sock"\nsignals = "{tmp_path}/signals"\n'
        "[hook]\ntimeout_ms = 120\n"
    )
    return path


@pytest.fixture
def place(tmp_path: Path, config: Path) -> Path:
    path = tmp_path / "files"
    assert main(["--config", str(config), "--files", str(path)]) == 0
    return path


def test_units_start_this_installation_with_its_configuration(
    tmp_path: Path, config: Path, place: Path
) -> None:
    daemon = (place / "slurm-green.service").read_text()
    fetch = (place / "slurm-green-fetch.service").read_text()

    assert f'ExecStart={BIN}/sgreend --config "{config}"\n' in daemon
    assert f"ExecStart={BIN}/sgreen fetch\n" in fetch
    assert f'Environment="SLURM_GREEN_CONF={config}"\n' in fetch
    assert f'ReadWritePaths="{tmp_path}/run of it"\n' in daemon
    assert f"ReadWritePaths={tmp_path}/signals\n" in fetch


def test_systemd_finds_nothing_wrong_with_them(place: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    for name in UNITS:
        command = ["systemd-analyze", "verify", "--man=no", place / name]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        ours = [line for line in found.stderr.splitlines() if "slurm-green" in line]
        assert (found.returncode, ours) == (0, []), found.stderr


def test_what_the_documents_tell_systemd_makes_every_unit_known(tmp_path: Path) -> None:
    """A timer that is enabled by its path brings no service with it."""
    if shutil.which("systemctl") is None:
        pytest.skip("no systemctl here")
    place = tmp_path / "usr" / "lib" / "slurm-green"
    assert main(["--files", str(place)]) == noded(["--files", str(place)]) == 0
    told = [
        command.split()
        for document in ("README.md", "docs/node.md")
        for command in re.findall(
            r"systemctl ((?:link|enable) [^`\n]+)", (ROOT / document).read_text("utf-8")
        )
    ]
    for words in told:
        run = ["systemctl", f"--root={tmp_path}", *(word for word in words if word != "--now")]
        subprocess.run(run, check=True, capture_output=True)

    units = {path.name for path in place.iterdir() if path.suffix in (".service", ".timer")}
    states = {}
    for unit in units:
        run = ["systemctl", f"--root={tmp_path}", "is-enabled", unit]
        states[unit] = subprocess.run(run, capture_output=True, text=True, check=False).stdout
    assert states == {
        "slurm-green.service": "enabled\n",
        "slurm-green-fetch.timer": "enabled\n",
        "slurm-green-fetch.service": "linked\n",
        "slurm-green-noded.service": "enabled\n",
    }


def test_systemd_would_make_the_fetching_user(place: Path) -> None:
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("no systemd-sysusers here")
    command = ["systemd-sysusers", "--dry-run", place / "slurm-green-fetch.sysusers"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0
    # It tells there what it would do, too.
    assert "not a valid" not in found.stderr


def test_the_hook_loads_its_modules_from_there(tmp_path: Path, place: Path) -> None:
    lua = shutil.which("lua5.1")
    if lua is None:
        pytest.skip("no lua5.1 here (.ci/install-debian installs it)")
    script = f"""
        slurm = {{SUCCESS = 0, log_error = function(_, text) error(text) end}}
        local made = dofile
        function dofile(name)
            local module = made(name)
            local configure = module.configure
            module.configure = function(given)
                print(given.socket, given.timeout_s)
                configure(given)
            end
            return module
        end
        made("{place}/job_submit.example.lua")
    """
    found = subprocess.run([lua, "-e", script], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == (f"{tmp_path}/run of it/hook.sock\t0.12\n", "")


def test_a_script_of_the_sites_own_is_left_alone(tmp_path: Path, config: Path) -> None:
    own = tmp_path / "job_submit.lua"
    own.write_text("-- the site's")
    assert main(["--config", str(config), "--files", str(tmp_path)]) == 0
    assert own.read_text() == "-- the site's"


def test_etc_shows_what_is_installed() -> None:
    """With the usual paths the texts are the package's own."""
    for name, text in controller_files(Config()).items():
        assert (ETC / name.replace(".example", "")).read_text() == text


def test_the_variable_names_the_configuration_too(
    tmp_path: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(config))
    assert main(["--files", str(tmp_path / "files")]) == 0
    unit = (tmp_path / "files" / "slurm-green.service").read_text()
    assert f'--config "{config}"' in unit


def test_a_directory_that_cannot_be_is_one_line(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--config", str(config), "--files", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
