# SPDX-License-Identifier: Apache-2.0
"""What the loader accepts, and how it words what it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from slurm_green.config.load import load, loads
from slurm_green.config.settings import Config
from slurm_green.errors import ConfigError


def test_no_file_at_the_usual_place_means_defaults_and_defers_nothing(tmp_path, monkeypatch):
    """A fresh install is in shadow mode."""
    monkeypatch.setattr("slurm_green.config.load.DEFAULT_PATH", tmp_path / "absent.toml")

    config = load(environ={})

    assert config == Config()
    assert config.policy_for("gpu").mode == "shadow"


def test_a_named_file_must_exist(tmp_path):
    """A typing error in SLURM_GREEN_CONF must not silently mean defaults."""
    with pytest.raises(ConfigError, match="no such file"):
        load(environ={"SLURM_GREEN_CONF": str(tmp_path / "typo.toml")})


def test_the_environment_names_the_file(tmp_path):
    """SLURM_GREEN_CONF overrides the usual place."""
    path = tmp_path / "other.toml"
    path.write_text("[hook]\ntimeout_ms = 7\n")

    config = load(environ={"SLURM_GREEN_CONF": str(path)})

    assert config.hook.timeout_ms == 7
    assert config.source == path
    assert config.given == {"hook.timeout_ms": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[hok]\nx = 1", "conf:1: hok is an unknown section; did you mean 'hook'?"),
        ("\n[hook]\ntimeout = 1", "conf:3: hook.timeout is an unknown key in [hook]; did you"),
        ("[hook]\ntimeout_ms = 0", "conf:2: hook.timeout_ms = 0 is out of range; allowed: a whole"),
        ("[hook]\nlook = 1", "hook.look = 1 is not a yes or no; allowed: true | false"),
        ("[hook]\nhold = '5 weeks'", "hook.hold = '5 weeks' is not a duration"),
        ("[partition]\nmode = 'enforce'", "write [partition.NAME] above it"),
        ("[partition.a]\nmod = 'enforce'", "did you mean 'mode'?"),
        ("[partition.a]\ngpu_type = 'gtx'", "is not in power.gpu_types; known: a100"),
        ("[qos.a]\nmode = 'forced'", "is none of the words allowed; allowed: shadow | enforce"),
        ("[policy]\ndefault_delay = '2d'", "policy.default_delay is longer than max_delay"),
        ("[qos.q]\ndefault_delay = 2\nmax_delay = 1", "conf:2: qos.q.default_delay is longer"),
        ("[hook]\ntimeout_ms = true", "hook.timeout_ms = True is not a whole number"),
        ("[hook]\ntimeout_ms = 5.0", "hook.timeout_ms = 5.0 is not a whole number"),
        ("[budget]\nwatts = '9'", "budget.watts = '9' is not a number; allowed: a number"),
        ("[budget]\nwatts = true", "budget.watts = True is not a number"),
        ("[budget]\nwatts = nan", "budget.watts = nan is out of range"),
        ("[budget]\nwatts = inf", "budget.watts = inf is out of range"),
        (f"[budget]\nwatts = 1{400 * '0'}", "0... is out of range; allowed: a number"),
        (f"[budget]\nwatts = 1{5000 * '0'}", "conf: not TOML: Exceeds the limit"),
        (f"[hook]\nhold = 1{400 * '0'}", "0... is out of range; allowed: a duration"),
        ("[paths]\nsocket = 'hook.sock'", "allowed: an absolute path"),
        ("[general]\ntime_zone = 'Mars/Base'", "is no known time zone"),
        ("[general]\ncluster = 'a\\u0000b'", "is not"),
        ("[signal]\nread = ['nes']", "allowed: a list of: file, csv"),
        ("[signal]\nread = 'file'", "is not a list of texts"),
        ("[signal.csv]\nanchor_utc = 2026-01-01T00:00:00", "is not a date and time with a zone"),
        ("[signal.csv]\nanchor_utc = 0001-01-01T00:00:00+02:00", "is not a date and time"),
        ("[power]\ngpu_types = {h100 = 0}", "is out of range"),
        ("[controller]\nmetrics = 'head:94100'", "is no port; allowed: HOST:PORT"),
        ("[nodes]\nlisten = '[::1]:65536'", "is no port; allowed: HOST:PORT"),
        ("[node]\nsgreend = 'http://head:94100/'", "is no port; allowed: http://HOST:PORT"),
        ("hook = 3", "hook is not a table; write [hook]"),
        ("[hook", "conf: not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_is_allowed(text, words):
    """One sentence is enough to repair the file."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("conf"))

    assert words in str(caught.value)
    assert "\n" not in str(caught.value).split("not TOML")[0]


def test_a_file_that_is_not_text_is_refused(tmp_path):
    """A binary file by mistake gives a sentence, no traceback."""
    path = tmp_path / "conf.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="byte 0 is not UTF-8"):
        load(path)


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    """Editors of other systems begin with one."""
    path = tmp_path / "conf.toml"
    path.write_bytes('[general]\nmode = "enforce"\n'.encode("utf-8-sig"))

    assert load(path).general.mode == "enforce"


def test_the_digest_is_that_of_the_settings_and_the_release(monkeypatch):
    """In whatever order they stand; the same for a daemon and a command of another time."""
    tables = ['[partition.a]\nmode = "enforce"\n', '[partition.b]\ndefault_delay = "6h"\n']
    here = loads("".join(tables)).digest()

    assert loads("# ours\n" + "".join(reversed(tables))).digest() == here
    assert loads(tables[0]).digest() != here
    monkeypatch.setattr("slurm_green.__version__", "0.0.9")
    assert loads("".join(tables)).digest() != here


def test_values_come_out_typed_and_in_the_unit_of_their_name():
    """Durations are seconds, times are UTC, paths are paths."""
    config = loads(
        """
        [policy]
        max_delay = "1-12:00:00"
        [signal.csv]
        path = "/srv/day.csv"
        anchor_utc = 2026-01-01T01:00:00+01:00
        [power.gpu_types]
        H100 = 650
        [partition.gpu]
        gpu_type = "h100"
        """
    )

    assert config.policy.max_delay_s == 129_600
    assert config.signal.csv.path == Path("/srv/day.csv")
    assert config.signal.csv.anchor_utc == datetime(2026, 1, 1, tzinfo=UTC)
    assert config.power_model().gpu_w_by_partition == {"gpu": 650 * 0.8 + 60}


def test_a_qos_overrides_its_partition_and_a_partition_the_site():
    """What stands nearest to the job holds, key by key."""
    config = loads(
        """
        [policy]
        max_delay = "10h"
        min_length = "1h"
        [partition.gpu]
        mode = "enforce"
        max_delay = "8h"
        default_delay = "6h"
        [qos.urgent]
        mode = "shadow"
        max_delay = "2h"
        """
    )

    policy = config.policy_for("gpu", "urgent")

    assert policy.mode == "shadow"
    assert policy.max_delay_s == 2 * 3600
    assert policy.default_delay_s == 2 * 3600, "a nearer maximum caps a farther default"
    assert policy.min_length_s == 3600
    assert config.policy_for("gpu", "normal").mode == "enforce"
    assert config.policy_for("cpu", "normal").mode == "shadow"
