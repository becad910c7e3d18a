# SPDX-License-Identifier: Apache-2.0
"""A profile's directory: what comes back, what is refused and where, and whole or not at all."""

import profile_cases
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling import files, table
from profiling.errors import ProfileError
from profiling.files import read_profile, write_profile
from profiling.profile import (
    Engine,
    Gpu,
    InferencePoint,
    Profile,
    Provenance,
    TrainingPoint,
    assumed_gpu,
)
from profiling.table import COUNT, NUMBER, Column

HEAD = """provenance = "simulated"
driver = "1 emulated"  # ours

[gpu]
idle_w = 50
clocks = [1410, 855]

[engine]
max_num_seqs = 64
"""
INFERENCE = """phase,batch,context_tokens,clock_mhz,latency_s,power_w
decode,1,512,855,0.02,200

prefill,1,512,855,0.2,300
"""
TRAINING = "workers,gpus_per_worker,clock_mhz,rate,power_w,note\n2,1,855,1.5,400,x\n"

amounts = st.floats(1e-6, 1e6).map(lambda one: float(f"{one:.9g}"))
maybe = st.none() | amounts
maybe_nothing = maybe | st.just(0.0)
clocks = st.floats(10, 10_000).map(lambda one: float(f"{one:.9g}"))
watts = st.none() | st.floats(1e-6, 10_000).map(lambda one: float(f"{one:.9g}"))
texts = st.none() | st.text(max_size=20).filter(lambda one: "\r" not in one)


@st.composite
def profiles(draw):
    inference = draw(
        st.lists(
            st.builds(
                InferencePoint,
                phase=st.sampled_from(["prefill", "decode"]),
                batch=st.integers(1, 512),
                context_tokens=st.none() | st.integers(0, 10**6),
                clock_mhz=st.none() | clocks,
                latency_s=amounts,
                power_w=watts,
                tp=st.integers(1, 8),
                n=st.none() | st.integers(1, 9),
                ci95_latency_s=maybe,
                ci95_power_w=maybe,
                power_cap_w=maybe,
            ),
            max_size=5,
            unique_by=lambda one: one.key,
        )
    )
    training = draw(
        st.lists(
            st.builds(
                TrainingPoint,
                workers=st.integers(1, 64),
                gpus_per_worker=st.integers(1, 8),
                clock_mhz=st.none() | clocks,
                rate=amounts,
                power_w=watts,
                ci95_rate=maybe,
            ),
            min_size=0 if inference else 1,
            max_size=5,
            unique_by=lambda one: one.key,
        )
    )
    return Profile(
        provenance=draw(st.sampled_from([Provenance.SIMULATED, Provenance.PUBLISHED])),
        fitted=draw(st.booleans()),
        gpu_name=draw(texts),
        driver=draw(texts),
        engine_name=draw(texts),
        source=draw(texts),
        gpu=Gpu(
            idle_w=draw(maybe_nothing),
            parked_w=draw(maybe_nothing),
            switch_latency_s=draw(maybe_nothing),
            clocks=tuple(sorted(draw(st.sets(clocks, max_size=4)))),
        ),
        engine=Engine(kv_tokens=draw(st.none() | st.integers(1, 10**7))),
        inference=tuple(inference),
        training=tuple(training),
    )


@pytest.mark.slow
@given(profiles())
def test_what_is_written_is_read(tmp_path_factory, made):
    path = tmp_path_factory.mktemp("one") / "profile"
    write_profile(path, made)
    assert read_profile(path) == made


@pytest.fixture
def place(tmp_path):
    """A good profile, its files to be spoilt."""
    path = tmp_path / "p"
    path.mkdir()
    for name, text in (
        ("profile.toml", HEAD), ("inference.csv", INFERENCE), ("training.csv", TRAINING),
    ):  # fmt: skip
        (path / name).write_text(text)
    return path


def test_extra_columns_keys_and_blank_lines_are_ignored(place):
    (place / "profile.toml").write_text('color = "red"\n' + HEAD + "[else]\nx = 1\n")
    found = read_profile(place)
    assert (len(found.inference), len(found.training)) == (2, 1)
    assert found.gpu.clocks == (855.0, 1410.0)
    assert found.inference[0].tp == 1
    assert found.engine.max_num_seqs == 64


