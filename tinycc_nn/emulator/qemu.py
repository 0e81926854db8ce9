"""QEMU as the second opinion on what Unicorn says, and as the only emulator of Cortex-M55."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator.errors import EmulatorError
from tinycc_nn.source import NetworkSource, Port
from tinycc_nn.target import Target
from tinycc_nn.toolchain.build import build_program
from tinycc_nn.toolchain.compilers import Toolchain
from tinycc_nn.toolchain.memory_map import MemoryMap

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Board:
    """A QEMU machine: where programs lie in it, and instructions in a tick of its SysTick
    (`-icount shift=0` runs one instruction a nanosecond)."""

    machine: str
    memory: MemoryMap
    tick: float


_MPS2 = MemoryMap(0, 4 << 20, 0x2000_0000, 4 << 20)
_AN385 = Board("mps2-an385", _MPS2, 40.0)
BOARDS = {
    "cortex-m0": _AN385,  # its code is a subset of what a Cortex-M3 runs
    "cortex-m0plus": _AN385,
    "cortex-m3": _AN385,
    "cortex-m4": Board("mps2-an386", _MPS2, 40.0),
    "cortex-m7": Board("mps2-an500", _MPS2, 40.0),
    "cortex-m33": Board("mps2-an505", MemoryMap(0x1000_0000, 4 << 20, 0x3800_0000, 2 << 20), 50.0),
    "cortex-m55": Board("mps3-an547", MemoryMap(0, 512 << 10, 0x3000_0000, 512 << 10), 31.25),
}


@dataclass(frozen=True, slots=True)
class QemuResult:
    """Outputs of one sample, and the instructions of `NAME_run`, exact to `tolerance`."""

    outputs: list[Array]
    instructions: float
    tolerance: float


def find_qemu() -> str:
    """The path of qemu-system-arm. Raises TinyccError with how to install it."""
    path = shutil.which("qemu-system-arm")
    if path is None:
        hint = "install it (Debian: apt install qemu-system-arm)"
        raise TinyccError("qemu-system-arm is not on the PATH", hint=hint)
    return path


def run_qemu(
    source: NetworkSource,
    target: Target,
    samples: Sequence[Sequence[Array]],
    *,
    toolchain: Toolchain | None = None,
    level: str = "-O2",
    flags: Sequence[str] = (),
    cache: CacheDir | None = None,
    seconds: float = 600.0,
) -> list[QemuResult]:
    """Run every sample (the arrays of the input ports, in order, of their types) in one QEMU.

    Raises EmulatorError if the program faults, fails or takes more than `seconds` of wall clock;
    more than about 16 million ticks in one sample wrap, and its count is modulo that.
    """
    qemu, board = find_qemu(), BOARDS[target.cpu]
    program = build_program(
        {**source.c_files, f"{source.name}_main.c": _main(source)},
        target,
        level,
        toolchain=toolchain,
        flags=flags,
        memory=board.memory,
        cache=cache,
    )
    with tempfile.TemporaryDirectory(prefix="tinycc-nn-") as temporary:
        work = Path(temporary)
        program.write_elf(work / "program.elf")
        data = (np.ascontiguousarray(array).tobytes() for sample in samples for array in sample)
        (work / "inputs").write_bytes(b"".join(data))
        _run((qemu, *_options(board)), work, board, seconds)
        return _results(source, (work / "outputs").read_bytes(), len(samples), board)


def _options(board: Board) -> tuple[str, ...]:
    semihosting = ("-semihosting-config", "enable=on,target=native")
    quiet = ("-nographic", "-monitor", "none", "-serial", "none")
    deterministic = ("-icount", "shift=0")
    return ("-M", board.machine, *quiet, *semihosting, *deterministic, "-kernel", "program.elf")


def _run(command: Sequence[str], work: Path, board: Board, seconds: float) -> None:
    try:
        done = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        message = f"the program did not end within {seconds:g} s (a fault hangs, too)"
        raise EmulatorError(message, board.machine) from None
    if done.returncode != 0:
        raise EmulatorError(f"qemu failed: {done.stderr.strip()}", board.machine)


def _results(source: NetworkSource, data: bytes, samples: int, board: Board) -> list[QemuResult]:
    record = sum(port.nbytes for port in source.outputs) + 8
    if len(data) != record * samples:
        message = f"{len(data)} bytes of output, not {record * samples}"
        raise EmulatorError(message, board.machine)
    found = []
    for index in range(samples):
        position = index * record
        outputs: list[Array] = []
        for port in source.outputs:
            outputs.append(np.frombuffer(data, port.dtype, port.elements, position))
            position += port.nbytes
        status, ticks = np.frombuffer(data, "<i4", 2, position).tolist()
        if status != 0:
            raise EmulatorError(f"{source.name}_run returned {status}", board.machine)
        found.append(QemuResult(outputs, ticks * board.tick, board.tick))
    return found


def _main(source: NetworkSource) -> str:
    arguments, buffers, reads, writes = [], [], [], []
    for role, ports in (("input", source.inputs), ("output", source.outputs)):
        for index, port in enumerate(ports):
            name = f"{role}{index}"
            buffers.append(_array(port, name))
            arguments.append(name)
            if role == "input":
                reads.append(
                    f"        if (transfer(READ, in, {name}, sizeof {name}) != 0) {{ break; }}"
                )
            else:
                write = f"transfer(WRITE, out, {name}, sizeof {name})"
                writes.append(f"        failed |= {write} != 0;")
    if source.arena_bytes:
        align = f"__attribute__((aligned({source.arena_align})))"
        buffers.append(f"static uint8_t arena[{source.arena_bytes}] {align};")
    arguments.append("arena" if source.arena_bytes else "(void *)0")
    text = files("tinycc_nn.emulator").joinpath("semihost.c").read_text("utf-8")
    for key, value in (
        ("NAME", source.name),
        ("BUFFERS", "\n".join(buffers)),
        ("READ", "\n".join(reads)),
        ("WRITE", "\n".join(writes)),
        ("CALL", f"{source.name}_run({', '.join(arguments)})"),
    ):
        text = text.replace(f"@{key}@", value)
    return text


def _array(port: Port, name: str) -> str:
    return f"static {port.ctype} {name}[{port.elements}] __attribute__((aligned(8)));"
