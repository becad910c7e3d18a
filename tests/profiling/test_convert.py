# SPDX-License-Identifier: Apache-2.0
"""Published tables as profiles: small ones of each kind, and the real ones where they are."""

import lzma
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from profiling.convert import chosen, convert, missing
from profiling.convert_plain import Formula, plain
from profiling.convert_sources import SOURCES
from profiling.errors import ProfileError
from profiling.profile import Provenance
from profiling.table import read_rows

DATA = Path(os.environ.get("SLURM_GREEN_DATA") or Path(__file__).parents[3] / "shared" / "data")
real = pytest.mark.skipif(
    not (DATA / "perseus_sosp24").is_dir(),
    reason=f"the published tables are not in {DATA}; set SLURM_GREEN_DATA",
)
PERSEUS = """stage,instruction,frequency,time,energy
0,forward,1410,0.05,20
0,forward,1200,0.06,18
0,backward,1410,0.1,50
"""


def rows(text, **where):
    return chosen(read_rows(text.encode(), Path("t.csv"), ()), where)


def table(kind, **cells):
    names = SOURCES[kind].columns
    return rows(",".join(f'"{one}"' for one in names) + "\n" + ",".join(
        str(cells.get(one, 1)) for one in names
    ) + "\n")  # fmt: skip


def test_perseus():
    made = convert(SOURCES["perseus"], rows(PERSEUS, stage="0", instruction="forward"))
    assert made.provenance is Provenance.PUBLISHED
    assert "Perseus" in made.source
    assert (made.model, made.inference) == ("stage 0, forward", ())
    first, second = made.training
    assert (first.workers, first.gpus_per_worker) == (1, 1)
    assert (first.clock_mhz, first.rate, first.power_w) == (1410, pytest.approx(20), 400)
    assert (second.clock_mhz, second.power_w) == (1200, pytest.approx(300))
    assert (made.gpu_name, first.n) == (None, None)


def test_runs_that_differ_are_never_mixed():
    with pytest.raises(
        ProfileError, match=r"instruction is 'backward', 'forward'; choose one with --where instr"
    ):
        convert(SOURCES["perseus"], rows(PERSEUS))


def test_two_runs_of_one_setting_are_not_averaged():
    """ML.ENERGY v3 has such: 255.7 and 255.8 sequences on average, 955 and 1093 W."""
    again = PERSEUS + "0,forward,1410.0,0.07,21\n"
    with pytest.raises(ProfileError, match=r"t\.csv: lines 2 and 5 are two runs of one setting"):
        convert(SOURCES["perseus"], rows(again, stage="0", instruction="forward"))


@pytest.mark.parametrize("count", [2, 5, 13, 40])
def test_the_interval_of_repeats_is_student_s(count):
    values = [50.0 + at % 3 for at in range(count)]
    source = plain({"rate": "tps"}, {"workers": "1"}, ["tps"])
    text = "tps\n" + "".join(f"{one}\n" for one in values)
    (point,) = convert(source, rows(text), cites="x").training
    assert (point.rate, point.n) == (pytest.approx(np.mean(values)), count)
    low, high = stats.t.interval(0.95, count - 1, loc=point.rate, scale=stats.sem(values))
    assert point.ci95_rate == pytest.approx((high - low) / 2)


def test_zeus_has_caps_and_no_clocks():
    made = convert(
        SOURCES["zeus"], table("zeus", network="bert", power_limit=150, time_per_epoch=50)
    )
    (point,) = made.training
    assert (point.power_cap_w, point.clock_mhz, point.rate, point.power_w) == (150, None, 0.02, 1)
    assert point.workers == 1
    assert made.model.startswith("bert")
    assert "clock_mhz" in missing(made)
    assert "power_w" not in missing(made)