def test_a_gpu_may_idle_at_nothing_and_switch_in_no_time(place):
    nothing = "idle_w = 0\nparked_w = 0\nswitch_latency_s = 0.0"
    (place / "profile.toml").write_text(HEAD.replace("idle_w = 50", nothing))
    filled, assumed = assumed_gpu(read_profile(place))
    assert (filled.idle_w, filled.parked_w, filled.switch_latency_s) == (0, 0, 0)
    assert assumed == ()


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        ("profile.toml", '"simulated"', '"guessed"',
         "line 1: provenance: 'guessed' is not allowed; wanted one of measured, simul"),
        ("profile.toml", 'provenance = "simulated"', "", "provenance: is missing; wanted one of"),
        ("profile.toml", '"simulated"', '"measured"', "provenance measured with driver"),
        ("profile.toml", "idle_w = 50", "idle_w = -1", "line 5: [gpu] idle_w: -1 is not allowed"),
        ("profile.toml", "idle_w = 50", f"idle_w = 1{400 * '0'}", "line 5: [gpu] idle_w: 1000"),
        ("profile.toml", "idle_w = 50", f"idle_w = 1{5000 * '0'}", "not TOML: Exceeds"),
        ("profile.toml", "idle_w = 50", 'idle_w = "x"', "line 5: [gpu] idle_w: 'x' is no number"),
        ("profile.toml", "[1410, 855]", "855", "line 6: [gpu] clocks: 855 is not allowed; wa"),
        ("profile.toml", "[1410, 855]", "[0]", "line 6: [gpu] clocks: 0 is not allowed"),
        ("profile.toml", "[1410, 855]", "[1.41, 0.855]",
         "line 6: [gpu] clocks: 0.855 is not allowed; wanted numbers of MHz from 10 to 10000"),
        ("profile.toml", "= 64", "= 6.5", "line 9: [engine] max_num_seqs: 6.5 is not"),
        ("profile.toml", "= 64", "= 0", "line 9: [engine] max_num_seqs: 0 is not"),
        ("profile.toml", "= 64", "= 1", None),
        ("profile.toml", "[engine]", "[engine", "not TOML: Expected ']'"),
        ("profile.toml", "# ours", "\xff", "not UTF-8"),
        ("profile.toml", '"1 emulated"', "[1]", "line 2: driver: wanted a text"),
        ("profile.toml", "[gpu]\nidle_w = 50\nclocks = [1410, 855]", "", None),
        ("profile.toml", "[gpu]\nidle_w = 50\nclocks = [1410, 855]", "gpu = 5",
         "line 4: gpu: wanted a table [gpu]"),
        ("inference.csv", "prefill", "warmup",
         "line 4: column phase: 'warmup'; wanted prefill or decode"),
        ("inference.csv", "decode,1,", "decode,0,",
         "line 2: column batch: 0 is not allowed; wanted a whole number from 1"),
        ("inference.csv", "decode,1,512", "decode,1,5.5", "line 2: column context_tokens: 5.5 is"),
        ("inference.csv", "0.02", "fast", "line 2: column latency_s: 'fast' is no number"),
        ("inference.csv", "0.02", "", "line 2: column latency_s: is empty; wanted a number"),
        ("inference.csv", "0.02", "nan", "line 2: column latency_s: nan is not allowed"),
        ("inference.csv", ",200", ",0", "line 2: column power_w: 0 is not allowed"),
        ("inference.csv", ",200", "", "line 2: column power_w: 5 cells where the header has 6"),
        ("inference.csv", ",200", ",200,0", "line 2: column 7: 7 cells where the header has 6"),
        ("inference.csv", "prefill,1,512,855,0.2", "decode,1,512,855,0.2",
         "line 4: the same setting as line 2; leave one out"),
        ("inference.csv", "clock_mhz,", "clock,", "line 1: no column clock_mhz in the header"),
        ("inference.csv", "power_w", "batch", "line 1: no column power_w"),
        ("inference.csv", "power_w\n", "power_w,power_w\n", "line 1: column power_w is there"),
        ("inference.csv", "decode", '"decode', "line 2: not CSV"),
        ("inference.csv", "0.2,", "0.2\xff,", "line 4: not UTF-8 text; save it as UTF-8"),
        ("inference.csv", INFERENCE, "\n", "is empty; wanted a header line phase,batch"),
        ("training.csv", "2,1,855", "2,1,-5", "line 2: column clock_mhz: -5 is not allowed"),
        ("training.csv", "2,1,855", "2,1,0.855",
         "line 2: column clock_mhz: 0.855 is not allowed; wanted a number of MHz from 10 to 10000"),
        ("training.csv", "2,1,855", "2,1,855000", "line 2: column clock_mhz: 855000 is not allo"),
        ("training.csv", ",400,", ",20001,",
         "line 2: column power_w: 20001 is not allowed for 2 GPU; wanted a number of W up to"),
        ("training.csv", "2,1,855,1.5,400,", "2,4,855,1.5,80000,", None),
        ("inference.csv", ",200", ",200000", "line 2: column power_w: 200000 is not allowed for 1"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_column(place, name, old, new, said):
    file = place / name
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new, 1).encode("latin-1"))
    if said is None:
        read_profile(place)
        return
    with pytest.raises(ProfileError) as error:
        read_profile(place)
    assert f"{file}: {said}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "asked, cell, said",
    [
        ({}, "-1", "-1 is not allowed; wanted a number above 0, or nothing where it is not known"),
        (
            {"zero": True},
            "-1",
            "-1 is not allowed; wanted a number from 0, or nothing where it is not known",
        ),
        ({"needed": True}, "0", "0 is not allowed; wanted a number above 0"),
        ({"needed": True, "most": 10}, "11", "11 is not allowed; wanted a number above 0 to 10"),
        (
            {"needed": True, "least": 5, "unit": "W"},
            "4",
            "4 is not allowed; wanted a number of W from 5",
        ),
        ({"needed": True, "signed": True}, "x", "'x' is no number; wanted a number"),
        ({"needed": True}, "1_000", "'1_000' is no number; wanted a number above 0"),
        ({"needed": True, "signed": True}, "-1e16", "-1e16 is not allowed; wanted a number"),
        (
            {"needed": True, "kind": COUNT},
            "1.5",
            "1.5 is not allowed; wanted a whole number from 1",
        ),
        (
            {"needed": True, "kind": COUNT, "zero": True},
            "",
            "is empty; wanted a whole number from 0",
        ),
        ({"kind": "word", "words": ("a", "b")}, "c", "'c'; wanted a or b"),
    ],
)
def test_a_refused_cell_says_what_is_allowed(asked, cell, said):
    with pytest.raises(ProfileError) as error:
        Column(**{"name": "x", "kind": NUMBER, **asked}).read(cell)
    assert str(error.value) == said


