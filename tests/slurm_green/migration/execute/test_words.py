# SPDX-License-Identifier: Apache-2.0
"""What is read from users and from Slurm: comments, jobs, paths, the sites file."""

from dataclasses import replace
from pathlib import Path

import pytest

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.migration.execute.comment import declared, tokens_of, without_tokens
from slurm_green.migration.execute.order import fields_of, order_of
from slurm_green.migration.execute.proposals import proposals
from slurm_green.migration.execute.site import Site, mapped
from slurm_green.migration.execute.sites_file import read_sites

A = Site(name="a", slurm_conf="a.conf", root="/scratch/a")
B = Site(name="b", slurm_conf="b.conf", root="/scratch/b", partitions={"main": "gpu"})
# As Slurm 22.05.8 showed it.
SHOWN = """JobId=14 JobName=my twin
   UserId=nobody(65534) GroupId=nogroup(65534) MCS_label=N/A
   Priority=4294901759 Nice=0 Account=(null) QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:00:02 TimeLimit=1-00:10:00 TimeMin=N/A
   StartTime=2026-11-28T19:10:51 EndTime=2026-11-28T19:20:51 Deadline=N/A
   Partition=main AllocNode:Sid=localhost:9956
   NumNodes=1-2 NumCPUs=2 NumTasks=1 CPUs/Task=2 ReqB:S:C:T=0:0:*:*
   MinCPUsNode=2 MinMemoryNode=4G MinTmpDiskNode=0
   Features=h100&ib DelayBoot=00:00:00
   OverSubscribe=OK Contiguous=0 Licenses=(null) Network=(null)
   Command=/scratch/a/me/job.sh ck 60 x=1
   WorkDir=/scratch/a/me
   Comment=mine green:checkpoint=ck,signal=B:USR1 green-move:m3-aa
   StdErr=/scratch/a/me/out.txt
   StdIn=/dev/null
   StdOut=/scratch/a/me/out.txt
   TresPerNode=gres:gpu:h100:1
"""


def test_a_comment_declares_a_checkpoint_or_nothing() -> None:
    for comment, found in {
        "x green:checkpoint=run,signal=SIGUSR1": ("run", "USR1"),
        "green:checkpoint=/d/run,signal=B:TERM,max-delay=4h": ("/d/run", "B:TERM"),
        "green:checkpoint=run": ("run", None),
        "evergreen:checkpoint=run": None,
        "": None,
    }.items():
        words = declared(comment)
        assert (words and (words.checkpoint, words.signal)) == found, comment


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("green:checkpoint=run,move=no", "keeps it here: move=no"),
        ("green:off green:checkpoint=run", "keeps it here: green:off"),
        ("green:checkpoint=", "names no directory"),
        ("green:checkpoint=run,signal=10;rm", "one it can catch"),
        ("green:checkpoint=run,signal=B:FOO", "one it can catch"),
        ("green:checkpoint=run,signal=SIGKILL", "one it can catch"),
    ],
)
def test_a_comment_that_moves_nothing_says_why(comment: str, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        declared(comment)
    assert words in str(caught.value)


def test_tokens_of_moves_come_and_go() -> None:
    assert tokens_of("a green-move:m1-x.c2 b") == ["m1-x.c2"]
    assert without_tokens("a green-move:m1-x b") == "a b"


def test_a_job_is_ordered_again_as_it_was() -> None:
    order = order_of(SHOWN, "#!/bin/sh\n", A, B)
    assert order.options == (
        *("--job-name=my twin", "--partition=gpu", "--requeue", "--open-mode=append"),
        *("--time=1-00:10:00", "--nodes=1-2", "--cpus-per-task=2", "--qos=normal"),
        *("--constraint=h100&ib", "--mem=4G", "--gpus-per-node=h100:1"),
        *("--chdir=/scratch/b/me", "--output=/scratch/b/me/out.txt", "--input=/dev/null"),
    )
    assert order.comment == "mine green:checkpoint=ck,signal=B:USR1"
    assert order.arguments == ("ck", "60", "x=1")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("/scratch/a/me/job.sh", ()),
        ("/scratch/a/of me/job.sh", ()),
        ("/scratch/a/of me/job.sh ck 60", ("ck", "60")),
        ("/scratch/a/of me/my twin", ()),  # the script's name is the job's
        ("/scratch/a/of me/my twin ck", ("ck",)),
        ("(null)", ()),
    ],
)
def test_a_path_with_blanks_is_no_argument(command: str, arguments: tuple[str, ...]) -> None:
    shown = SHOWN.replace("/scratch/a/me/job.sh ck 60 x=1", command)
    if "of me" in command:
        shown = shown.replace("WorkDir=/scratch/a/me", "WorkDir=/scratch/a/of me")
    assert order_of(shown, "", A, B).arguments == arguments


