# SPDX-License-Identifier: Apache-2.0
"""`sgreen doctor`: finds what is wrong, one thing at a time."""

import json
import shutil
import socket
import threading
from dataclasses import replace

import pytest

from slurm_green.config.load import loads
from slurm_green.controller.install import hook_modules
from slurm_green.errors import SlurmError
from slurm_green.hook.wire import PING, PONG
from slurm_green.ledger.store import Store
from slurm_green.slurm.records import ClusterInfo, Partition

INFO = ClusterInfo(
    name="fake",
    version=(24, 11),
    accounting=True,
    settings={"JobSubmitPlugins": "lua", "MinJobAge": "300 sec", "AccountingStoreFlags": ""},
)


@pytest.fixture
def site(sgreen, tmp_path):
    """A host on which everything but the socket is in place."""
    sgreen.slurm.cluster = INFO
    sgreen.slurm.partition_list = [Partition(name="gpu", default=True)]
    module = tmp_path / "slurm_green.lua"
    for one in hook_modules():
        shutil.copy(one, tmp_path)
    asks = f'green.configure{{socket = "{sgreen.config.paths.socket}"}}'
    (tmp_path / "job_submit.lua").write_text(f'pcall(dofile, "{module}")\n{asks}\n')
    conf = tmp_path / "slurm-green.toml"
    conf.write_text('[hook]\ntimeout_ms = 500\n[partition.gpu]\nmode = "enforce"\n')
    conf.chmod(0o644)
    sgreen.config = replace(loads(conf.read_text(), conf), paths=sgreen.config.paths)
    sgreen.signal()
    Store(sgreen.config.paths.ledger).close()
    _status(sgreen)
    sgreen.config.paths.published.write_text("")
    import os

    os.utime(sgreen.config.paths.published, (sgreen.now.timestamp() - 5,) * 2)
    return sgreen


def _status(site, **more):
    status = {"at_utc": "2026-11-22T11:59:50Z", "deferred": 1, "settings": site.config.digest()}
    site.config.paths.status.write_text(json.dumps(status | more))


@pytest.fixture
def daemon(site):
    """Something that answers a ping on the hook socket."""
    path = site.config.paths.socket
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o660)
        server.listen(1)

        def answer():
            client, _ = server.accept()
            with client:
                if client.recv(64) == PING:
                    client.sendall(PONG)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield site
        if thread.is_alive():
            # The test did not ask: let the thread go.
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"x")
            thread.join(60)


def _seen(site, status=None):
    done = site("doctor", "--json")
    found = json.loads(done.stdout)
    if status is not None:
        assert done.exit_code == status, found
    return {one["name"]: one for one in found["checks"]}


def test_a_good_host_has_no_failure(daemon):
    """Status 0; lua-socket depends on this machine and is left out."""
    found = _seen(daemon)

    failed = [one for one in found.values() if one["status"] == "fail"]
    assert [one for one in failed if one["name"] != "lua-socket"] == []
    assert found["sgreend"]["seen"].startswith("answers in")
    assert found["configuration"]["seen"].endswith("enforcing")


def test_slurm_down_is_one_failure_and_no_traceback(site):
    """The rest is still checked."""
    site.slurm.broken = "slurmctld is down"

    found = _seen(site, status=1)

    assert found["slurm"]["status"] == "fail"
    assert found["ledger"]["status"] == "ok"


def _no_plugin(site):
    site.slurm.cluster = replace(INFO, settings={"MinJobAge": "300"})


def _short_memory(site):
    site.slurm.cluster = replace(INFO, settings={**INFO.settings, "MinJobAge": "2 sec"})


def _hasty_slurmd(site):
    hasty = {"Prolog[0]": "/etc/slurm/prolog.sh", "PrologEpilogTimeout": "3"}
    site.slurm.cluster = replace(INFO, settings={**INFO.settings, **hasty})


def _no_aging(site):
    site.slurm.cluster = replace(
        INFO, priority_type="priority/multifactor", priority_weight_age=1000
    )
    object.__setattr__(site.config, "priority", replace(site.config.priority, keep_place=False))


def _no_script(site):
    (site.config.source.parent / "job_submit.lua").unlink()


def _foreign_script(site):
    (site.config.source.parent / "job_submit.lua").write_text("return slurm.SUCCESS")


def _no_module(site):
    (site.config.source.parent / "slurm_green.lua").unlink()


def _no_sibling(site):
    (site.config.source.parent / "slurm_green_wire.lua").unlink()


def _upgraded_without_files(site):
    sibling = site.config.source.parent / "slurm_green_wire.lua"
    sibling.write_text("-- of another release\n" + sibling.read_text())


def _writable_config(site):
    site.config.source.chmod(0o666)


