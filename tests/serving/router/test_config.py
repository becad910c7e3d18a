# SPDX-License-Identifier: Apache-2.0
"""The router's TOML file: the example is right, and mistakes are named."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from serving.router.config import load, loads
from serving.router.policies import make_policy, prefill_cost
from serving.router.replica import Replica
from serving.router.settings import Breaking, RoutePolicy, Settings
from serving.router.tenants import Tenants
from slurm_green.cli.root import root
from slurm_green.errors import BadInputError, ConfigError

ROOT = Path(__file__).parents[3]
ONE = '[[replica]]\nurl = "http://h:1"\nmodel = "m"\n'


def test_the_example_is_read_and_says_what_the_defaults_are(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "route.toml").read_text()
    assert loads(text.replace("/etc/slurm-green/", f"{tmp_path}/"))
    plain = loads(ONE)
    commented = "\n".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines()
    )
    for name in ("team-a", "replica-1"):
        (tmp_path / f"{name}.key").write_text("a-key-of-eight\n")
    whole = loads(commented.replace("/etc/slurm-green", str(tmp_path)))
    for part in ("limits", "timeouts", "retry", "breaker", "health"):
        assert getattr(whole, part) == getattr(plain, part), part


def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    keys, config = tmp_path / "keys", tmp_path / "route.toml"
    keys.write_text("a-key-of-eight\n", encoding="utf-8-sig")
    config.write_text(f"{ONE}key_file = '{keys}'\n", encoding="utf-8-sig")
    assert load(config).keys == {keys: ("a-key-of-eight",)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no replicas"),
        ("[listen\n", "not TOML"),
        (f"[listen]\nport = 1{5000 * '0'}\n", "not TOML"),
        ("listen = 'x'\n" + ONE, "[listen]: is not a table; write that line"),
        (ONE + "[lisen]\n", "'lisen': no such table; did you mean 'listen'?"),
        (ONE + "[listen]\nprt = 1\n", "'prt': no such key; did you mean 'port'?"),
        (ONE + "[listen]\nport = 70000\n", "port = '70000' is out of range"),
        (ONE + "[listen]\nport = true\n", "is not a whole number"),
        (ONE + '[limits]\nqueue_s = "soon"\n', "queue_s = 'soon'"),
        ("[[replica]]\nurl = 'h:1'\nmodel = 'm'\n", "http://HOST:PORT"),
        (ONE.replace("h:1", "a..b:1"), "http://HOST:PORT"),
        (ONE.replace("h:1", f"{'a' * 64}.b:1"), "http://HOST:PORT"),
        ("[[replica]]\nurl = 'http://h:1'\n", "model is missing"),
        (ONE + ONE, "is there twice"),
        (ONE + "[site]\nname = 's'\n", "write [[site]]"),
        (ONE + "[[site]]\nname = 's'\n", "site 'local' is none of [[site]]: s"),
        (ONE + "[[model]]\nname = 'm'\nsites = ['x']\n", "site 'x' is none of"),
        (ONE + "[listen]\ntls_cert = '/x'\n", "needs both"),
        (ONE + "[listen]\nport = 81\nadmin_port = 80\nworkers = 2\n", "from admin_port 80 on"),
        (ONE + "[listen]\nadmin_port = 65535\nworkers = 2\n", "reach to port 65536"),
        (ONE.replace(":1", ":70000"), "wanted a port from 1 to 65535"),
        (ONE + "[[model]]\nname = 'm'\nsites = []\n", "leave it out to allow all"),
        (ONE + "[breaker]\nopen_s = 9\nopen_max_s = 3\n", "open_max_s is below open_s"),
        (ONE + "[[tenant]]\nname = 't'\nkey_file = '/nowhere'\n", "cannot be read: No such file"),
        (ONE + "[[site]]\nname = 'local'\nsupply_file = '/x'\n", "supply_low_w is missing"),
    ],
)
def test_mistakes_are_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("r.toml"))
    assert why in str(caught.value)
    assert str(caught.value).startswith("r.toml: ")
    assert "\n" not in str(caught.value)


def test_replicas_may_have_ipv6_addresses() -> None:
    one = Replica("http://[::1]:8000", "m", "s", None, Breaking(), 8)
    assert (one.host, one.port) == ("::1", 8000)
    assert one.head == b"host: [::1]:8000\r\n"
    assert loads(ONE.replace("http://h:1", "http://[fe80::1%eth0]:1"))
    with pytest.raises(ConfigError, match="http://HOST:PORT"):
        loads(ONE.replace("http://h:1", "http://::1:1"))


def test_a_prefill_costs_what_the_profile_says() -> None:
    assert prefill_cost(RoutePolicy()) is None
    cost = prefill_cost(RoutePolicy(profile="h100-sxm-8b"))
    assert cost is not None
    (short_s, short_j), (long_s, long_j) = cost(100), cost(4000)
    assert 0 < short_s < long_s < 1
    assert 0 < short_j < long_j < 700 * long_s


@pytest.mark.parametrize(
    ("keys", "why"),
    [("", "a key per line"), ("short\n", "8 to 512"), ("with a space in it\n", "without spaces")],
)
def test_keys_are_checked_and_never_shown(tmp_path: Path, keys: str, why: str) -> None:
    (tmp_path / "k").write_text(keys)
    with pytest.raises(ConfigError) as caught:
        loads(f"{ONE}[[tenant]]\nname = 't'\nkey_file = '{tmp_path}/k'\n")
    assert why in str(caught.value)
    assert not keys.strip() or keys.strip() not in str(caught.value)


def test_a_key_belongs_to_one_tenant(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("one-key-for-two\n")
    rows = "".join(f"[[tenant]]\nname = '{one}'\nkey_file = '{tmp_path}/k'\n" for one in "ab")
    with pytest.raises(ConfigError, match="tenants a and b share a key"):
        loads(ONE + rows)


def test_a_reload_takes_away_what_a_tenant_may_no_longer_use(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("key-of-a-tenant\n")
    key = b"Bearer key-of-a-tenant"
    sites = '[[site]]\nname = "local"\n[[site]]\nname = "s"\n'

    def told(more: str) -> Settings:
        return loads(f"{ONE}{sites}[[tenant]]\nname = 't'\nkey_file = '{tmp_path}/k'\n{more}")

    before = Tenants(told("running = 9\n"))
    guest = before.enter(key)
    guest.running = 3
    assert before.may_use(guest, "m") and before.sites(guest, "n") is None
    after = Tenants(told('models = ["n"]\nsites = ["s"]\nrunning = 2\n'), before)
    assert after.enter(key) is guest
    assert not after.may_use(guest, "m") and after.sites(guest, "n") == {"s"}
    assert (guest.running, guest.most) == (3, 2)


def test_policies_are_those_of_the_replay(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'best': there are balanced, per-site, .*prices"):
        make_policy(RoutePolicy(name="best"))
    with pytest.raises(BadInputError, match="profile is missing"):
        make_policy(RoutePolicy(name="prices"))
    made = make_policy(RoutePolicy(name="prices", profile="h100-sxm-8b"))
    assert type(made).__name__ == "Prices"


def test_check_says_what_a_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(ONE)
    done = CliRunner().invoke(root, ["route", "--config", str(path), "--check"])
    assert "good: policy balanced, 0 [[site]], 1 [[replica]]" in done.output
    path.write_text(ONE + "[policy]\nname = 'x'\n")
    done = CliRunner().invoke(root, ["route", "--config", str(path), "--check"])
    assert done.exit_code == 2
    assert "there are balanced" in done.output
    path.write_text(ONE + "[listen]\nport = 81\nadmin_port = 80\n")
    done = CliRunner().invoke(root, ["route", "--config", str(path), "--check", "--workers", "2"])
    assert (done.exit_code, "from admin_port 80 on" in done.output) == (2, True)
    for more, why in (
        (f"tls_cert = '{path}'\ntls_key = '{path}'", "tls_cert"),
        (f"access_log = '{tmp_path}/none/log'", "no directory"),
    ):
        path.write_text(f"{ONE}[listen]\n{more}\n")
        done = CliRunner().invoke(root, ["route", "--config", str(path), "--check"])
        assert (done.exit_code, why in done.output) == (2, True), done.output
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none")