@pytest.mark.parametrize(
    ("line", "again"),
    [
        ("#SBATCH --begin=now+1hour", ["--begin=now"]),
        ("#SBATCH -t 5 --beg now+1hour", ["--begin=now"]),
        ("#SBATCH -b16:00 -d afterok:3", ["--begin=now", "--dependency="]),
        ("#SBATCH --dependency=afterok:3", ["--dependency="]),
        ("#SBATCH --gres=gpu:1 -D /d  # -d or -b or -M", []),
        ("# SBATCH --begin=now+1hour", []),
        ("", []),
    ],
)
def test_what_was_over_here_does_not_count_again_there(line: str, again: list[str]) -> None:
    """A begin time, and jobs of this cluster: what stands in the script counts at each sbatch."""
    options = order_of(SHOWN, f"#!/bin/sh\n{line}\nexec train\n", A, B).options
    assert [one for one in options if one.startswith(("--begin", "--dep"))] == again


def test_a_script_for_named_clusters_stays() -> None:
    """Its copy would be submitted where it came from."""
    for line in ("#SBATCH --clusters=a", "#SBATCH -Ma", "#SBATCH --cluster a"):
        with pytest.raises(BadInputError, match="names the clusters"):
            order_of(SHOWN, f"#!/bin/sh\n{line}\n", A, B)


def test_a_deadline_goes_as_sbatch_reads_it() -> None:
    """Our scontrol prints seconds since 1970, which sbatch refuses; seen with 22.05."""
    for shown in ("1795986730", "2026-11-29T21:12:10"):
        options = order_of(SHOWN.replace("Deadline=N/A", f"Deadline={shown}"), "", A, B).options
        assert "--deadline=2026-11-29T21:12:10" in options


def test_each_partition_of_several_has_its_name_there() -> None:
    several = SHOWN.replace("Partition=main ", "Partition=spare,main ")
    assert "--partition=spare,gpu" in order_of(several, "", A, B).options


def test_newer_slurm_writes_gpus_otherwise() -> None:
    newer = SHOWN.replace("gres:gpu:h100:1", "gres/gpu:2")
    newer += "   TresPerTask=cpu=1\n"
    options = order_of(newer, "", A, B).options
    assert "--gpus-per-node=2" in options
    assert not any(option.startswith("--gpus-per-task") for option in options)
    for strange in ("gres:gpu:1,gres:shard:2", "gpu:4"):  # no copy without its GPUs
        with pytest.raises(SlurmError, match="GPUs only"):
            order_of(SHOWN.replace("gres:gpu:h100:1", strange), "", A, B)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("--gres=gpu:h100:1", "--gres=gpu:h100:1"),
        ("--gpus-per-node=h100:1", "--gpus-per-node=h100:1"),
        ("--gres-flags=disable-binding", "--gpus-per-node=h100:1"),
    ],
)
def test_gpus_are_asked_for_as_the_script_does(line: str, option: str) -> None:
    """Slurm adds the two ways up (seen with 22.05), and such a copy could not move again."""
    options = order_of(SHOWN, f"#!/bin/sh\n#SBATCH {line}\n", A, B).options
    assert [one for one in options if one.startswith("--g")] == [option]
    twice = SHOWN.replace("gres:gpu:h100:1", "gres:gpu:h100:1,gres:gpu:h100:1")
    assert order_of(twice, f"#!/bin/sh\n#SBATCH {line}\n", A, B).options == options