@pytest.mark.parametrize(
    "asked, cell, value",
    [
        ({}, " ", None), ({"default": 3}, "", 3), ({"zero": True}, "0", 0.0),
        ({"least": 5, "most": 6}, "5", 5.0), ({"least": 5, "most": 6}, "6", 6.0),
        ({"signed": True}, "-5", -5.0), ({"kind": COUNT}, " 1 ", 1),
        ({"kind": COUNT, "zero": True}, "0", 0),
    ],
)  # fmt: skip
def test_a_cell_s_value(asked, cell, value):
    assert Column(**{"name": "x", "kind": NUMBER, **asked}).read(cell) == value


def test_no_profile_is_that_long(place, monkeypatch):
    monkeypatch.setattr(table, "_MAX_BYTES", 2**20)
    text = INFERENCE + "\n" * (2**20 - len(INFERENCE))
    (place / "inference.csv").write_text(text)
    assert len(read_profile(place).inference) == 2
    (place / "inference.csv").write_text(text + "\n")
    with pytest.raises(ProfileError, match=r"inference\.csv: larger than 1 MiB"):
        read_profile(place)


def test_a_profile_needs_points_and_a_head(place):
    (place / "inference.csv").unlink()
    read_profile(place)
    (place / "training.csv").write_text(TRAINING.splitlines()[0] + "\n")
    with pytest.raises(ProfileError, match="holds no point"):
        read_profile(place)
    (place / "training.csv").write_text(TRAINING)
    (place / "profile.toml").unlink()
    with pytest.raises(ProfileError, match=r"profile\.toml: no such file"):
        read_profile(place)
    with pytest.raises(ProfileError, match="no such directory; wanted a profile"):
        read_profile(place / "none")
    with pytest.raises(ProfileError, match="is no directory"):
        read_profile(place / "training.csv")


def test_a_profile_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    made = profile_cases.profile(batches=(1,), contexts=(512,))

    def fails(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(ProfileError, match="cannot be written: No space left"):
        write_profile(tmp_path / "new", made)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_left_alone(tmp_path):
    made = profile_cases.profile(batches=(1,), contexts=(512,))
    (tmp_path / "empty").mkdir()
    write_profile(tmp_path / "empty", made, {"fit.json": "{}\n"})
    assert (tmp_path / "empty" / "fit.json").read_text() == "{}\n"
    (tmp_path / "file").write_text("mine")
    for name in ("empty", "file"):
        with pytest.raises(ProfileError, match="is there already; name a new directory"):
            write_profile(tmp_path / name, made)
    assert (tmp_path / "file").read_text() == "mine"


def test_the_contracts_columns_come_first():
    assert files._NEEDED == {
        "inference.csv": ("phase", "batch", "context_tokens", "clock_mhz", "latency_s", "power_w"),
        "training.csv": ("workers", "gpus_per_worker", "clock_mhz", "rate", "power_w"),
    }
