# SPDX-License-Identifier: Apache-2.0
"""What is asked of Slurm for replicas that come up, or are to be replaced."""

from pathlib import Path

import pytest

from serving.replica import submit
from serving.replica.submit import successor, wait_ready
from slurm_green.errors import SlurmError


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A queue in a file: squeue shows it; sbatch adds to it, and fails where a file says so."""
    queue, fails = tmp_path / "queue", tmp_path / "fails"
    queue.touch()
    bodies = {
        "squeue": f"cat {queue}",
        "sbatch": f"""
            job=$(($(wc -l < {queue}) + 40))
            [ -e {fails} ] && [ ! -s {fails} ] && exit 1
            echo "$job $2 $3" >> {queue}
            [ -e {fails} ] && exit 1
            echo "$job;cluster"
        """,
    }
    for name, body in bodies.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_limit_of_jobs_tells_which_are_there(slurm: Path) -> None:
    sbatch = slurm / "sbatch"
    once = sbatch.read_text()
    assert submit.submit(slurm / "s" / "a.sh", "#!/bin/sh", 2) == [40, 41]
    full = "echo QOSMaxSubmitJobPerUserLimit >&2; exit 1"
    limit = f"[ $(wc -l < {slurm}/queue) -lt 4 ] || {{ {full}; }}"
    sbatch.write_text(once.replace("#!/bin/sh", f"#!/bin/sh\n{limit}"))
    with pytest.raises(SlurmError, match=r"JobPerUserLimit; at least 2 of 3 .*: scancel 42 43$"):
        submit.submit(slurm / "s" / "a.sh", "#!/bin/sh", 3)
    with pytest.raises(SlurmError, match=r"sbatch: QOSMaxSubmitJobPerUserLimit$"):
        submit.submit(slurm / "s" / "a.sh", "#!/bin/sh", 3)


def test_an_sbatch_that_was_heard_and_failed_is_not_counted_out(slurm: Path) -> None:
    """Whoever ends the jobs that are named is to look for others."""
    sbatch, queue = slurm / "sbatch", slurm / "queue"
    heard = f"[ $(wc -l < {queue}) -lt 2 ] || {{ echo timed out >&2; exit 1; }}\necho "
    sbatch.write_text(heard.join(sbatch.read_text().rsplit("echo ", 1)))
    with pytest.raises(SlurmError, match=r"timed out; at least 1 of 3 .*squeue --me.*scancel 40$"):
        submit.submit(slurm / "s" / "a.sh", "#!/bin/sh", 3)
    assert len(queue.read_text().splitlines()) == 2


def test_a_replacement_is_submitted_once(slurm: Path) -> None:
    script = Path("/s/again.sh")
    assert successor(script, "again-job7-0") == 40
    assert successor(script, "again-job7-0") == 40
    assert successor(script, "again-job77-0") == 41
    rows = (slurm / "queue").read_text().splitlines()
    assert rows == ["40 /s/again.sh after-again-job7-0", "41 /s/again.sh after-again-job77-0"]


def test_another_jobs_script_may_have_a_name_that_is_no_utf_8(slurm: Path) -> None:
    (slurm / "queue").write_bytes(b"39 /s/\xe9t\xe9.sh\n")
    assert successor(Path("/s/again.sh"), "again-job7-0") == 41
    assert successor(Path("/s/again.sh"), "again-job7-0") == 41


@pytest.mark.parametrize(("words", "heard"), [("", 0), ("timed out, but heard", 1)])
def test_a_failed_sbatch_is_told_and_may_have_been_heard(
    slurm: Path, words: str, heard: int
) -> None:
    (slurm / "fails").write_text(words)
    with pytest.raises(SlurmError, match="sbatch"):
        successor(Path("again.sh"), "x-job1-0")
    assert len((slurm / "queue").read_text().splitlines()) == heard
    (slurm / "fails").unlink()
    assert successor(Path("again.sh"), "x-job1-0") == 40
    assert len((slurm / "queue").read_text().splitlines()) == 1


def test_a_slurm_that_does_not_answer_for_a_while_is_waited_for(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "_ASK_S", 0.01)
    queue, registration, said = slurm / "queue", slurm / "job7.json", list[str]()
    queue.unlink()

    def say(words: str) -> None:
        said.append(words)
        if len(said) == 1:
            queue.write_text("7 RUNNING n1\n")
        else:
            registration.write_text('{"state": "ready"}')

    wait_ready([7], lambda _: registration, lambda _: slurm / "log", say)
    first, second = said
    assert first.startswith("0 of 1 ready; waiting for 7 (unknown: squeue: ")
    assert second == "0 of 1 ready; waiting for 7 running n1"
    queue.write_text("")
    registration.unlink()
    with pytest.raises(SlurmError, match="job 7 ended before"):
        wait_ready([7], lambda _: registration, lambda _: slurm / "log", say)