@pytest.mark.parametrize(
    ("asked", "types", "there"),
    [
        ("gpu:h100:2", {"h100": "h200"}, "h200:2"),
        ("gpu:h100", {"h100": "h200"}, "h200"),
        ("gpu:h100:2", {"h100": ""}, "2"),
        ("gpu:h100", {"h100": ""}, "1"),
        ("gpu:h100:2", {"a100": "h200"}, "h100:2"),
        ("gpu:2", {"h100": "h200"}, "2"),
        ("gpu", {"h100": "h200"}, "1"),
    ],
)
def test_gpus_have_another_type_there(asked: str, types: dict[str, str], there: str) -> None:
    """Else Slurm there refuses a type that it does not know."""
    shown = SHOWN.replace("gpu:h100:1", asked)
    options = order_of(shown, "", A, replace(B, gpu_types=types)).options
    assert [one for one in options if one.startswith("--gpus")] == [f"--gpus-per-node={there}"]


def test_what_nobody_asked_for_is_not_asked_for() -> None:
    """It would stand in the job's environment, where it stood not before."""
    for tasks, cpus, line, asked in (
        ("1", "1", "", []),
        ("1", "1", "#SBATCH -n 4 -c4", ["--ntasks=1", "--cpus-per-task=1"]),
        ("4", "2", "", ["--ntasks=4", "--cpus-per-task=2"]),
    ):
        shown = SHOWN.replace("NumTasks=1", f"NumTasks={tasks}")
        shown = shown.replace("CPUs/Task=2", f"CPUs/Task={cpus}")
        options = order_of(shown, f"#!/bin/sh\n{line}\n", A, B).options
        assert [one for one in options if one.startswith(("--ntasks", "--cpus"))] == asked


@pytest.mark.parametrize(("nodes", "asked"), [("1-2", True), ("1-1", False), ("1", False)])
def test_gpus_by_task_go_with_tasks(nodes: str, asked: bool) -> None:
    """22.05.8: "--gpus-per-task used without either --gpus or -n/--ntasks is not allowed"."""
    shown = SHOWN.replace("TresPerNode", "TresPerTask").replace("NumNodes=1-2", f"NumNodes={nodes}")
    options = order_of(shown, "", A, B).options
    assert "--gpus-per-task=h100:1" in options
    assert ("--ntasks=1" in options) == asked


def test_the_layout_goes_along() -> None:
    """Else two tasks on each of two nodes may become three and one. As 22.05 shows it."""
    shown = SHOWN.replace("Features=", "NtasksPerN:B:S:C=2:0:*:* Features=")
    shown = shown.replace("OverSubscribe=OK", "OverSubscribe=NO")
    options = order_of(shown, "", A, B).options
    assert {"--ntasks-per-node=2", "--exclusive", "--cpus-per-task=2"} <= set(options)
    for text, left in (("2:0:*:*", "0:0:*:*"), ("=NO", "=OK")):
        shown = shown.replace(text, left)
    options = order_of(shown, "", A, B).options
    assert not any(one.startswith(("--ntasks-per", "--exclusive")) for one in options)


def test_what_comes_with_each_gpu_goes_along() -> None:
    """sbatch refuses CPUs by task beside CPUs by GPU."""
    shown = SHOWN + "   CpusPerTres=gres:gpu:4\n   MemPerTres=gres:gpu:200\n"
    assert not any(one.startswith("--mem-per-gpu") for one in order_of(shown, "", A, B).options)
    shown = shown.replace("MinMemoryNode=4G", "MinMemoryNode=0")
    options = order_of(shown, "", A, B).options
    assert {"--cpus-per-gpu=4", "--mem-per-gpu=200"} <= set(options)
    assert not any(one.startswith("--cpus-per-task") for one in options)
    # By DefCpuPerGPU and DefMemPerGPU, as 22.05 shows it: the destination has its own.
    shown = shown.replace("gres:gpu:4", "gpu:4").replace("gres:gpu:200", "gpu:200")
    options = order_of(shown, "", A, B).options
    assert not any(one.startswith(("--cpus-per", "--mem-per")) for one in options)


