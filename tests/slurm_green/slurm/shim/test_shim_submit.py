# SPDX-License-Identifier: Apache-2.0
"""What the courier does to a job with the real answer server on the other end."""

from pathlib import Path

import pytest

from slurm_green.config.setting import settings_of
from slurm_green.config.settings import Hook
from slurm_green.hook.wire import Ask, Defer, Pass
from tests.timing import fastest_s


def test_a_deferral_sets_begin_time_record_and_tells_the_user(shim, tools):
    answer = tools.defer(30, message="becomes eligible by 06:00")
    with tools.daemon(shim.socket, lambda ask: answer):
        result = shim.submit()
    assert result.fields == {
        "begin_time": str(int(answer.begin_utc.timestamp())).encode(),
        "admin_comment": tools.RECORD.encode(),
    }
    assert result.user == ["becomes eligible by 06:00"]


def test_every_hold_that_the_configuration_allows_is_taken_and_no_longer_one(shim, tools):
    hold = next(one for one in settings_of(Hook) if one.key == "hold").kind
    longest_s = hold.read("5m")
    with pytest.raises(ValueError, match="out of range"):
        hold.read(longest_s + 1)
    for hold_s in (61, longest_s):
        with tools.daemon(shim.socket, lambda ask, s=hold_s: tools.defer(s)):
            assert "begin_time" in shim.submit().fields
    with tools.daemon(shim.socket, lambda ask: tools.defer(longest_s + 60)):
        result = shim.submit()
    assert result.unchanged
    assert "begin is out of range" in result.log[-1]


