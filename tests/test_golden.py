"""
Each `golden/**/*.tnn` says on its first line what to run, and ends in what comes out.

    // RUN: fold-bn
    // @mean = [0.5, 2]
    // @w *= [[[[1]]], [[[0]]]]
    graph @g(...) { ... }
    // ---
    graph @g(...) { ... }

A constant whose digest is written as underscores gets seeded random contents; a line `// @name =`
gives them (broadcast to the shape), `// @name *=` multiplies the random ones. Results show no
digests, so that no golden depends on computed floats. Where every pass of the pipeline declares
to keep values, the source and the result are also run on random inputs and compared. After a second
line `// CALIBRATION: 40` passes get so many random samples.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import Array, Blob, DType, Graph, parse_graph, print_graph
from tinycc_nn.ir.text import graph_blobs
from tinycc_nn.ops import verify
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run

GOLDEN = Path(__file__).parent / "golden"
MARK = "// ---\n"
UNKNOWN = "_" * 16
CONST = re.compile(rf"const @([^#\s]+)#{UNKNOWN} : (\w+)\[([\d,]*)\]")
SCALE = re.compile(rf"\w+\[([\d,]*)\] q\(@([^#\s]+)#{UNKNOWN}, [-\d]+, axis=(\d)")
SAMPLES = re.compile(r"^// CALIBRATION: (\d+)$", re.MULTILINE)
GIVEN = re.compile(r"^// @(\S+) (\*?=) (.*)$", re.MULTILINE)


def random_array(name: str, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Contents that depend on the name alone; positive for scales and variances."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if dtype.is_float:
        a = random.standard_normal(shape).astype(np.float32)
        return np.abs(a) + np.float32(0.1) if re.search("var|scale|gamma", name) else a
    high = 1000 if dtype.bits > 8 else 127
    return random.integers(-high, high, shape, endpoint=True).astype(dtype.numpy)


def constants(source: str) -> tuple[str, dict[str, Blob]]:
    """The source with digests in place of underscores, and the arrays by digest."""
    given = {name: (sign, json.loads(data)) for name, sign, data in GIVEN.findall(source)}
    blobs: dict[str, Blob] = {}

    def blob(name: str, dtype: DType, dims: str) -> str:
        shape = tuple(int(d) for d in dims.split(",") if d)
        array = random_array(name, dtype, shape)
        sign, data = given.get(name, ("*=", 1))
        data = np.broadcast_to(np.array(data, dtype.numpy), shape)
        found = Blob(name, data if sign == "=" else array * data)
        blobs[found.digest] = found
        return str(found)

    def const(m: re.Match[str]) -> str:
        return f"const {blob(m[1], DType.parse(m[2]), m[3])} : {m[2]}[{m[3]}]"

    def scale(m: re.Match[str]) -> str:
        size = m[1].split(",")[int(m[3])]
        return m[0].replace(f"@{m[2]}#{UNKNOWN}", blob(m[2], DType("f32"), size))

    return SCALE.sub(scale, CONST.sub(const, source)), blobs


def random_inputs(graph: Graph, n: int = 5) -> dict[str, Array]:
    return {v.name: random_array(v.name, v.type.dtype, (n, *v.type.shape)) for v in graph.inputs}


def context_of(source: str, graph: Graph) -> Context:
    """With calibration data, if the source asks for it."""
    samples = SAMPLES.search(source)
    return Context(random_inputs(graph, int(samples[1])) if samples else {})


def assert_same_values(before: Graph, after: Graph) -> None:
    inputs = random_inputs(before)
    for a, b in zip(run(before, inputs), run(after, inputs), strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(b, a)


def outcome(source: str, file: str) -> str:
    """What the file's pipeline makes of its graph: a graph, or a diagnostic as comments."""
    command = source.splitlines()[0].removeprefix("// RUN:").strip()
    try:
        text, blobs = constants(source)
        graph = parse_graph(text, blobs, file)
        verify(graph)
        pipeline = parse_pipeline(command)
        if any(p.needs_torch for p in pipeline):
            pytest.importorskip("torch", reason="needs PyTorch: the extra train")
        out = run_pipeline(graph, pipeline, context_of(source, graph))
    except TinyccError as e:
        return "".join(f"// {line}\n" for line in str(e).splitlines())
    if all(p.keeps_values for p in pipeline):
        assert_same_values(graph, out)
    shown = print_graph(out)
    assert print_graph(parse_graph(shown, graph_blobs(out))) == shown
    return re.sub(r"#[0-9a-f]{16}", f"#{UNKNOWN}", shown)


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.rglob("*.tnn")), ids=lambda p: p.relative_to(GOLDEN).as_posix()
)
def test_golden(path: Path, update_golden: bool) -> None:
    source, _, expected = path.read_text(encoding="utf-8").partition(MARK)
    actual = outcome(source, path.name)
    if update_golden:
        path.write_text(source + MARK + actual, encoding="utf-8")
    else:
        assert actual == expected, f"rerun with --update-golden if {path.name} should change"
