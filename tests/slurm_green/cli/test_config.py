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