def test_mlenergy_v3_has_neither_clock_nor_context():
    made = convert(
        SOURCES["mlenergy-v3"],
        table("mlenergy-v3", avg_batch_size=7.93, median_itl_ms=7.5, avg_power_watts=760,
              num_gpus=2, model_id="Qwen/Qwen3-14B", gpu_model="H100"),
    )  # fmt: skip
    (point,) = made.inference
    assert made.training == ()
    assert (point.phase, point.batch, point.tp) == ("decode", 8, 2)
    assert (point.latency_s, point.power_w) == (pytest.approx(0.0075), 760)
    assert (point.clock_mhz, point.context_tokens) == (None, None)
    assert (made.gpu_name, made.model, made.engine_name) == ("H100", "Qwen/Qwen3-14B", "vLLM")
    assert {"context_tokens", "clock_mhz", "gpu.idle_w", "engine.kv_tokens"} <= set(missing(made))


def test_a_batch_below_one_half_is_one():
    cells = {"avg_batch_size": 0.3, "Avg BS (reqs)": 0.3}
    for kind in ("mlenergy-v2", "mlenergy-v3"):
        assert convert(SOURCES[kind], table(kind, **cells)).inference[0].batch == 1


def test_mlenergy_v2_power_is_energy_times_requests():
    cells = {
        "Energy/req (J)": 200,
        "Token tput (tok/s)": 1000,
        "Avg Output Tokens": 400,
        "Avg TPOT (s)": 0.1,
        "Avg BS (reqs)": 127.7,
        "TP": 4,
    }
    (point,) = convert(SOURCES["mlenergy-v2"], table("mlenergy-v2", **cells)).inference
    assert (point.batch, point.tp, point.power_w) == (128, 4, pytest.approx(500))
    with pytest.raises(ProfileError, match=r"t\.csv: line 2: column PP: a pipeline of 2"):
        convert(SOURCES["mlenergy-v2"], table("mlenergy-v2", **cells, PP=2))


def test_splitwise_repeats_are_averaged_and_its_watts_are_not_known():
    text = (
        "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n"
    )
    text += "m,a,512,1,128,100,50,2\nm,a,512,1,128,110,50,2\n"
    prefill, decode = convert(SOURCES["splitwise"], rows(text)).inference
    assert (prefill.latency_s, prefill.n, prefill.tp) == (pytest.approx(0.105), 2, 2)
    assert prefill.ci95_latency_s == pytest.approx(12.71 * 0.005, rel=1e-3)
    assert (decode.context_tokens, decode.ci95_latency_s, decode.power_w) == (576, 0, None)
    assert decode.latency_s == pytest.approx(0.05)


def test_a_bad_cell_is_named():
    with pytest.raises(ProfileError, match=r"t\.csv: line 3: column time: 'x' is no number"):
        convert(SOURCES["perseus"], rows(PERSEUS.replace("0.06", "x"), instruction="forward"))


@pytest.mark.parametrize("between", [";", "\t"])
def test_a_table_without_commas_is_told_so(between):
    """As a spreadsheet saves it where numbers have decimal commas."""
    with pytest.raises(ProfileError, match=r"t\.csv: line 1: one column, .*; save it with commas"):
        rows(PERSEUS.replace(",", between).replace(".", ","))


def test_rows_are_chosen_by_text_or_number():
    assert len(rows("what;else,frequency\n1,1410\n2,900\n", frequency="1410.0")) == 1
    assert len(rows(PERSEUS, frequency="1410.0")) == 2
    with pytest.raises(ProfileError, match="no row is as wanted; frequency is '1200', '1410'"):
        rows(PERSEUS, frequency="900")
    with pytest.raises(ProfileError, match="no column 'gpu'; it has stage, instruction"):
        rows(PERSEUS, gpu="A100")
    with pytest.raises(ProfileError, match="the table has no row"):
        rows(PERSEUS.splitlines()[0] + "\n")


def test_a_plain_table_is_mapped():
    text = "cap,tps,W\n300,50,290\n250,40,240\n"
    header = ["cap", "tps", "W"]
    names = {"power_cap_w": "cap", "latency_s": "1/tps", "power_w": "W*2"}
    source = plain(names, {"phase": "decode", "batch": "1"}, header)
    made = convert(source, rows(text), cites="a blog")
    assert [(one.power_cap_w, one.latency_s, one.power_w) for one in made.inference] == [
        (300, 0.02, 580), (250, 0.025, 480),
    ]  # fmt: skip
    assert made.source == "a blog"
    source = plain({"rate": "tps", "power_cap_w": "cap"}, {"workers": "2"}, header)
    assert [one.rate for one in convert(source, rows(text), cites="x").training] == [50, 40]


