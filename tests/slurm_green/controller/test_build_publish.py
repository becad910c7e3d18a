# SPDX-License-Identifier: Apache-2.0
"""From the configuration to running parts, and from a view to the files others read."""

import json
import logging
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from builders import HOUR, NOW, info, memory, observed, partition_view, policy, rules, series, view

from slurm_green.config.load import loads
from slurm_green.controller.build import (
    build_provider,
    build_rules,
    build_runner,
)
from slurm_green.controller.cycle import cycle
from slurm_green.controller.publish import Publisher, published_of
from slurm_green.controller.runner import Report
from slurm_green.controller.status import Counters, status_of, taken_utc, write_status
from slurm_green.errors import ConfigError, SignalError
from slurm_green.signals.file import write_series

SITE = """
[general]
mode = "enforce"
record_field = "extra"
time_zone = "Europe/Paris"
[policy]
max_delay = "24h"
default_delay = "8h"
[partition.slow]
max_delay = "48h"
gpu_type = "h100"
[partition.tests]
mode = "shadow"
[qos.urgent]
mode = "shadow"
[budget]
watts = 5000
[hook]
hold = "5s"
"""


def test_the_rules_are_the_configurations() -> None:
    made = build_rules(loads(SITE))
    assert (made.hold_s, made.record_field, made.budget_w) == (5.0, "extra", 5000.0)
    assert str(made.zone) == "Europe/Paris"
    assert made.horizon_s == 2 * 48 * 3600, "the longest delay anybody has, doubled"
    assert (made.usual_over_s, made.usual_least_s) == (3 * 48 * 3600, 48 * 3600)
    assert made.power.gpu_w_by_partition == {"slow": 700 * 0.8 + 60}
    assert made.policy_for("slow", "").max_delay_s == 48 * 3600
    assert made.policy_for("slow", "urgent").mode == "shadow"


def test_a_site_without_delays_still_has_a_horizon() -> None:
    made = build_rules(loads('[policy]\nmax_delay = "0s"\ndefault_delay = "0s"'))
    assert made.horizon_s >= 2.0
    assert 1.0 <= made.prompt_s <= 30.0


@pytest.mark.parametrize(
    ("partitions", "mode"),
    [("slow", "enforce"), ("tests", "shadow"), ("slow,tests", "shadow"), ("tests,slow", "shadow"),
     ("slow,other", "enforce"), ("", "enforce")],
)  # fmt: skip
def test_one_shadowed_partition_of_a_list_keeps_the_job_out(partitions: str, mode: str) -> None:
    assert build_rules(loads(SITE)).policy_for(partitions, "").mode == mode


def test_providers_are_asked_in_the_order_given(tmp_path: Path) -> None:
    trace = tmp_path / "day.csv"
    trace.write_text(
        "start_s,carbon_g_per_kwh\n"
        + "".join(f"{hour * 3600},{100 + hour}\n" for hour in range(24))
    )
    config = loads(
        f"""
        [paths]
        signal = "{tmp_path}/signal.json"
        [signal]
        read = ["file", "csv"]
        region = "here"
        [signal.csv]
        path = "{trace}"
        anchor_utc = 2026-11-23T00:00:00Z
        """
    )
    provider = build_provider(config)
    fallen_back = provider.fetch(NOW)
    assert (fallen_back.at(NOW), fallen_back.region) == (106.0, "here")
    write_series(tmp_path / "signal.json", view().signal)
    assert provider.fetch(NOW).provider == "test"


def test_a_trace_without_a_path_is_an_error_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"signal\.csv\.path"):
        build_provider(loads('[signal]\nread = ["csv"]'))


def test_no_file_yet_is_no_signal_and_no_error_at_the_start(tmp_path: Path) -> None:
    provider = build_provider(loads(f'[paths]\nsignal = "{tmp_path}/none.json"'))
    with pytest.raises(SignalError, match=r"none\.json"):
        provider.fetch(NOW)


def test_a_runner_is_made_without_asking_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """sgreend starts while slurmctld is down."""
    monkeypatch.setenv("PATH", "/nowhere")
    runner = build_runner(loads('[general]\nslurm_backend = "commands"'))
    assert runner.rules.hold_s == 10.0
    assert runner.step() is None


def test_own_supply_is_read_where_the_site_has_providers_of_it(tmp_path: Path) -> None:
    text = f"""
[paths]
signal = "{tmp_path}/signal.json"
[provider.roof]
type = "file"
path = "{tmp_path}/roof.csv"
[signal]
renewable = ["roof"]
"""
    text += '[general]\nslurm_backend = "commands"\n'
    own = build_runner(loads(text)).source.own
    assert list(own) == ["renewable_w"]
    assert getattr(own["renewable_w"], "path") == tmp_path / "signal-renewable.json"  # noqa: B009
    assert build_runner(loads(f"{text}[plan]\nenabled = false")).source.own == {}


def test_the_published_file_says_whose_changes_pass() -> None:
    config = loads(
        """
        [hook]
        user_may_pull = false
        [policy]
        exclude_users = ["root"]
        exclude_accounts = ["ops"]
        """
    )
    made = rules(policy=policy(), interval_s=30.0)
    published = published_of(view(), made, config, slurm_uid=64030)
    assert (published.slurm_uid, published.user_may_pull, published.rows) == (64030, False, ())
    assert (published.excluded_users, published.excluded_accounts) == (("root",), ("ops",))
    assert published.valid_until_utc == NOW + timedelta(seconds=90)


