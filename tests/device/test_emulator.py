from __future__ import annotations

import numpy as np
import pytest

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import EmulatorError, Machine
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Program, Toolchain, build_program

CPUS = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
CODE = """
#include <stdint.h>
#define KEEP __attribute__((noinline, used))
const int constant = 5;
volatile uint32_t sink;
KEEP int store(volatile int *p) { *p = 1; return 0; }
KEEP int load(volatile int *p) { return *p; }
KEEP int spin(void) { for (;;) { sink++; } }
KEEP int undefined(void) { __asm volatile(".short 0xde00"); return 1; }
KEEP int jump(int (*f)(void)) { return f() + 1; }
KEEP int sum7(int a, int b, int c, int d, int e, int f, int g)
{
    return a + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g;
}
KEEP int deep(int n)
{
    volatile uint8_t frame[1000];
    for (int i = 0; i < 1000; i++) { frame[i] = (uint8_t)i; }
    return n + frame[7];
}
KEEP int loop(int n)
{
    __asm volatile(".syntax unified\\n1: subs %0, %0, #1\\n bne 1b\\n" : "+l"(n) : : "cc");
    return n;
}
KEEP float scale(float *x) { x[1] = x[0] * 1.5f; return x[1]; }
typedef void (*function)(void);
#define F(name) (function)name
volatile function functions[] = {
    F(store), F(load), F(spin), F(undefined), F(jump), F(sum7), F(deep), F(loop), F(scale),
};
int main(void) { return functions[sink] != 0 ? constant : *(volatile const int *)&constant; }
"""


@pytest.fixture
def program(any_compiler: Toolchain, cache: CacheDir) -> Program:
    target = Target.for_cpu("cortex-m4")
    return build_program({"main.c": CODE}, target, toolchain=any_compiler, cache=cache)


@pytest.fixture(params=[True, False], ids=["profiling", "plain"])
def machine(program: Program, request: pytest.FixtureRequest) -> Machine:
    return Machine(program, Target.for_cpu("cortex-m4"), profiling=request.param)


def test_arguments_and_result(machine: Machine) -> None:
    assert machine.call("sum7", 1, 2, 3, 4, 5, 6, 7).r0 == 7654321
    assert machine.call("sum7", -1, 0, 0, 0, 0, 0, 0).r0 == -1


@pytest.mark.parametrize("cpu", CPUS)
def test_floats_on_every_core(cpu: str, compiler: Toolchain, cache: CacheDir) -> None:
    target = Target.for_cpu(cpu)
    built = build_program({"main.c": CODE}, target, toolchain=compiler, cache=cache)
    machine = Machine(built, target)
    buffer = machine.alloc("x", 8)
    machine.write(buffer.address, np.array([3.0, 0.0], np.float32).tobytes())
    machine.call("scale", buffer.address)
    assert np.frombuffer(machine.read(buffer.address, 8), np.float32).tolist() == [3.0, 4.5]


def test_write_to_flash(machine: Machine) -> None:
    address = machine.program.symbol("constant").address
    with pytest.raises(EmulatorError, match=rf"write to flash at {address:#010x}") as caught:
        machine.call("store", address)
    assert "store+0x" in str(caught.value)


def test_unmapped_memory(machine: Machine) -> None:
    with pytest.raises(EmulatorError, match=r"read of unmapped memory at 0x40000000(.|\n)*load\+"):
        machine.call("load", 0x4000_0000)
    with pytest.raises(EmulatorError, match="write to unmapped memory at 0x00000000"):
        machine.call("store", 0)


def test_code_in_ram_does_not_run(machine: Machine) -> None:
    with pytest.raises(EmulatorError, match="jump to memory without code at 0x20000"):
        machine.call("jump", 0x2000_0401)


def test_undefined_instruction(machine: Machine) -> None:
    with pytest.raises(EmulatorError, match=r"undefined instruction(.|\n)*undefined\+"):
        machine.call("undefined")


def test_a_machine_works_on_after_a_fault(machine: Machine) -> None:
    with pytest.raises(EmulatorError):
        machine.call("load", 0x4000_0000)
    assert machine.call("sum7", 1, 0, 0, 0, 0, 0, 1).r0 == 1_000_001


def test_watchdogs(program: Program) -> None:
    target = Target.for_cpu("cortex-m4")
    with pytest.raises(EmulatorError, match="spin did not end within its instruction budget"):
        Machine(program, target).call("spin", budget=100_000)
    with pytest.raises(EmulatorError, match=r"spin did not end within 0\.05 s"):
        Machine(program, target, profiling=False).call("spin", seconds=0.05)


def test_the_budget_is_enough_for_that_many_instructions(program: Program) -> None:
    machine = Machine(program, Target.for_cpu("cortex-m4"))
    assert machine.call("loop", 1000, budget=2010).instructions <= 2010


def test_stack_use(machine: Machine) -> None:
    used = machine.call("deep", 1).stack_bytes
    assert 1000 <= used <= 1100
    assert machine.call("sum7", 1, 2, 3, 4, 5, 6, 7).stack_bytes < 64


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_counts_are_exact(program: Program, n: int) -> None:
    machine = Machine(program, Target.for_cpu("cortex-m4"))
    base = machine.call("loop", 1)
    more = machine.call("loop", n)
    assert more.instructions - base.instructions == 2 * (n - 1)
    taken = n - 1  # SUBS 1, BNE 1, and 2 to 3 more for each branch taken
    assert more.cycles - base.cycles in (4 * taken, 5 * taken)


def test_canaries_name_the_buffer(machine: Machine) -> None:
    first, second = machine.alloc("first", 10), machine.alloc("second", 7, 32)
    assert second.address % 32 == 0
    machine.write(first.address, bytes(10))
    machine.write(second.address, bytes(7))
    machine.check_canaries()
    machine.write(second.address + 7, b"\0")
    with pytest.raises(EmulatorError, match="wrote behind buffer 'second' \\(its 7 bytes\\)"):
        machine.check_canaries()
    machine.write(first.address - 1, b"\0")
    with pytest.raises(EmulatorError, match="wrote before buffer 'first'"):
        machine.check_canaries()


def test_ram_is_not_endless(machine: Machine) -> None:
    with pytest.raises(TinyccError, match=r"no room for 1000000000 bytes(.|\n)*huge"):
        machine.alloc("huge", 1_000_000_000)


def test_m55_points_to_qemu(program: Program) -> None:
    with pytest.raises(TinyccError, match=r"no cortex-m55 in the emulator(.|\n)*qemu-system-arm"):
        Machine(program, Target.for_cpu("cortex-m55"))