RUNS = """mem,sm,tps,who,note,W
405,300,28.6,a,,51.2
405,600,33.1,a,,61.7
810,300,31.9,a,,58.4
810,600,40.2,b,,70.1
"""


def plain_of(table, ignore=(), **where):
    header = table[0].cells
    names = {"clock_mhz": "sm", "rate": "tps"}
    source = plain(names, {"workers": "1"}, header, table=table, ignore=ignore)
    return convert(source, chosen(table, where), cites="x").training


def test_rows_that_differ_in_a_setting_nobody_mapped_are_no_repeats():
    table = rows(RUNS)
    with pytest.raises(ProfileError) as told:
        plain_of(table)
    assert str(told.value) == (
        "t.csv: lines 2 and 4 are of one setting and differ in mem, which is '405', '810'; say "
        "what it is with --map, choose one with --where mem=VALUE, or --ignore mem and they are "
        "averaged; rows differ in who, too"
    )
    assert [(one.rate, one.n) for one in plain_of(table, mem="405.0")] == [
        (28.6, None),
        (33.1, None),
    ]
    # What the whole table tells of a column holds for the rows that were chosen of it.
    with pytest.raises(ProfileError, match="differ in mem"):
        plain_of(table, sm="300")
    first, _ = plain_of(table, ignore=("mem", "who"))
    assert (first.rate, first.n) == (pytest.approx(30.25), 2)
    with pytest.raises(ProfileError, match="--ignore: no column 'memory' in the table"):
        plain_of(table, ignore=("memory",))


def test_what_has_the_fewest_values_most_likely_tells_runs_apart():
    hosts = RUNS.replace("who", "host").replace(",b,", ",c,").replace("33.1,a", "33.1,b")
    with pytest.raises(ProfileError, match=r"differ in mem, which .* rows differ in host, too"):
        plain_of(rows(hosts.replace("31.9,a", "31.9,d")))


def test_a_column_of_our_name_is_measured_and_no_setting():
    """Power in whole watts comes again; it needs no mapping, so nobody named it."""
    table = rows("clock_mhz,rate,power_w\n900,5,200\n900,5,201\n1200,6,\n1200,6.2,200\n")
    source = plain({}, {"workers": "1"}, table[0].cells, table=table)
    low, high = convert(source, table, cites="x").training
    assert (low.power_w, low.n) == (pytest.approx(200.5), 2)
    assert (high.power_w, high.ci95_power_w, high.n) == (200, None, 2)


def test_power_that_some_repeats_lack_has_no_interval():
    """An interval is read as one of n values; that of two of three would tell a wrong spread."""
    text = "clock_mhz,rate,power_w,ci95_power_w\n900,5,200,9\n900,5.1,210,9\n900,5.2,,\n"
    table = rows(text)
    source = plain({}, {"workers": "1"}, table[0].cells, table=table)
    (point,) = convert(source, table, cites="x").training
    assert (point.power_w, point.ci95_power_w, point.n) == (pytest.approx(205), None, 3)
    assert point.ci95_rate == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)


def test_what_is_known_is_not_missing():
    made = convert(SOURCES["perseus"], rows(PERSEUS, instruction="backward"))
    assert {"gpu_name", "driver", "dtype"} <= set(missing(made))
    assert not {"model", "source", "clock_mhz", "power_w", "context_tokens"} & set(missing(made))


def test_repeats_differ_in_what_was_measured():
    table = rows(RUNS.replace("810", "405.0").replace(",b,", ",a,").replace(",,", ",nan,"))
    assert [one.n for one in plain_of(table)] == [2, 2]


