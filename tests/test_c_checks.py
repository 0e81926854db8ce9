"""The generated C under strict warnings, from C++, unoptimized, and under the sanitizers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.support.random_models import random_model
from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.ir import Array, Graph
from tinycc_nn.levels import default_pipeline
from tinycc_nn.onnx import read_model
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.reference import run
from tinycc_nn.source import NetworkSource
from tinycc_nn.target import Target

STRICT = ("-std=gnu99", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
SAMPLES = 3
CASES = [(0, "O2"), (1, "Os"), (2, "O3"), (5, "O0"), (7, "O1"), (11, "O2")]


def compiled(model: bytes | Path, dtype: str, level: str) -> tuple[NetworkSource, Graph, Array]:
    """C for a Cortex-M4, the graph behind it, and samples of its (first) input."""
    graph = read_model(model)
    random = np.random.default_rng(0)
    data = {v.name: random.standard_normal((SAMPLES, *v.type.shape)) for v in graph.inputs}
    samples = {name: a.astype(np.float32) for name, a in data.items()}
    passes = parse_pipeline(default_pipeline(level, dtype))
    graph = run_pipeline(graph, passes, Context(samples))
    target = Target.for_cpu("cortex-m4")
    source = load_backend("tvm").compile(graph, target, BackendOptions("net", level)).source
    stored = stored_inputs(graph, samples)
    rows = [b"".join(stored[v.name][i].tobytes() for v in graph.inputs) for i in range(SAMPLES)]
    wanted = run(graph, stored)
    expected = [b"".join(w[i].tobytes() for w in wanted) for i in range(SAMPLES)]
    return source, graph, np.array([b"".join(rows), b"".join(expected)], object)


def write(source: NetworkSource, folder: Path, main: str = "") -> None:
    for name, text in source.c_files.items():
        (folder / name).write_text(text)
    if main:
        (folder / "app.c").write_text(main)


def checked(command: Sequence[str], folder: Path, data: bytes = b"") -> bytes:
    done = subprocess.run(command, cwd=folder, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]
    return done.stdout


def application(source: NetworkSource) -> str:
    """Reads samples from stdin, writes outputs to stdout: every buffer its own exact allocation."""
    ports = [*source.inputs, *source.outputs]
    align = source.arena_align
    lines = ['#include "net.h"', "#include <stdio.h>", "#include <stdlib.h>", "int main(void) {"]
    lines += [f"  {p.ctype} *p{i} = malloc({p.nbytes});" for i, p in enumerate(ports)]
    lines += [f"  void *arena = aligned_alloc({align}, {source.arena_bytes or align});"]
    lines += [f"  for (int s = 0; s < {SAMPLES}; ++s) {{"]
    for i, p in enumerate(source.inputs):
        lines += [f"    if (fread(p{i}, 1, {p.nbytes}, stdin) != {p.nbytes}) return 2;"]
    arguments = ", ".join(f"p{i}" for i in range(len(ports)))
    lines += [f"    if (net_run({arguments}, arena) != 0) return 3;"]
    for i, p in enumerate(source.outputs, len(source.inputs)):
        lines += [f"    fwrite(p{i}, 1, {p.nbytes}, stdout);"]
    return "\n".join([*lines, "  }", *(f"  free(p{i});" for i in range(len(ports)))]) + (
        "\n  free(arena);\n  return 0;\n}\n"
    )


def cross_compilers() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    if path := shutil.which("arm-none-eabi-gcc"):
        found.append((path, "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"))
        found.append((path, "-mcpu=cortex-m0plus"))
    if find_spec("ziglang") is not None:
        found.append((sys.executable, "-m", "ziglang", "cc"))
    if path := shutil.which("gcc"):
        found.append((path,))
    return found


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize(("seed", "level"), CASES[:3])
def test_no_warnings(tmp_path: Path, dtype: str, seed: int, level: str) -> None:
    """Also without optimization, where inline assembly must find its registers."""
    write(compiled(random_model(seed), dtype, level)[0], tmp_path)
    for compiler in cross_compilers():
        options = (*compiler, *STRICT, "-c", "-I.", "net.c", "net_data.c")
        for optimize in ("-O2", "-O0"):
            checked((*options, optimize), tmp_path)


def test_header_from_cpp(tmp_path: Path, digits: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    write(compiled(digits / "digits.onnx", "int8", "O2")[0], tmp_path)
    (tmp_path / "a.cpp").write_text(
        '#include "net.h"\nint main() { return net_run(0, 0, 0) + 1; }\n'
    )
    checked(("gcc", "-c", "net.c", "net_data.c"), tmp_path)
    checked(
        (compiler, "-Wall", "-Wextra", "-Werror", "a.cpp", "net.o", "net_data.o", "-lm"), tmp_path
    )
    checked(("./a.out",), tmp_path)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize(("seed", "level"), CASES)
def test_sanitizers(tmp_path: Path, dtype: str, seed: int, level: str) -> None:
    """No access outside of a buffer, no undefined arithmetic, and the interpreter's bits."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    (tmp_path / "t.c").write_text("int main(void) { return 0; }\n")
    probe = (compiler or "cc", *SANITIZERS, "t.c", "-o", "t")
    if compiler is None or subprocess.run(probe, cwd=tmp_path, check=False).returncode != 0:
        pytest.skip("needs a C compiler with sanitizers")
    source, graph, (data, expected) = compiled(random_model(seed), dtype, level)
    write(source, tmp_path, application(source))
    files = ("net.c", "net_data.c", "app.c")
    flags = ("-std=gnu11", "-ffp-contract=off", "-I.", "-o", "app")
    checked((compiler, *SANITIZERS, *flags, *files, "-lm"), tmp_path)
    found = checked(("./app",), tmp_path, data)
    if all(v.type.quant is not None for v in graph.outputs):
        assert found == expected
    else:
        assert len(found) == len(expected)
