# SPDX-License-Identifier: Apache-2.0
"""What options that are numbers take: every one of every verb."""

import click
import pytest
from click.testing import CliRunner

from slurm_green.cli.app import App
from slurm_green.cli.reference import commands
from slurm_green.cli.root import root

OPTIONS = [
    pytest.param(command, one, id=f"{name} {one.opts[0]}")
    for name, command in commands()
    for one in command.params
    if isinstance(one.type, click.types.FloatParamType | click.types.IntParamType)
]
# Python takes them all; an array's task, other scripts' digits, and no numbers to others.
NO_NUMBERS = ["1_00", "\u0661\u0660\u0660", "nan", "inf", "1e400", "0x64", ""]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_only_what_everybody_writes_is_a_number(command: click.Command, option: click.Parameter):
    context = click.Context(command)

    for text in NO_NUMBERS:
        with pytest.raises(click.BadParameter):
            option.process_value(context, (text,) if option.multiple else text)


def test_a_task_of_an_array_is_not_another_job(tmp_path):
    """`--job 123_4` was job 1234."""
    sites = tmp_path / "sites.toml"
    sites.touch()

    done = CliRunner().invoke(
        root, ["migrate", "run", "--sites", str(sites), "--job", "123_4"], obj=App(environ={})
    )

    assert (done.exit_code, done.stdout) == (2, "")
    assert "'--job': '123_4' is not a valid integer range." in done.stderr
