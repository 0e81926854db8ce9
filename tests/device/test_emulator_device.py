"""Small networks on every core, on the host and in QEMU: the same bits, the same counts."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EmulatorError
from tinycc_nn.emulator.qemu import run_qemu
from tinycc_nn.target import CPUS, Target
from tinycc_nn.toolchain import Toolchain

from .networks import tiny, weights

UNICORN = tuple(cpu for cpu in CPUS if cpu != "cortex-m55")
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not on the PATH"
)
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
M4 = Target.for_cpu("cortex-m4")


def samples(count: int) -> list[NDArray[np.int8]]:
    rng = np.random.default_rng(5)
    return [rng.integers(-100, 101, 64, np.int8) for _ in range(count)]


def expected(x: NDArray[np.int8]) -> list[int]:
    """The network in Python: C's division rounds toward zero."""
    values = [int(v) for v in x]
    for _ in range(2):
        values = [int(v / 2) + 3 for v in values]
    matrix = np.array(weights()).reshape(16, 64)
    return [int(v) for v in ((matrix @ np.array(values, np.int64)) >> 10).astype(np.int8)]


@pytest.mark.parametrize("cpu", UNICORN)
def test_same_bits_on_every_core(cpu: str, compiler: Toolchain, cache: CacheDir) -> None:
    device = Device(tiny(), Target.for_cpu(cpu), toolchain=compiler, cache=cache)
    for x in samples(3):
        (y,) = device.run([x])
        assert y.tolist() == expected(x)


@needs_cc
def test_same_bits_on_the_host(cache: CacheDir) -> None:
    library = HostLibrary(tiny(), cache=cache)
    for x in samples(3):
        (y,) = library.run([x])
        assert y.tolist() == expected(x)


@pytest.mark.parametrize("cpu", UNICORN)
def test_profile_by_layer(cpu: str, compiler: Toolchain, cache: CacheDir) -> None:
    device = Device(tiny(), Target.for_cpu(cpu), toolchain=compiler, cache=cache)
    (x,) = samples(1)
    profile = device.profile([x])
    assert [layer.symbol for layer in profile.layers] == ["tiny_k0", "tiny_k0", "tiny_k1"]
    first, second, last = profile.layers
    assert abs(first.instructions - second.instructions) < 10
    assert last.instructions > 2 * first.instructions
    inside = sum(layer.instructions for layer in profile.layers)
    assert 0 <= profile.instructions - inside < 30
    assert profile.instructions * 0.4 < profile.cycles < profile.instructions * 3
    assert 0 < profile.stack_bytes < 300
    assert f"model {cpu.removeprefix('cortex-')}:" in profile.basis
    assert device.profile([x]) == profile


@needs_qemu
@pytest.mark.parametrize("cpu", CPUS)
def test_qemu_agrees(cpu: str, any_compiler: Toolchain, cache: CacheDir) -> None:
    target, source, data = Target.for_cpu(cpu), tiny(), samples(2)
    results = run_qemu(source, target, [[x] for x in data], toolchain=any_compiler, cache=cache)
    for x, result in zip(data, results, strict=True):
        assert result.outputs[0].tolist() == expected(x)
    if cpu in UNICORN:
        device = Device(source, target, toolchain=any_compiler, cache=cache)
        counted = device.profile([data[0]]).instructions
        # besides the ticks, a dozen instructions that read the timer
        assert abs(results[0].instructions - counted) <= results[0].tolerance + 12


@needs_qemu
def test_a_core_that_only_qemu_has(compiler: Toolchain, cache: CacheDir) -> None:
    device = Device(tiny(), Target.for_cpu("cortex-m55"), toolchain=compiler, cache=cache)
    data = samples(3)
    outputs = device.run_many([[x] for x in data])
    assert [y.tolist() for (y,) in outputs] == [expected(x) for x in data]
    with pytest.raises(TinyccError, match="no cortex-m55 in the emulator"):
        device.profile([data[0]])


@needs_qemu
def test_qemu_reports_a_failing_network(any_compiler: Toolchain, cache: CacheDir) -> None:
    (x,) = samples(1)
    with pytest.raises(EmulatorError, match="tiny_run returned -7"):
        run_qemu(tiny("return -7;"), M4, [[x]], toolchain=any_compiler, cache=cache)


@pytest.mark.parametrize(
    ("bug", "message"),
    [
        ("a[64] = 0;", "wrote behind buffer 'arena' \\(its 64 bytes\\)"),
        ("a[-1] = 0;", "wrote before buffer 'arena'"),
        ("y[16] = 0;", "wrote behind buffer 'output y'"),
        ("((volatile int8_t *)x)[64] = 0;", "wrote behind buffer 'input x'"),
        ("((volatile int8_t *)tiny_w)[3] = 0;", "write to flash"),
        ("return -2;", "tiny_run returned -2"),
    ],
)
def test_bugs_in_a_network(
    bug: str, message: str, any_compiler: Toolchain, cache: CacheDir
) -> None:
    device = Device(tiny(bug), M4, toolchain=any_compiler, cache=cache)
    (x,) = samples(1)
    with pytest.raises(EmulatorError, match=message):
        device.run([x])
    with pytest.raises(EmulatorError, match=message):
        device.profile([x])


@needs_cc
def test_arena_overflow_on_the_host(cache: CacheDir) -> None:
    (x,) = samples(1)
    with pytest.raises(TinyccError, match="the network wrote behind its arena"):
        HostLibrary(tiny("a[64] = 0;"), cache=cache).run([x])


def test_a_kernel_that_is_not_called(any_compiler: Toolchain, cache: CacheDir) -> None:
    source = replace(tiny(), layer_symbols=("tiny_k0", "tiny_k1", "tiny_k0"))
    device = Device(source, M4, toolchain=any_compiler, cache=cache)
    (x,) = samples(1)
    with pytest.raises(EmulatorError, match="kernel 2 of 3, tiny_k0, was not called in turn"):
        device.profile([x])


def test_inputs_are_checked(any_compiler: Toolchain, cache: CacheDir) -> None:
    device = Device(tiny(), M4, toolchain=any_compiler, cache=cache)
    with pytest.raises(TinyccError, match="0 inputs given, the network takes 1"):
        device.run([])
    with pytest.raises(TinyccError, match="input is 63 elements of int8, not 64 of int8"):
        device.run([np.zeros(63, np.int8)])
    with pytest.raises(TinyccError, match="input is 64 elements of float32, not 64 of int8"):
        device.run([np.zeros(64, np.float32)])