def test_a_plain_table_that_says_too_little_is_refused():
    with pytest.raises(ProfileError, match="nothing for column latency_s: name the table's column"):
        plain({}, {"phase": "decode", "batch": "1"}, ["W"])
    with pytest.raises(ProfileError, match="'watts' is no column of a profile"):
        plain({"watts": "W"}, {}, ["W"])
    with pytest.raises(ProfileError, match="no column 'V' in the table"):
        plain({"power_w": "V"}, {}, ["W"])
    with pytest.raises(ProfileError, match="does not say where it is from"):
        convert(plain({"rate": "W"}, {"workers": "1"}, ["W"]), rows("W\n1\n"))


@pytest.mark.parametrize(
    "text, found",
    [
        ("a", Formula(column="a")),
        ("a*0.001", Formula(column="a", factor=0.001)),
        ("1000 / a", Formula(column="a", factor=1000, inverse=True)),
        ("W/h", Formula(column="W/h")),
        ("W/h*2", Formula(column="W/h", factor=2)),
    ],
)
def test_formulas(text, found):
    assert Formula.read(text, ["a", "W/h"]) == found


@pytest.mark.parametrize(
    "text, said",
    [
        ("a*x", "with a number as FACTOR"),
        ("b/a", "with a number as FACTOR"),
        ("a*1_0", "with a number as FACTOR"),
        ("a+1", "no column 'a[+]1' in"),
    ],
)
def test_what_is_no_formula(text, said):
    with pytest.raises(ProfileError, match=said):
        Formula.read(text, ["a", "b"])


def test_a_cell_that_is_no_number_is_left_for_the_reader_to_refuse():
    source = plain({"rate": "1/tps"}, {"workers": "1"}, ["tps"])
    for cell in ("0", "x"):
        with pytest.raises(ProfileError, match=r"t\.csv: line 2: column rate"):
            convert(source, rows(f"tps\n{cell}\n"), cites="x")


def test_other_units_are_refused_before_a_profile_of_them_is_written():
    """GHz are no MHz, and NVML tells power in mW."""
    ghz = PERSEUS.replace("1410", "1.41").replace("1200", "1.2")
    with pytest.raises(
        ProfileError, match=r"line 2: column frequency: 1.41 is not allowed; wanted"
    ):
        convert(SOURCES["perseus"], rows(ghz, instruction="forward"))
    mj = PERSEUS.replace(",20\n", ",20000\n")
    with pytest.raises(ProfileError, match=r"line 2: column power_w: 400000 is not allowed"):
        convert(SOURCES["perseus"], rows(mj, instruction="forward"))
    names = {"clock_mhz": "sm", "rate": "tps", "power_w": "draw"}
    source = plain(names, {"workers": "1"}, ["sm", "tps", "draw"])
    with pytest.raises(ProfileError, match=r"line 2: column clock_mhz: 2.6 .* of MHz from 10 to 1"):
        convert(source, rows("sm,tps,draw\n2.6,5,300\n"), cites="x")
    with pytest.raises(ProfileError, match=r"line 2: column power_w: 300000 is not allowed"):
        convert(source, rows("sm,tps,draw\n2600,5,300000\n"), cites="x")


@real
@pytest.mark.parametrize(
    "kind, path, where, points",
    [
        ("perseus", "perseus_sosp24/stage_profile_gpt3-175b_a40.csv",
         {"stage": "7", "instruction": "backward"}, 60),
        ("zeus", "zeus_nsdi23/summary_power_v100.csv",
         {"network": "resnet50", "batch_size": "64"}, 7),
        ("mlenergy-v2", "mlenergy_v2/llm_chat_A100.csv.xz",
         {"Model": "google/gemma-2-9b-it", "TP": "2"}, 6),
        ("mlenergy-v3", "mlenergy_v3/llm_lm-arena-chat.csv.xz",
         {"model_id": "Qwen/Qwen3-14B", "gpu_model": "H100"}, 8),
        ("splitwise", "splitwise_perf/perf_model_llama2-70b.csv.xz",
         {"hardware": "h100-80gb"}, 96),
    ],
)  # fmt: skip
def test_real_tables(kind, path, where, points):
    data = (DATA / path).read_bytes()
    if path.endswith(".xz"):
        data = lzma.decompress(data)
    source = SOURCES[kind]
    made = convert(source, chosen(read_rows(data, Path(path), source.columns), where))
    assert len(made.inference) + len(made.training) == points
