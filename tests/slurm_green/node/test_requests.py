# SPDX-License-Identifier: Apache-2.0
"""Every line that anybody may write is a checked request or one clear refusal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.device.apply import Setting
from slurm_green.errors import BadInputError
from slurm_green.node.requests import BeginJob, EndJob, Ping, Release, SetGpus, parse_request


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        # As the prolog's environment has it: text.
        (
            '{"op":"begin","job":"12","uid":"1000","gpus":"0,1","at_s":9.5}',
            BeginJob(12, 1000, (0, 1), 9.5),
        ),
        (
            '{"op":"begin","job":12,"uid":0,"gpus":"0-2,7","at_s":9}',
            BeginJob(12, 0, (0, 1, 2, 7), 9.0),
        ),
        ('{"op":"end","job":"12","at_s":9}', EndJob(12, 9.0)),
        (
            '{"op":"set","job":12,"gpus":"1","clock_mhz":1095,"ttl_s":2}',
            SetGpus(12, (1,), Setting(clock_mhz=1095), 2.0),
        ),
        (
            '{"op":"set","job":12,"gpus":"1","power_limit_w":300,"ttl_s":2.5}',
            SetGpus(12, (1,), Setting(power_limit_w=300.0), 2.5),
        ),
        ('{"op":"release","job":12}', Release(12)),
        ('{"op":"ping"}', Ping()),
    ],
)
def test_understood(line: str, request_: object) -> None:
    assert parse_request(line.encode()) == request_


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "not a line of JSON"),
        (b"[" * 4000, "not a line of JSON"),
        (b"\xff\xfe", "not a line of JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"op":"reboot"}', "op: allowed are begin, end, set, release, ping"),
        (b'{"op":"end","job":1}', "at_s: wanted a number"),
        (b'{"op":"end"}', "job: wanted a whole number from 1"),
        (b'{"op":"end","job":0}', "job: wanted"),
        (b'{"op":"end","job":true}', "job: wanted"),
        (b'{"op":"end","job":"1;rm"}', "job: wanted"),
        (b'{"op":"begin","job":1,"uid":1,"gpus":""}', "gpus: wanted"),
        (b'{"op":"begin","job":1,"uid":1,"gpus":"a"}', "gpus: wanted"),
        (b'{"op":"begin","job":1,"uid":1,"gpus":[0]}', "gpus: wanted"),
        (b'{"op":"begin","job":1,"uid":1,"gpus":"0%s"}' % (b",0" * 512), "gpus: wanted"),
        ('{"op":"end","job":"\u00b2"}'.encode(), "job: wanted"),
        (b'{"op":"end","job":"%s"}' % (b"9" * 5000), "job: wanted"),
        (b'{"op":"set","job":1,"gpus":"0","ttl_s":2}', "wanted clock_mhz, power_limit_w or both"),
        (b'{"op":"set","job":1,"gpus":"0","clock_mhz":1e3,"ttl_s":2}', "clock_mhz: wanted"),
        (b'{"op":"set","job":1,"gpus":"0","clock_mhz":900,"ttl_s":NaN}', "ttl_s: wanted"),
        (b'{"op":"set","job":1,"gpus":"0","clock_mhz":900,"ttl_s":1e9}', "ttl_s: wanted"),
        (
            b'{"op":"set","job":1,"gpus":"0","clock_mhz":9,"ttl_s":1%s}' % (b"0" * 400),
            "ttl_s: wanted",
        ),
        (
            b'{"op":"set","job":1,"gpus":"0","clock_mhz":900}',
            "ttl_s: wanted a number from 0.2 to 60",
        ),
    ],
)
def test_refused(line: bytes, words: str) -> None:
    with pytest.raises(BadInputError) as error:
        parse_request(line)

    assert words in str(error.value)
    assert "\n" not in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@given(
    st.binary(max_size=100)
    | st.fixed_dictionaries(
        {"op": st.sampled_from(["begin", "end", "set", "release"])},
        optional=dict.fromkeys(("job", "uid", "gpus", "clock_mhz", "power_limit_w", "ttl_s"), JSON),
    ).map(lambda values: json.dumps(values).encode())
)
def test_nothing_else_comes_of_garbage(line: bytes) -> None:
    try:
        parse_request(line)
    except BadInputError:
        pass