def test_rows_are_decisions_for_plain_jobs_smallest_first() -> None:
    config = loads("[hook]\npublish_rows = true")
    shown = view(partition_view(gpus=8), partition_view("cpu", gpus=0, cpus=64))
    made = rules(policy=policy())
    rows = published_of(shown, made, config, slurm_uid=0).rows
    assert {row.max_gpus for row in rows if row.partition == "gpu"} == {1, 2, 4, 8}
    assert {row.max_gpus for row in rows if row.partition == "cpu"} == {0}
    sizes = [(row.max_gpus, row.max_length_s) for row in rows if row.partition == "gpu"]
    assert sizes == sorted(sizes), "the first that a job fits into is its own"
    for row in rows:
        assert NOW < row.start_utc <= NOW + timedelta(seconds=row.latest_in_s)
        assert "waits for cleaner power" in row.message


def test_rows_promise_no_less_than_their_hold_and_start_before_their_latest() -> None:
    """The courier refuses a longer hold; a record that starts at its latest reads as released."""
    config = loads("[hook]\npublish_rows = true")
    falling = view(signal=series([500 - 20 * hour for hour in range(24)]))
    for hold_s, there in ((4 * HOUR, True), (4 * HOUR + 1, False)):
        made = rules(policy=policy(default_delay_s=4 * HOUR), hold_s=hold_s)
        rows = published_of(falling, made, config, slurm_uid=0).rows
        assert {row.latest_in_s - (row.start_utc - NOW).total_seconds() for row in rows} == (
            {1.0} if there else set()
        )


@pytest.mark.parametrize("why", ["off", "shadow"])
def test_no_rows_where_nothing_is_deferred(why: str) -> None:
    config = loads("[hook]\npublish_rows = true")
    made = rules(policy=policy(mode="shadow" if why == "shadow" else "enforce"))
    assert published_of(view(off=why == "off"), made, config, slurm_uid=0).rows == ()


def test_the_status_is_one_json_object_that_anybody_may_read(tmp_path: Path) -> None:
    made = rules(policy=policy())
    seen = observed(info=info(version=(24, 5)))
    status = status_of(seen, cycle(seen, memory(), made), Counters(cycles=3, cpu_s=1.25), made)
    path = tmp_path / "status.json"
    write_status(path, status)
    write_status(path, status)
    found = json.loads(path.read_text())
    assert (found["cluster"], found["slurm_version"], found["cycles"]) == ("test", "24.05", 3)
    assert found["modes"] == {"gpu": "enforce"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path], "nothing is left behind"
    assert taken_utc(status) == NOW


def test_without_a_signal_its_fields_are_unknown() -> None:
    made = rules(policy=policy())
    seen = observed(signal=None, signal_problem="no wind")
    status = status_of(seen, cycle(seen, memory(), made), Counters(), made)
    assert (status.signal, status.signal_age_s, status.carbon_g_per_kwh) == (None, None, None)
    assert status.signal_problem == "no wind"


def test_a_status_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    made = rules(policy=policy())
    seen = observed()
    status = status_of(seen, cycle(seen, memory(), made), Counters(), made)
    with pytest.raises(OSError, match="nowhere"):
        write_status(tmp_path / "nowhere" / "status.json", status)


def test_a_file_that_cannot_be_written_is_said_once_and_keeps_the_other_from_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users' commands read the status: it must not grow old with the courier's file."""
    caplog.set_level(logging.INFO)
    away, plan, status = tmp_path / "run", tmp_path / "run/hook.plan", tmp_path / "status.json"
    made = rules(policy=policy())
    seen = observed()
    publisher = Publisher(loads(f'[paths]\npublished = "{plan}"\nstatus = "{status}"'), made)

    def write(cycles: int) -> None:
        counters = Counters(cycles=cycles)
        said = status_of(seen, cycle(seen, memory(), made), counters, made)
        publisher.write(Report(view=view(), status=said, slurm_user="root"))

    for cycles in (1, 2):
        write(cycles)
        assert json.loads(status.read_text())["cycles"] == cycles
    away.mkdir()
    status.unlink()
    status.mkdir()
    for cycles in (3, 4):
        write(cycles)
        assert "slurm_uid\t0\n" in plan.read_text()
        plan.unlink()
    assert [one.getMessage() for one in caplog.records] == [
        f"not published: {plan}: cannot be written: No such file or directory",
        f"{plan} is written again",
        f"not published: {status}: cannot be written: Is a directory",
    ]


def test_rows_that_are_too_many_are_said_once_however_many_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm_green.hook.published._SIZE_LIMIT", 1000)
    plan, made = tmp_path / "hook.plan", rules(policy=policy())
    paths = f'[paths]\npublished = "{plan}"\nstatus = "{tmp_path / "status.json"}"'
    publisher = Publisher(loads(f"{paths}\n[hook]\npublish_rows = true"), made)
    seen = observed()
    said = status_of(seen, cycle(seen, memory(), made), Counters(), made)
    for gpus in (8, 4):
        shown = view(partition_view(gpus=gpus))
        publisher.write(Report(view=shown, status=said, slurm_user="root"))
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1 and "more than the 1000 bytes that the courier reads" in told[0]