def _off(site):
    site("off")


def _no_signal(site):
    site.config.paths.signal.unlink()


def _short_signal(site):
    site.signal(hours=12)


def _bad_ledger(site):
    site.config.paths.ledger.write_text("rubbish")


def _full_disk(site):
    _status(site, ledger_problem="cannot write ledger /l: database or disk is full")


def _other_settings(site):
    conf = site.config.source
    conf.write_text(conf.read_text() + "default_delay = '6h'\n")
    site.config = replace(loads(conf.read_text(), conf), paths=site.config.paths)


def _misspelt_partition(site):
    site.slurm.partition_list = [Partition(name="gpus", default=True)]


def _no_partitions(site):
    def refused():
        raise SlurmError("`scontrol --all show` failed: refused.")

    site.slurm.partitions = refused


def _old_status(site):
    site.config.paths.status.write_text('{"at_utc": "2026-11-22T10:00:00Z"}')


def _old_plan(site):
    site.now = site.after(hours=1)


def _fast_clock(site):
    site.slurm.put(site.job(submit_utc=site.after(seconds=30)))


@pytest.mark.parametrize(
    ("spoil", "name", "status"),
    [
        (_no_plugin, "submit plugin", "fail"),
        (_short_memory, "MinJobAge", "warn"),
        (_no_aging, "place in the queue", "warn"),
        (_hasty_slurmd, "prolog and epilog", "fail"),
        (_no_script, "job_submit.lua", "fail"),
        (_foreign_script, "job_submit.lua", "fail"),
        (_no_module, "module", "fail"),
        (_no_sibling, "module", "fail"),
        (_upgraded_without_files, "module", "warn"),
        (_writable_config, "configuration", "fail"),
        (_off, "switch", "warn"),
        (_no_signal, "signal", "fail"),
        (_short_signal, "signal", "warn"),
        (_bad_ledger, "ledger", "fail"),
        (_full_disk, "ledger", "fail"),
        (_other_settings, "status file", "warn"),
        (_misspelt_partition, "partitions", "warn"),
        (_no_partitions, "partitions", "fail"),
        (_old_status, "status file", "fail"),
        (_old_plan, "published file", "warn"),
        (_fast_clock, "clock", "fail"),
    ],
)
def test_one_thing_wrong_is_found_and_comes_with_advice(site, spoil, name, status):
    """Each check can fail, and says what to do."""
    assert _seen(site)[name]["status"] == "ok"

    spoil(site)

    found = _seen(site)[name]
    assert found["status"] == status, found
    assert found["todo"]


def test_a_comment_in_the_configuration_needs_no_restart(site):
    """Nor does one that was read from another place."""
    conf = site.config.source
    conf.write_text("# ours\n" + conf.read_text())
    site.config = replace(loads(conf.read_text(), conf), paths=site.config.paths)

    assert _seen(site)["status file"]["status"] == "ok"


@pytest.mark.parametrize(
    ("asks", "heard"),
    [
        ("", False),
        ('green.configure{socket = "/elsewhere.sock"}', False),
        ('-- once socket = "/elsewhere.sock"\ngreen.configure{socket = where()}', True),
        ('green.configure{mode = "published", published = "/elsewhere"}', True),
        ("green.configure{socket = where()}", True),
        ('green.configure{["socket"] = "/elsewhere.sock"}', True),
    ],
)
def test_a_script_that_asks_another_socket_is_a_failure(site, asks, heard):
    """Its jobs would all pass, and nothing else would tell."""
    script = site.config.source.parent / "job_submit.lua"
    assert "socket asked" not in _seen(site)
    script.write_text(script.read_text().partition("green.configure")[0] + asks)
    found = _seen(site, status=1)
    assert ("socket asked" not in found) == heard
    if not heard:
        assert found["socket asked"]["status"] == "fail" and found["socket asked"]["todo"]


def test_a_missing_daemon_is_a_failure(site):
    """No socket."""
    found = _seen(site, status=1)

    assert found["socket"]["status"] == "fail"
    assert found["socket"]["todo"] == "start sgreend"


def test_a_socket_that_nobody_answers_is_a_failure(site):
    """A file left behind."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(site.config.paths.socket))

    assert _seen(site, status=1)["sgreend"]["status"] == "fail"


def test_a_socket_open_to_everybody_is_a_failure(daemon):
    """Any user could ask in another's name."""
    daemon.config.paths.socket.chmod(0o666)

    assert _seen(daemon, status=1)["socket"]["status"] == "fail"


def test_the_text_names_what_to_do(site):
    """For people."""
    words = site("doctor").output

    assert "fail  socket:" in words
    assert "-> start sgreend" in words