def test_the_record_is_appended_to_what_other_tools_wrote(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        result = shim.submit(admin_comment="energy-tag=7")
    assert result.fields["admin_comment"] == b"energy-tag=7 " + tools.RECORD.encode()


@pytest.mark.parametrize("field", ["admin_comment", "comment", "extra"])
def test_a_record_that_would_make_slurm_refuse_the_job_is_not_written(shim, tools, field):
    shim.configure(record_field=field)
    room = 1024 - len(tools.RECORD) - 1
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        assert not shim.submit(**{field: "x" * room}).unchanged
        result = shim.submit(**{field: "x" * (room + 1)})
    assert result.unchanged
    assert "no room" in result.log[0]


@pytest.mark.parametrize("field", ["comment", "extra"])
def test_the_record_goes_where_the_site_wants_it(shim, tools, field):
    shim.configure(record_field=field)
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        result = shim.submit()
    assert result.fields[field] == tools.RECORD.encode()
    assert "admin_comment" not in result.fields


def test_a_look_holds_the_job_and_tells_the_user_nothing(shim, tools):
    begin = tools.later(10)
    answer = Defer(begin_utc=begin, latest_utc=begin, record="green:v1 id=0 by=look")
    with tools.daemon(shim.socket, lambda ask: answer) as server:
        result = shim.submit()
    assert (server.counts.looked, server.counts.deferred) == (1, 0)
    assert result.fields == {
        "begin_time": str(int(begin.timestamp())).encode(),
        "admin_comment": answer.record.encode(),
    }
    assert result.user == []


def test_a_pass_leaves_the_job_alone(shim, tools):
    with tools.daemon(shim.socket, lambda ask: Pass(reason="no-slack")):
        assert shim.submit().unchanged


def test_a_pass_may_say_why_to_whoever_asked(shim, tools):
    with tools.daemon(shim.socket, lambda ask: Pass(reason="no-slack", message="no time left")):
        result = shim.submit()
    assert result.fields == {}
    assert result.user == ["no time left"]


@pytest.mark.parametrize("message", ["\x1b[2J", "x" * 301, "caf\xe9", "a\nb\nc"])
def test_a_pass_with_a_message_unfit_for_a_terminal_says_nothing(shim, tools, message):
    with tools.daemon(shim.socket, lambda ask: Pass(reason="no-slack", message=message)):
        assert shim.submit().unchanged


@pytest.mark.parametrize(
    "fields",
    [
        {"script": "nil"},
        {"het_job_offset": 0},
        {"het_job_offset": 1},
        {"cron_job": True},
        {"begin_time": 1_900_000_000},
        {"priority": 0},
        {"immediate": 1},
        {"admin_comment": "x green:v1 id=1"},
    ],
    ids=["srun", "het-leader", "het-part", "scrontab", "begin", "hold", "immediate", "sibling"],
)
def test_jobs_that_are_never_a_question(shim, tools, fields):
    with tools.daemon(shim.socket, lambda ask: tools.defer()) as server:
        assert shim.submit(**fields).unchanged
        assert server.counts.asked == 0


def test_the_question_carries_what_slurm_meant_and_no_sentinel(shim, tools):
    asked: list[Ask] = []
    with tools.daemon(shim.socket, lambda ask: asked.append(ask) or Pass(reason="x")):
        shim.submit()
        shim.submit(
            name="train",
            account="lab",
            partition="main,other",
            qos="long",
            comment="green:max-delay=8h",
            time_limit=90,
            time_min=30,
            min_nodes=2,
            max_nodes=4,
            num_tasks=8,
            cpus_per_task=4,
            ntasks_per_node=2,
            tres_per_node="gres:gpu:h100:2",
            array_inx="0-5%2",
            dependency="singleton",
            reservation="r1",
            requeue=1,
            licenses="l:1",
            features="h100",
            script="#!/bin/bash\n#SBATCH --deadline=now+2hours\ntrue\n",
        )
    plain, full = asked
    assert plain == Ask(seq=1, uid=1001, user="alice", name="wrap", partition="main", min_cpus=1)
    assert full == Ask(
        seq=2,
        uid=1001,
        user="alice",
        account="lab",
        partition="main,other",
        qos="long",
        name="train",
        comment="green:max-delay=8h",
        time_limit_s=5400,
        time_min_s=1800,
        min_nodes=2,
        max_nodes=4,
        min_cpus=1,
        num_tasks=8,
        cpus_per_task=4,
        ntasks_per_node=2,
        tres_per_node="gres:gpu:h100:2",
        array_inx="0-5%2",
        dependency="singleton",
        reservation="r1",
        licenses="l:1",
        features="h100",
        requeue=True,
        deadline_text="now+2hours",
    )


def test_defaults_stand_in_and_no_limit_differs_from_unlimited(shim, tools):
    asked: list[Ask] = []
    with tools.daemon(shim.socket, lambda ask: asked.append(ask) or Pass(reason="x")):
        shim.submit(default_account="lab", default_qos="normal", time_limit=4294967295)
        shim.submit(time_limit=65534)
    assert (asked[0].account, asked[0].qos) == ("lab", "normal")
    assert (asked[0].time_limit_s, asked[0].unlimited) == (None, True)
    assert (asked[1].time_limit_s, asked[1].unlimited) == (65534 * 60, False)


@pytest.mark.parametrize(
    ("script", "deadline"),
    [
        ("#!/bin/sh\n#SBATCH --deadline=16:00\n", "16:00"),
        ("#!/bin/sh\n# note\n\n#SBATCH -t 10 --deadline 16:00 -n1\ntrue\n", "16:00"),
        ('#!/bin/sh\n#SBATCH --deadline="2026-11-30T08:00"\n', "2026-11-30T08:00"),
        ("#!/bin/sh\n#SBATCH --dead=16:00\n#SBATCH --deadline=17:00\n", "17:00"),
        ("#!/bin/sh\r\n#SBATCH --deadline=16:00\r\n", "16:00"),
        ("#!/bin/sh\ntrue\n#SBATCH --deadline=16:00\n", None),
        ("#!/bin/sh\n##SBATCH --deadline=16:00\n", None),
        ("#!/bin/sh\n#SBATCH -n1 # --deadline=16:00\n", None),
        ("#!/bin/sh\n#SBATCH --deadbeef=16:00\n", None),
        ("#!/bin/sh\n" + "#" * 9000 + "\n#SBATCH --deadline=16:00\n", None),
    ],
)
def test_a_deadline_in_the_script_is_read_as_sbatch_reads_it(shim, tools, script, deadline):
    asked: list[Ask] = []
    with tools.daemon(shim.socket, lambda ask: asked.append(ask) or Pass(reason="x")):
        shim.submit(script=script)
    assert asked[0].deadline_text == deadline


@pytest.mark.parametrize(
    "comment",
    [
        b"caf\xe9",
        b"a\tb\nuid=0\tseq=9\r\x00\x7f",
        b"%s %d %n %% %1 $(rm) `x` ]] --[[ \\ \" ' green:v1",
        b"=" * 4096,
        "grün: 北京".encode(),
    ],
)
def test_hostile_comments_arrive_as_they_are_and_harm_nobody(shim, tools, comment):
    asked: list[Ask] = []
    with tools.daemon(shim.socket, lambda ask: asked.append(ask) or tools.defer()):
        first = shim.submit(comment=comment, name=comment)
        second = shim.submit()
    # A NUL cannot come from Slurm, whose strings end there; Lua's own strings may hold one.
    assert asked[0].comment == comment.decode("utf-8", "replace")
    assert asked[0].uid == 1001
    assert not first.unchanged
    assert not second.unchanged


@pytest.mark.parametrize("size", [4097, 100_000])
def test_a_comment_too_long_to_carry_passes_unasked_because_its_end_may_opt_out(shim, tools, size):
    with tools.daemon(shim.socket, lambda ask: tools.defer()) as server:
        result = shim.submit(comment=b"x" * (size - 9) + b"green:off")
        assert result.unchanged
        assert server.counts.asked == 0
        assert "too long" in result.log[0]
        assert not shim.submit().unchanged


def test_a_line_too_long_as_a_whole_passes_unasked(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer()) as server:
        assert shim.submit(comment=b"\xff" * 4096, name=b"\xff" * 4096).unchanged
        assert server.counts.asked == 0


def test_a_restarted_daemon_is_found_within_the_same_call(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        assert not shim.submit().unchanged
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        assert not shim.submit().unchanged


def test_a_handler_that_raises_costs_its_own_job_only(shim, tools):
    def handle(ask: Ask):
        if ask.name == "bad":
            raise RuntimeError("bug")
        return tools.defer()

    with tools.daemon(shim.socket, handle):
        assert shim.submit(name="bad").unchanged
        assert not shim.submit(name="good").unchanged


def test_lua_socket_missing_leaves_jobs_alone_and_says_so_once(new_shim, tools):
    shim = new_shim()
    shim.run("package.path, package.cpath = '', ''")
    assert shim.load().fields["ok"] == b"true"
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        first, second = shim.submit(), shim.submit()
    assert first.unchanged
    assert second.unchanged
    assert ["lua-socket" in text for text in first.log] == [True]
    assert second.log == []


def test_a_missing_or_broken_module_is_what_pcall_dofile_can_catch(new_shim, tools, tmp_path: Path):
    assert new_shim().load(tmp_path / "nowhere.lua").fields["ok"] == b"false"
    # The module without its siblings: half an installation.
    alone = tmp_path / "slurm_green.lua"
    alone.write_bytes((tools.LUA_DIR / "slurm_green.lua").read_bytes())
    assert new_shim().load(alone).fields["ok"] == b"false"


def test_an_error_inside_the_courier_never_reaches_slurm(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer()):
        result = shim.run("green.submit(nil, nil, nil) green.submit(42) return {ok='yes'}")
        assert result.fields == {"ok": b"yes"}
        assert result.log
        assert all("passes unchanged" in text for text in result.log)
        assert not shim.submit().unchanged


def test_five_hundred_questions_are_quick(shim, tools):
    with tools.daemon(shim.socket, lambda ask: tools.defer()) as server:
        shim.submit()
        # 0.1 to 0.3 s on a quiet machine: 4 s means a wait somewhere, such as Nagle or a poll.
        assert fastest_s(lambda: shim.submit(500), 4, tries=3) < 4
        assert server.counts.asked in {501, 1001, 1501}
