"""Random networks from ONNX to the emulated core: onnxruntime, interpreter and C agree.

More seeds: python -m pytest --slow tests/test_end_to_end.py
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.support.onnx_models import onnxruntime_session
from tests.support.random_models import random_model
from tinycc_nn.accuracy import FLOAT_TOLERANCE, mismatches, stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.ir import Array, Graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.measure import run_samples
from tinycc_nn.onnx import read_model
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.target import Target

CORES = ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]
CALIBRATION, COMPARED = 12, 4
LOSSLESS = default_pipeline("O1", "float32")
Samples = dict[str, Array]


def read(seed: int) -> tuple[bytes, Graph, Samples]:
    model = random_model(seed)
    graph = read_model(model)
    draw = np.random.default_rng(seed).standard_normal
    return (
        model,
        graph,
        {v.name: draw((CALIBRATION, *v.type.shape)).astype(np.float32) for v in graph.inputs},
    )


def some(samples: Samples) -> Samples:
    return {name: a[:COMPARED] for name, a in samples.items()}


def by_onnxruntime(model: bytes, samples: Samples) -> list[Array]:
    """The outputs [samples, *shape], nothing fused."""
    session = onnxruntime_session(model)
    names = [i.name for i in session.get_inputs()]
    arrays = list(samples.values())
    rows = [
        session.run(None, {n: a[i] for n, a in zip(names, arrays, strict=True)})
        for i in range(len(arrays[0]))
    ]
    return [np.stack(column) for column in zip(*rows, strict=True)]


def passed(graph: Graph, text: str, samples: Samples) -> Graph:
    return run_pipeline(graph, parse_pipeline(text), Context(samples))


def assert_close(wanted: list[Array], found: list[Array]) -> None:
    for w, f in zip(wanted, found, strict=True):
        assert f.shape == w.shape
        allowed = FLOAT_TOLERANCE * max(1.0, float(np.abs(w).max(initial=0)))
        np.testing.assert_allclose(f, w, rtol=0, atol=allowed)


def assert_same_bits(a: Graph, b: Graph, samples: Samples) -> None:
    """Of what is int8; the rest, computed in float, is close."""
    assert [v.type for v in a.outputs] == [v.type for v in b.outputs]
    wanted, found = run(a, stored_inputs(a, samples)), run(b, stored_inputs(b, samples))
    assert not mismatches(wanted, found).any()


def compare_meaning(seed: int) -> None:
    """The interpreter with onnxruntime, and with itself around passes that keep values."""
    model, graph, samples = read(seed)
    wanted = by_onnxruntime(model, some(samples))
    assert_close(wanted, run(graph, some(samples)))
    assert_close(wanted, run(passed(graph, LOSSLESS, {}), some(samples)))
    quantized = passed(graph, default_pipeline("O0", "int8"), samples)
    assert_same_bits(quantized, passed(quantized, LOSSLESS, {}), some(samples))
    plain = passed(graph, f"{LOSSLESS}, quantize, quantize-interface", samples)
    assert_same_bits(plain, passed(graph, default_pipeline("O2", "int8"), samples), some(samples))


def compare_code(seed: int, dtype: str, level: str, cpu: str) -> None:
    """The C on the host and on an emulated core with the interpreter: int8 in every bit."""
    _, graph, samples = read(seed)
    final = passed(graph, default_pipeline(level, dtype), samples)
    stored = stored_inputs(final, some(samples))
    wanted = run(final, stored)
    target = Target.for_cpu(cpu)
    source = load_backend("tvm").compile(final, target, BackendOptions("net", level)).source
    flags = ("-Wextra", "-Wpedantic", "-Werror")
    for runner in (
        HostLibrary(source, level="-O1", flags=flags),
        Device(source, target, level=f"-{level}", flags=flags),
    ):
        assert not mismatches(wanted, run_samples(runner, final, stored)).any(), type(runner)


def cases(seeds: range) -> list[tuple[int, str, str, str]]:
    """Seeds, each with a type, a level and a core by lot; int8 three times in four."""
    found = []
    for seed in seeds:
        lot = random.Random(seed)
        dtype = lot.choice(["int8", "int8", "int8", "float32"])
        found.append((seed, dtype, lot.choice(["O0", "O1", "O2", "O3", "Os"]), lot.choice(CORES)))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_meaning(seed: int) -> None:
    compare_meaning(seed)


@pytest.mark.parametrize(("seed", "dtype", "level", "cpu"), cases(range(15)))
def test_code(seed: int, dtype: str, level: str, cpu: str) -> None:
    compare_code(seed, dtype, level, cpu)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 2000, 100))
def test_meaning_of_many(first: int) -> None:
    for seed in range(first, first + 100):
        compare_meaning(seed)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "dtype", "level", "cpu"), cases(range(100, 250)))
def test_code_of_many(seed: int, dtype: str, level: str, cpu: str) -> None:
    compare_code(seed, dtype, level, cpu)
