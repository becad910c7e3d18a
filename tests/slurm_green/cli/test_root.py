# SPDX-License-Identifier: Apache-2.0
"""The root command: verbs, help, errors, documentation."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from slurm_green.cli import root as root_module
from slurm_green.cli.reference import commands, reference
from slurm_green.cli.root import OWN, root
from slurm_green.errors import ConfigError, SlurmError

ROOT = Path(__file__).parents[3]
EVERY = list(commands())


@pytest.mark.parametrize("verb", OWN)
def test_the_table_of_verbs_agrees_with_the_verbs(verb):
    """`sgreen --help` shows what the verb itself would say."""
    module, text = OWN[verb]

    command = importlib.import_module(module).command

    assert command.name == verb
    assert command.get_short_help_str(200) == text


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_every_command_and_option_is_explained(name, command):
    """No command without help, no option without help."""
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{name} {param.opts}"


@pytest.mark.parametrize(("name", "command"), EVERY, ids=[name for name, _ in EVERY])
def test_no_number_is_nan(name, command):
    """No bound of click's refuses it, and nobody expects it further on."""
    for param in command.params:
        if isinstance(param.type, click.types.FloatParamType):
            given = ("nan",) if getattr(param, "multiple", False) else "nan"
            with pytest.raises(click.BadParameter):
                param.process_value(click.Context(command), given)


def test_the_reference_page_is_current():
    """Repair: python -m slurm_green.cli.reference > docs/commands.md."""
    assert (ROOT / "docs/commands.md").read_text() == reference()


def test_help_imports_no_verb_and_nothing_heavy():
    """What keeps `sgreen --help` quick, stated as a fact about imports."""
    code = (
        "import sys\n"
        "from slurm_green.cli.root import root\n"
        "try: root(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'rich', 'httpx', 'matplotlib', 'sqlite3'} & set(sys.modules)\n"
        "verbs = [m for m in sys.modules if m in "
        "('slurm_green.cli.why', 'slurm_green.cli.cluster', 'slurm_green.config.load')]\n"
        "assert not heavy and not verbs, (heavy, verbs)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_an_unknown_verb_gets_a_suggestion_and_status_2(sgreen):
    """One line, on stderr."""
    done = sgreen("ofl")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Did you mean 'off'?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_called_with_nothing_it_shows_its_help(sgreen):
    """Nothing asked is no failure worth a complaint."""
    done = sgreen()

    assert done.exit_code == 2
    assert "Commands:" in done.output


@pytest.mark.parametrize(
    ("error", "status"), [(SlurmError("slurmctld is\ndown"), 1), (ConfigError("x is unknown"), 2)]
)
def test_our_errors_are_one_line_and_a_status(sgreen, error, status):
    """No traceback; bad input is 2, anything else 1."""

    def fails(environ):
        raise error

    sgreen.load = fails

    done = sgreen("queue")

    assert done.exit_code == status
    assert done.stdout == ""
    assert done.stderr == f"sgreen: {' '.join(str(error).split())}\n"


def test_a_wrong_option_is_status_2(sgreen):
    """Click's own usage errors too."""
    done = sgreen("why", "42", "--nope")

    assert done.exit_code == 2
    assert done.stderr.startswith("sgreen: No such option")


def test_another_package_brings_a_verb(monkeypatch):
    """The seam for plug-ins."""

    @click.command(name="brew", help="Brew tea.")
    def brew():
        click.echo("brewed")

    class Point:
        name = "brew"

        def load(self):
            return brew

    monkeypatch.setattr(root_module, "_others", lambda: {"brew": Point()})

    assert CliRunner().invoke(root, ["brew"]).stdout == "brewed\n"
    assert "Brew tea." in CliRunner().invoke(root, ["--help"]).stdout


def test_colour_goes_only_where_it_is_wanted(sgreen):
    """NO_COLOR and pipes get plain text."""
    sgreen.environ["NO_COLOR"] = "1"

    assert "\x1b" not in sgreen("doctor").output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "verb", [["config", "example"], ["policy", "list", "--json"]], ids=["long", "short"]
)
def test_what_the_system_refuses_is_one_line(verb):
    """`sgreen VERB > FILE` on a full disk; little output is refused only when it is flushed."""
    code = "from slurm_green.cli.root import main; main()"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, *verb],
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "sgreen: No space left on device\n"


def test_what_the_system_refuses_is_one_line_without_stdout_too():
    """`sgreen VERB >&-`, as some cron jobs have it."""
    code = (
        "import sys; from slurm_green.cli.root import _guarded;"
        "sys.exit(_guarded(lambda: open('/' + 300 * 'n')))"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, code],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert re.fullmatch(r"sgreen: /n+: File name too long\n", done.stderr)


@pytest.mark.parametrize("closed", ["1", "2"], ids=["stdout", "stderr"])
def test_a_verb_does_its_work_where_an_output_is_closed(closed, tmp_path):
    """`sgreen plan --out plan.csv >&-`: where Python has no sys.stdout, or no sys.stderr."""
    (tmp_path / "j.csv").write_text("job_id,class,work,earliest_s,deadline_s\na,x,60,0,\n")
    (tmp_path / "c.csv").write_text("class,workers,clock_mhz,rate,power_w\nx,1,900,1,100\n")
    (tmp_path / "s.csv").write_text("start_s,carbon_g_per_kwh\n0,100\n")
    words = "plan --jobs j.csv --classes c.csv --signal s.csv --gpus 1 --out plan.csv"
    code = "from slurm_green.cli.root import main; main()"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {words} {closed}>&-', sys.executable, code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "plan.csv").read_text().startswith("job_id,")


def test_a_name_that_the_terminal_cannot_show_is_no_failure(tmp_path):
    """Of a model or a job, where the locale is not UTF-8."""
    (tmp_path / "profile.toml").write_text(
        'provenance = "published"\nmodel = "\u65e5"\n', encoding="utf-8"
    )
    (tmp_path / "training.csv").write_text(
        "workers,gpus_per_worker,clock_mhz,rate,power_w\n1,1,900,1,1\n"
    )
    code = "from slurm_green.cli.root import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "profile", "show", str(tmp_path)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "model: \\u65e5\n" in done.stdout
