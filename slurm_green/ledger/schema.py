# SPDX-License-Identifier: Apache-2.0
"""The ledger's tables and how older files become newer ones.

Times are POSIX seconds (UTC). A migration is never edited once released: add one.
"""

__all__ = ["MIGRATIONS"]

_FIRST = """
CREATE TABLE decisions (
    cluster TEXT NOT NULL, job_id INTEGER NOT NULL, decided_utc REAL NOT NULL,
    token TEXT NOT NULL, user TEXT NOT NULL, account TEXT NOT NULL, partition TEXT NOT NULL,
    qos TEXT NOT NULL, name TEXT NOT NULL,
    gpus INTEGER NOT NULL, nodes INTEGER NOT NULL, cpus INTEGER NOT NULL, tasks INTEGER NOT NULL,
    submit_utc REAL,
    mode TEXT NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL, policy TEXT NOT NULL,
    start_utc REAL, latest_utc REAL, expected_s REAL, power_w REAL, save_g REAL,
    provider TEXT NOT NULL, basis TEXT NOT NULL, scope TEXT NOT NULL, age_s REAL,
    promise TEXT NOT NULL,
    PRIMARY KEY (cluster, job_id, decided_utc)
);
CREATE INDEX decisions_by_time ON decisions (decided_utc);
CREATE TABLE events (
    cluster TEXT NOT NULL, job_id INTEGER NOT NULL, at_utc REAL NOT NULL,
    kind TEXT NOT NULL, detail TEXT NOT NULL,
    PRIMARY KEY (cluster, job_id, at_utc, kind)
);
CREATE INDEX events_by_time ON events (at_utc);
CREATE TABLE jobs (
    cluster TEXT NOT NULL, job_id INTEGER NOT NULL, submit_utc REAL NOT NULL,
    array_job_id INTEGER, array_task TEXT NOT NULL,
    user TEXT NOT NULL, account TEXT NOT NULL, partition TEXT NOT NULL, qos TEXT NOT NULL,
    name TEXT NOT NULL,
    asked_begin_utc REAL, eligible_utc REAL, start_utc REAL, end_utc REAL, deadline_utc REAL,
    time_limit_s REAL, state TEXT NOT NULL, restarts INTEGER NOT NULL, earlier_runs TEXT NOT NULL,
    gpus INTEGER NOT NULL, cpus INTEGER NOT NULL, nodes INTEGER NOT NULL,
    mode TEXT NOT NULL, action TEXT NOT NULL,
    energy_j REAL, energy_source TEXT NOT NULL, power_w REAL,
    carbon_g REAL, carbon_now_g REAL, saved_g REAL,
    basis TEXT NOT NULL, scope TEXT NOT NULL, time_scale REAL,
    PRIMARY KEY (cluster, job_id, submit_utc)
);
CREATE INDEX jobs_by_end ON jobs (COALESCE(end_utc, submit_utc));
CREATE INDEX jobs_by_array ON jobs (array_job_id);
CREATE TABLE signal_history (
    start_utc REAL NOT NULL, step_s REAL NOT NULL, value REAL NOT NULL,
    provider TEXT NOT NULL, region TEXT NOT NULL, unit TEXT NOT NULL,
    basis TEXT NOT NULL, scope TEXT NOT NULL, time_scale REAL NOT NULL, issued_utc REAL NOT NULL,
    PRIMARY KEY (start_utc, step_s, region, unit, basis, scope, time_scale)
);
"""

_ENERGIES = """
CREATE TABLE energies (
    cluster TEXT NOT NULL, node TEXT NOT NULL, name TEXT NOT NULL, job_id INTEGER NOT NULL,
    begin_utc REAL NOT NULL, end_utc REAL NOT NULL, gpus INTEGER NOT NULL,
    energy_j REAL, source TEXT NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (cluster, node, name)
);
CREATE INDEX energies_by_job ON energies (job_id);
ALTER TABLE jobs ADD COLUMN energy_note TEXT NOT NULL DEFAULT ''
"""

# Every receipt asks for the longest step.
_STEPS = "CREATE INDEX signal_by_step ON signal_history (step_s)"

# user_version N means that the first N have been applied.
MIGRATIONS: tuple[str, ...] = (_FIRST, _ENERGIES, _STEPS)
