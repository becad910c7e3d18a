# SPDX-License-Identifier: Apache-2.0
"""The example file and the reference page hold every setting and are current."""

import re
from pathlib import Path

import pytest

from slurm_green.config.load import loads
from slurm_green.config.render import example, reference, shown, toml
from slurm_green.config.settings import Config
from slurm_green.config.tree import SECTIONS

ROOT = Path(__file__).parents[3]
EVERY = [(section, setting) for section in SECTIONS for setting in section.settings]


def test_the_example_file_is_current():
    """Repair: sgreen config example > etc/slurm-green.toml."""
    assert (ROOT / "etc/slurm-green.toml").read_text() == example()


def test_the_reference_page_is_current():
    """Repair: sgreen config reference > docs/configuration.md."""
    assert (ROOT / "docs/configuration.md").read_text() == reference()


def test_the_example_changes_nothing():
    """An admin may copy it as it is."""
    config = loads(example())

    assert config.given == {}
    assert config.policy == Config().policy


def test_the_example_read_without_its_comment_signs_is_all_defaults():
    """What the example says is the default really is."""
    text = re.sub(r"^#(?=[\[a-z])", "", example(), flags=re.MULTILINE)
    text = "\n".join(line for line in text.splitlines() if not line.endswith("= "))

    config = loads(text.replace(".NAME]", ".gpu]"))

    assert config.power == Config().power
    assert config.paths == Config().paths
    assert config.policy_for("gpu") == Config().policy_for("gpu")
    assert len(config.given) > 40


@pytest.mark.parametrize(("section", "setting"), EVERY, ids=lambda one: getattr(one, "key", ""))
def test_every_setting_is_described_and_its_default_is_allowed(section, setting):
    """No setting without words; no default its own reader would refuse."""
    assert len(setting.doc) > 10
    assert setting.doc.endswith(".")
    assert f"| `{setting.key}` |" in reference()
    if setting.default is not None:
        kind = f'type = "{section.variant}"\n' if section.variant else ""
        loads(f"[{section.title}]\n{kind}{setting.key} = {setting.kind.write(setting.default)}")


def test_what_is_shown_reads_back_as_the_same():
    """`sgreen config show` can be used as a file."""
    config = loads('[hook]\nhold = "1m30s"\n[partition."a.b"]\nmode = "enforce"')

    again = loads(toml(config))

    assert again.hook == config.hook
    assert again.partition == config.partition
    assert again.power == config.power


def test_the_origin_of_each_value_is_shown():
    """Default, or the file with its line."""
    config = loads("[hook]\nhold = 5", Path("/etc/x.toml"))

    origins = {one.name: one.origin for one in shown(config)}

    assert origins["hook.hold"] == "/etc/x.toml:2"
    assert origins["hook.look"] == "default"
