# SPDX-License-Identifier: Apache-2.0
"""The two ends of the wire agree: Lua writes the question, Python reads it, for any text at all."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.hook.wire import parse_ask

# Slurm's strings hold any byte but NUL, and an empty one counts as unset.
TEXT = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.dictionaries(
        st.sampled_from(["name", "comment", "account", "qos", "partition", "features"]), TEXT
    ),
    limit=st.integers(0, 4294967293),
    short=st.integers(0, 65533),
)
def test_every_text_and_number_survives_the_wire(shim, texts, limit, short):
    line, why = shim.question(time_limit=limit, cpus_per_task=short, **texts)
    assert why == ""
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F or byte == 0x09 for byte in line[:-1])
    ask = parse_ask(line)
    assert (ask.seq, ask.uid) == (7, 1001)
    assert ask.time_limit_s == limit * 60
    assert ask.cpus_per_task == short
    for key, raw in texts.items():
        assert getattr(ask, key) == raw.decode("utf-8", "replace")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sentinel=st.sampled_from([4294967294, 4294967295, 1.8446744073709552e19, -1, "nil"]))
def test_no_sentinel_of_any_width_is_sent_as_a_number(shim, sentinel):
    line, _ = shim.question(min_nodes=sentinel, num_tasks=sentinel, time_min=sentinel)
    ask = parse_ask(line)
    assert (ask.min_nodes, ask.num_tasks, ask.time_min_s) == (None, None, None)
    line, _ = shim.question(requeue=65534, cpus_per_task=65535, ntasks_per_node=65534)
    ask = parse_ask(line)
    assert (ask.requeue, ask.cpus_per_task, ask.ntasks_per_node) == (None, None, None)
