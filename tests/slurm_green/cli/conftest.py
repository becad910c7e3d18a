# SPDX-License-Identifier: Apache-2.0
"""A command line on a fake Slurm: nothing here starts a process or reads this machine's files."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from slurm_green.cli.app import App
from slurm_green.cli.root import root
from slurm_green.config.settings import Config, Paths
from slurm_green.hook.record import Record
from slurm_green.signals.file import write_series
from slurm_green.signals.series import Series
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Job

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def after(**lengths):
    """A time from NOW on."""
    return NOW + timedelta(**lengths)


def record(**fields):
    """A record of a job deferred an hour ago, planned in two hours, due in six."""
    base = Record(
        token="abc123",
        decided_utc=after(hours=-1),
        start_utc=after(hours=2),
        latest_utc=after(hours=6),
        policy="lowest-window",
        save_g=420,
        signal="neso",
        signal_age_s=180,
    )
    return replace(base, **fields)


def job(job_id=42, **fields):
    """A job that waits because of us."""
    base = Job(
        job_id=job_id,
        name="train",
        user="ada",
        account="lab",
        partition="gpu",
        submit_utc=after(hours=-1),
        eligible_utc=after(hours=6),
        time_limit_s=3600,
        gpus=2,
        admin_comment=f"kept by others {record()}",
        cluster="fake",
    )
    return replace(base, **fields)


class Sgreen:
    """Runs verbs against `slurm` and `config`, at `now`."""

    job = staticmethod(job)
    record = staticmethod(record)
    after = staticmethod(after)

    def __init__(self, tmp_path):
        self.slurm = FakeSlurm(jobs=[job()])
        self.now = NOW
        self.environ = {"SLURM_CONF": str(tmp_path / "slurm.conf")}
        paths = {
            "socket": "hook.sock",
            "published": "hook.plan",
            "status": "status.json",
            "ledger": "ledger.sqlite",
            "signal": "signal.json",
            "signals": "signals",
            "lock": "lock",
            "off": "state/off",
        }
        self.config = Config(paths=Paths(**{key: tmp_path / at for key, at in paths.items()}))
        self.load = lambda environ: self.config
        self.sleep = None

    def __call__(self, *words):
        """The finished run of `sgreen WORDS`."""
        app = App(
            environ=self.environ,
            now=lambda: self.now,
            sleep=self.sleep or (lambda seconds: None),
            load_config=self.load,
            connect=lambda config: self.slurm,
        )
        return CliRunner().invoke(root, [str(word) for word in words], obj=app)

    def json(self, *words, status=0):
        """The one object that a verb prints with --json."""
        done = self(*words, "--json")
        assert done.exit_code == status, done.output
        return json.loads(done.stdout)

    def signal(self, hours=48):
        """Leave a signal file: an hour a step, cleanest in the fifth."""
        values = np.array([300.0, 250.0, 200.0, 150.0, 100.0, 350.0] * 8)[:hours]
        series = Series(
            start_utc=NOW,
            step_s=3600,
            values=values,
            issued_utc=after(minutes=-5),
            provider="neso",
            region="GB",
        )
        write_series(self.config.paths.signal, series)


@pytest.fixture
def sgreen(tmp_path):
    """`sgreen` on a fake Slurm with one deferred job, 42."""
    return Sgreen(tmp_path)
