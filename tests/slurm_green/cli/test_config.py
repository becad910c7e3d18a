# SPDX-License-Identifier: Apache-2.0
"""`sgreen config check`: what would stop the daemon or the fetching process is said beforehand."""

import pytest

from slurm_green.config.load import loads


@pytest.fixture
def check(sgreen):
    """`config check` of a text."""

    def run(text):
        sgreen.load = lambda environ: loads(text)
        return sgreen("config", "check")

    return run


def test_a_sound_file_is_counted_and_what_it_enforces_named(check):
    done = check('[partition.gpu]\nmode = "enforce"\n')

    assert done.exit_code == 0
    assert "enforced for partition.gpu" in done.stdout


def test_a_provider_without_its_zone_is_found_before_it_is_fetched_from(check):
    done = check('[signal]\ncarbon = ["t"]\n[provider.t]\ntype = "file"\npath = "/t.csv"\n')

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "sgreen: provider.t.region is not set, and none is assumed\n"


def test_a_key_that_only_the_fetching_process_may_read_is_no_error(check, tmp_path):
    done = check(
        f'[signal]\ncarbon = ["em"]\n[provider.em]\ntype = "electricity-maps"\nzone = "DE"\n'
        f'key_file = "{tmp_path}/key"\n'
    )

    assert done.exit_code == 0, done.output
    assert f"note: provider.em.key_file: {tmp_path}/key" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[policy]\ndefault_delay = 5\n", ["policy.default_delay = 5s"]),
        ('[partition.gpu]\nmax_delay = "9s"\n', ["partition.gpu.max_delay = 9s"]),
        (
            '[hook]\nhold = "2m"\n[qos.fast]\nmax_delay = "1m"\ndefault_delay = "30s"\n',
            ["qos.fast.max_delay = 1m", "qos.fast.default_delay = 30s"],
        ),
        ('[controller]\nmin_interval = "10s"\n', ["controller.min_interval = 10s"]),
        # Never on purpose, as long as the hold, and longer.
        ("[qos.now]\nmax_delay = 0\ndefault_delay = 0\n[policy]\ndefault_delay = 10\n", []),
    ],
)
def test_delays_by_which_no_job_ever_waits_are_named(check, text, said):
    done = check(text)

    assert done.exit_code == 0, done.output
    notes = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    assert [line.removeprefix("note: ").split(" is ")[0] for line in notes] == said
