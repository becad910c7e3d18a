# SPDX-License-Identifier: Apache-2.0
"""A controller far from UTC, and one whose clocks go back while jobs wait.

Every begin time is checked in epoch seconds, which know no zone.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.site import LATE_S, SHAPE, LiveSite, now_utc


def _clocks_change(in_s: float, *, back: bool) -> str:
    """A POSIX time zone whose clocks go back (or forward) by an hour in so many seconds.

    Five hours behind UTC in winter; the rule's times are in the time that holds before.
    """
    change_utc = datetime.now(UTC) + timedelta(seconds=in_s)
    # Going back, summer time (UTC-4) holds before; going forward, winter time (UTC-5).
    local = change_utc - timedelta(hours=4 if back else 5)
    # Jn counts days without 29 February.
    day = int(local.replace(year=2023).strftime("%j"))
    change = f"J{day}/{local:%H:%M:%S}"
    other = f"J{(day + 180) % 365 + 1}/02:00:00"
    return f"XST5XDT,{other},{change}" if back else f"XST5XDT,{change},{other}"


def _zones() -> dict[str, Callable[[], str]]:
    return {
        "new-york": lambda: "America/New_York",
        "clocks-back": lambda: _clocks_change(11, back=True),
        "clocks-forward": lambda: _clocks_change(11, back=False),
    }


@pytest.fixture(scope="module", params=_zones())
def site(
    make_module_cluster: Callable[..., Cluster], request: pytest.FixtureRequest
) -> Iterator[LiveSite]:
    """A cluster in that zone, where the site's people live in New York."""
    zone = _zones()[request.param]()
    site = LiveSite(
        make_module_cluster(stem="tz", timezone=zone, **SHAPE),
        general={"time_zone": "America/New_York"},
    )
    site.start()
    yield site
    site.close()


def test_a_job_waits_across_it_as_long_as_it_was_told(site: LiveSite) -> None:
    """Submitted before the clocks change, its latest start behind: in seconds nothing changes."""
    env = {"TZ": site.cluster.spec.timezone or "UTC"}
    before_s = int(time.time())
    done = site.cluster.run(
        *("sbatch", "--parsable", "-o", "/dev/null", "-t", "1"),
        *("--comment=green:max-delay=13s", "--wrap", "true"),
        env=env,
    )
    after_s = time.time()
    # Seen: sbatch itself reckons "now+5minutes" wrong across the change; the epoch is certain.
    far = site.cluster.run(
        *("sbatch", "--parsable", "-o", "/dev/null", "-t", "1", f"--deadline=uts{before_s + 300}"),
        *("--comment=green:max-delay=10m", "--wrap", "true"),
        env=env,
    )
    job = site.await_confirmed(int(done.stdout))
    assert before_s + 13 <= job.eligible_utc.timestamp() <= after_s + 15
    by_deadline = site.await_confirmed(int(far.stdout))
    assert by_deadline.eligible_utc + timedelta(seconds=60) <= by_deadline.deadline_utc
    assert by_deadline.eligible_utc > by_deadline.submit_utc + timedelta(seconds=180)
    # What Slurm itself prints is local: the same moment all the same.
    shown = site.cluster.run(
        "squeue",
        "-h",
        "-j",
        far.stdout.strip(),
        "-O",
        "EligibleTime",
        env={**env, "SLURM_TIME_FORMAT": "%s"},
    )
    assert int(shown.stdout) == int(by_deadline.eligible_utc.timestamp())
    ran = site.await_done(job.job_id, 40)
    # Its window may open a second or two before its latest start.
    assert abs((ran.start_utc - job.eligible_utc).total_seconds()) <= LATE_S
    after = site.job(by_deadline.job_id)
    assert (after.state, after.eligible_utc) == ("PENDING", by_deadline.eligible_utc)


def test_users_are_told_their_own_time(site: LiveSite) -> None:
    """The sentence of sbatch in the site's zone, with its name."""
    done = site.submit("--comment=green:max-delay=5m")
    local = (now_utc() + timedelta(minutes=5)).astimezone(ZoneInfo("America/New_York"))
    words = done.stderr
    assert f"becomes eligible by {local:%Y-%m-%d}" in words
    assert local.strftime("%Z") in words
    site.cancel_all()


def test_a_clock_time_in_the_comment_is_the_sites(site: LiveSite) -> None:
    """green:deadline=HH:MM is read in the site's zone."""
    local = (now_utc() + timedelta(minutes=4)).astimezone(ZoneInfo("America/New_York"))
    job_id = site.deferred(f"--comment=green:deadline={local:%H:%M:%S}")
    job = site.job(job_id)
    left_s = (local.astimezone(UTC) - job.eligible_utc).total_seconds()
    assert 70 <= left_s <= 75
    site.cancel_all()
