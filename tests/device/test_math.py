"""The functions of math.h that come with the compiler without a libc."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.emulator import Machine
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Toolchain, build_program

CODE = """
#include <math.h>
#define MAP(name, expression) \\
    __attribute__((noinline)) void name(const float *x, float *y, int n) \\
    { for (int i = 0; i < n; i++) { y[i] = expression; } }
MAP(map_tanh, tanhf(x[i]))
MAP(map_erf, erff(x[i]))
MAP(map_pow, powf(x[i], 3.0f))
MAP(map_root, powf(fabsf(x[i]), 0.3f))
MAP(map_round, rintf(x[i]))
MAP(map_integer, (float)lrintf(x[i]))
typedef void (*function)(const float *, float *, int);
volatile function functions[] = {map_tanh, map_erf, map_pow, map_root, map_round, map_integer};
int main(void) { return functions[1] == functions[2]; }
"""
X = np.concatenate([np.linspace(-12, 12, 241), np.linspace(-0.3, 0.3, 41), [0.0, 2.5, -3.5]])

CASES: dict[str, tuple[Callable[[float], float], float]] = {
    "map_tanh": (math.tanh, 1e-6),
    "map_erf": (math.erf, 1e-6),
    "map_pow": (lambda x: x**3, 1e-6),
    "map_root": (lambda x: abs(x) ** 0.3, 1e-6),
    "map_round": (round, 0.0),
    "map_integer": (round, 0.0),
}


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4"])
@pytest.mark.parametrize("name", CASES)
def test_functions(name: str, cpu: str, compiler: Toolchain, cache: CacheDir) -> None:
    target = Target.for_cpu(cpu)
    program = build_program({"main.c": CODE}, target, toolchain=compiler, cache=cache)
    machine = Machine(program, target, profiling=False)
    x = X.astype(np.float32)
    source, result = machine.alloc("x", x.nbytes), machine.alloc("y", x.nbytes)
    machine.write(source.address, x.tobytes())
    machine.call(name, source.address, result.address, x.size)
    got = np.frombuffer(machine.read(result.address, x.nbytes), np.float32)
    meaning, tolerance = CASES[name]
    wanted = np.array([meaning(float(v)) for v in x])
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
