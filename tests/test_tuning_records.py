"""What identifies a measurement, how measurements are kept, and what is concluded from them."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.small_networks import chain
from tinycc_nn.backends.tvm.kernel import Kernel, candidates, families
from tinycc_nn.backends.tvm.tuning.database import SHIPPED, Cost, Database, record_names
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.records import (
    Record,
    RecordFile,
    Setting,
    parse_lines,
    read_records,
    to_lines,
)
from tinycc_nn.backends.tvm.tuning.version import family_version
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target

M4 = Setting("cortex-m4", "gcc-12", "O2")
CONV = "conv2d i8[1,6,6,4] i8c[8,3,3,4] i32c[8] -> i8[1,6,6,8] {pad=[1x1x1x1], per-channel}"
VERSION = family_version("gemm")


def key(graph: Graph) -> LayerKey:
    return LayerKey.of(steps(graph)[0])


def record(
    kernel: str = "a",
    cycles: int = 1000,
    estimate: float = 500.0,
    *,
    layer: str = CONV,
    version: str = VERSION,
    setting: Setting = M4,
) -> Record:
    return Record(setting, LayerKey(layer), kernel, version, cycles, cycles // 2, 123, estimate)


def kernel(name: str = "a", cycles: float = 100.0) -> Kernel:
    def code() -> None:
        raise AssertionError("nothing is emitted here")

    return Kernel(name, code, 10, 20, cycles, family="gemm")  # type: ignore[arg-type]


def cost(database: Database, k: Kernel, setting: Setting = M4, layer: str = CONV) -> Cost:
    return database.cost(setting, LayerKey(layer), k.name, k)


def test_the_key_is_what_it_was() -> None:
    assert key(chain(4, 8)).text == CONV


def test_values_are_not_in_the_key() -> None:
    assert key(chain(4, 8, seed=1, zero=3)) == key(chain(4, 8))


def test_what_costs_is_in_the_key() -> None:
    different = [
        chain(4, 8), chain(4, 7), chain(3, 8), chain(4, 8, size=7), chain(4, 8, kernel=5),
        chain(4, 8, zero=0, act="relu"),
    ]  # fmt: skip
    assert len({key(g) for g in different}) == len(different)
    assert key(chain(4, 8, act="relu")) == key(chain(4, 8)), "it clips nothing at zero point -128"


def test_the_core_is_named_with_what_is_unusual() -> None:
    m33 = Target.for_cpu("cortex-m33")
    assert core_name(m33) == "cortex-m33"
    assert core_name(replace(m33, dsp=False, fpu="none")) == "cortex-m33+nodsp+nofp"


def test_distances() -> None:
    near, far = key(chain(4, 8, size=7)), key(chain(16, 32, size=24))
    here = key(chain(4, 8))
    assert here.distance(here) == 0
    assert 0 < here.distance(near) == near.distance(here) < here.distance(far) < inf
    assert here.distance(LayerKey("dense i8[1,4] i8c[2,4] i32c[2] -> i8[1,2] {}")) == inf


def test_every_family_has_a_version_of_its_own() -> None:
    versions = {name: family_version(name) for name, _ in families()}
    assert len(set(versions.values())) == len(versions)


def test_kernels_of_the_same_name_have_different_names_in_records() -> None:
    assert record_names([kernel("a"), kernel("b"), kernel("a")]) == ["a", "b", "a#2"]


RECORDS = st.builds(
    Record,
    st.builds(Setting, *[st.text(min_size=1)] * 3),
    st.builds(LayerKey, st.text()),
    st.text(),
    st.text(alphabet="0123456789abcdef"),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**20),
    st.integers(0, 2**40).map(lambda n: n / 2),
)


@settings(deadline=None)
@given(st.lists(RECORDS, unique_by=lambda r: (r.setting, r.layer, r.kernel)))
def test_lines_of_records_are_read_back(records: list[Record]) -> None:
    lines = to_lines(records)
    assert all("\n" not in line for line in lines)
    assert set(parse_lines(lines)) == set(records)


@given(st.text())
def test_any_line_is_read(line: str) -> None:
    assert list(parse_lines([line, *to_lines([record()])])) == [record()]


def test_a_line_that_was_cut_off_is_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cortex-m4.jsonl"
    file = RecordFile(path)
    for i in range(3):
        file.append(record(f"k{i}"))
    path.write_bytes(path.read_bytes()[:-30])
    file.append(record("k3"))
    assert [r.kernel for r in read_records(path)] == ["k0", "k1", "k3"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TinyccError, match="can't keep a measurement") as e:
        RecordFile(tmp_path / "file" / "x.jsonl").append(record())
    assert str(tmp_path) in str(e.value)


def test_a_measurement_counts_more_than_an_estimate() -> None:
    database = Database([record(cycles=1000)])
    assert cost(database, kernel(cycles=3)) == Cost(1000, 123, "tuned")
    assert cost(Database([]), kernel(cycles=3)) == Cost(3, 20, "estimated")


def test_the_last_measurement_counts() -> None:
    assert cost(Database([record(cycles=9), record(cycles=7)]), kernel()).cycles == 7


def test_a_stale_record_is_ignored() -> None:
    database = Database([record(version="0" * 12)])
    assert cost(database, kernel()) == Cost(100, 20, "estimated")


def test_the_estimate_is_scaled_by_the_nearest_layer() -> None:
    other, farther = key(chain(4, 8, size=7)).text, key(chain(4, 8, size=24)).text
    database = Database([
        record(cycles=1500, estimate=500, layer=other),
        record(cycles=5000, estimate=500, layer=farther),
    ])  # fmt: skip
    assert cost(database, kernel(cycles=100)) == Cost(300, 123, "near")
    assert cost(database, kernel(cycles=100), layer=farther).basis == "tuned"


def test_where_values_matter_code_is_as_large_as_estimated() -> None:
    database = Database([record(cycles=1500, estimate=500)])
    few = replace(kernel(cycles=100), facts=("nonzero=5",))
    assert cost(database, few) == Cost(300, 20, "near")


def test_another_kernel_of_the_family_corrects_where_no_layer_is_nearer() -> None:
    far = key(chain(16, 64, size=24)).text
    database = Database([record("b", 2000, 500), record("a", 500, 500, layer=far)])
    assert cost(database, kernel("a", 100)) == Cost(400, 20, "near")


@pytest.mark.parametrize(
    "setting", [Setting("cortex-m4", "gcc-13", "O2"), Setting("cortex-m4", "zig-20", "O2")]
)
def test_the_right_compiler_and_level_come_first(setting: Setting) -> None:
    other_level = Setting("cortex-m4", "gcc-12", "O3")
    database = Database([record(cycles=5000, setting=setting), record(setting=other_level)])
    assert cost(database, kernel()) == Cost(200, 123, "near")
    assert cost(database, kernel(), setting).basis == "tuned"


def test_the_order_of_appending_does_not_matter(tmp_path: Path) -> None:
    others = [key(chain(4, 8, size=5)).text, key(chain(4, 8, size=7)).text]
    found = [record(k, 600 + 50 * i, layer=o) for i, o in enumerate(others) for k in "ab"]
    costs = set()
    for i, records in enumerate((found, found[::-1])):
        for r in records:
            RecordFile(tmp_path / str(i) / "cortex-m0.jsonl").append(r)
        database = Database.load(Target.for_cpu("cortex-m0"), tmp_path / str(i))
        costs.add(cost(database, kernel("c")))
    assert len(costs) == 1


def test_what_ships_is_small_and_is_read() -> None:
    for path in SHIPPED.glob("*.jsonl"):
        assert path.stat().st_size < 400_000
        assert len(list(parse_lines(path.read_text().splitlines()))) > 0


def test_candidates_say_their_family() -> None:
    op = steps(chain(4, 8))[0]
    known = {name for name, _ in families()}
    assert {k.family for k in candidates(op, Target.for_cpu("cortex-m4"))} <= known