def test_a_job_that_is_gone_is_said_to_be() -> None:
    assert fields_of("") == {}
    with pytest.raises(SlurmError, match="showed no job"):
        order_of("slurm_load_jobs error: Invalid job id specified", "", A, B)


def test_paths_move_with_their_root_or_not_at_all() -> None:
    assert mapped("/scratch/a/x/y", A, B) == "/scratch/b/x/y"
    for outside in ("/scratch/ab/x", "/scratch/a/../b", "/home/me"):
        with pytest.raises(BadInputError, match="not below /scratch/a"):
            mapped(outside, A, B)


SITES = """
[[site]]
name = "a"
slurm_conf = "/a.conf"
software = ["python3"]
gpu_w = 700
[[site]]
name = "b"
slurm_conf = "/b.conf"
partitions = { main = "gpu" }
gpu_types = { h100 = "h200" }
[[link]]
from = "a"
to = "b"
gbps = 10
limit_mbps = 80
"""


def test_the_sites_file(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(SITES)
    file = read_sites(path)
    assert file.sites["a"].software == ("python3",)
    assert file.sites["b"].gpu_types == {"h100": "h200"}
    assert file.forecasts["a"].gpu_w == 700
    back = file.link("b", "a")
    assert back is not None
    assert (back.gbps, back.limit_mbps) == (10, 80)
    with pytest.raises(BadInputError, match="no site is called 'c'; there are a, b"):
        file.site("c")
    path.write_text(SITES, encoding="utf-8-sig")  # as some editors save it
    assert read_sites(path) == file


@pytest.mark.parametrize(
    ("policy", "words"), [("best", "no policy is called 'best'"), ("oracle", "only a replay")]
)
def test_policies_are_looked_at_before_slurm_is_asked(
    tmp_path: Path, policy: str, words: str
) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(SITES)
    with pytest.raises(BadInputError, match=words):
        proposals(read_sites(path), {}, (), policy=policy, now_s=0.0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("gpu_w", "gpuw", "read_s, signal, gpu_w, error_share"),
        ("gpu_w = 700", "gpu_w = nan", "wanted a number from 0"),
        ('to = "b"', 'to = "a"', "to itself"),
        ('from = "a"', 'form = "a"', "form: unknown; known are from, to, gbps"),
        ("700", '"700"', "gpu_w: '700' is no number"),
        ("700", "true", "gpu_w: True is no number"),
        ('["python3"]', '"python3"', "software: 'python3' is no list"),
        ('["python3"]', "[3]", "software: [3] holds something that is no text"),
        ('name = "b"', 'name = "a"', "'a' stands there twice"),
        ('name = "b"\n', "", "name is missing"),
        ("/b.conf", "b.conf", "slurm_conf: 'b.conf' does not begin with /"),
        ('name = "b"', 'name = "b"\nroot = "data"', "root: 'data' does not begin with /"),
        ('to = "b"', 'to = "c"', "no site is called 'c'"),
        ("gbps = 10", "gbps = 0", "gbps > 0"),
        ("[[link]]", "[link]", "write [[link]]"),
        ("[[link]]", "[[lank]]", "lank: unknown"),
        ("gbps = 10", "gbps = ", "Invalid value"),
        ("gbps = 10", f"gbps = 1{400 * '0'}", "wanted a number from 0 to 1e+15"),
        ("gbps = 10", f"gbps = 1{5000 * '0'}", "4300 digits"),
        ("limit_mbps = 80", "limit_mbps = 1e308", "wanted a number from 0 to 1e+15"),
    ],
)
def test_a_wrong_sites_file_is_one_clear_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = tmp_path / "sites.toml"
    path.write_text(SITES.replace(old, new, 1))
    with pytest.raises(BadInputError) as caught:
        read_sites(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
