"""Run a generated network: on an emulated Cortex-M with every buffer guarded, or on the host."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinycc_nn.cachedir import CacheDir
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.emulator import (
    EMULATED,
    Buffer,
    CallResult,
    EmulatorError,
    LayerCost,
    Machine,
)
from tinycc_nn.emulator.qemu import run_qemu
from tinycc_nn.source import NetworkSource, Port
from tinycc_nn.target import Target
from tinycc_nn.toolchain import Program, Toolchain, build_host_library, build_program, minimal_main

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Profile:
    """One inference on a core: executed instructions, cycles of the core's model, bytes of stack.

    `layers` are the kernels in the order of their calls; `basis` says which hardware the cycle
    model was checked against, and its error.
    """

    instructions: int
    cycles: int
    stack_bytes: int
    layers: tuple[LayerCost, ...]
    basis: str


class Device:
    """A network built for a target's core, in the emulator.

    Built once, on first use; runs as often as wanted. `directory` keeps sources, objects and ELF.
    Raises TinyccError for what the compiler refuses, EmulatorError for what the program does wrong.
    """

    def __init__(
        self,
        source: NetworkSource,
        target: Target,
        *,
        toolchain: Toolchain | None = None,
        level: str = "-O2",
        flags: Sequence[str] = (),
        cache: CacheDir | None = None,
        directory: Path | None = None,
    ) -> None:
        self.source, self.target = source, target
        self._toolchain, self._level, self._flags = toolchain, level, tuple(flags)
        self._cache = cache
        files = {**source.c_files, f"{source.name}_main.c": minimal_main(source)}
        self.program: Program = build_program(
            files,
            target,
            level,
            toolchain=toolchain,
            flags=flags,
            cache=cache,
            directory=directory,
        )

    @cached_property
    def _plain(self) -> _Loaded:
        return _Loaded(Machine(self.program, self.target, profiling=False), self.source)

    @cached_property
    def _profiled(self) -> _Loaded:
        return _Loaded(Machine(self.program, self.target), self.source)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs of one sample, flat arrays of the ports' types.

        `inputs` hold the elements of the input ports in order, of the ports' types (any shape).
        """
        return self.run_many([inputs])[0]

    def run_many(self, samples: Sequence[Sequence[Array]]) -> list[list[Array]]:
        """Outputs of every sample (see `run`). A core that is not emulated in this process runs
        in QEMU; TinyccError says so if that is not installed."""
        if self.target.cpu in EMULATED:
            return [self._run_plain(inputs) for inputs in samples]
        checked = [checked_inputs(self.source, inputs) for inputs in samples]
        results = run_qemu(
            self.source,
            self.target,
            checked,
            toolchain=self._toolchain,
            level=self._level,
            flags=self._flags,
            cache=self._cache,
        )
        return [result.outputs for result in results]

    def _run_plain(self, inputs: Sequence[Array]) -> list[Array]:
        self._plain.call(inputs)
        return self._plain.outputs()

    def cycles(self, inputs: Sequence[Array]) -> int:
        """Cycles of one inference, which may end early."""
        return self._profiled.call(inputs).cycles

    def profile(self, inputs: Sequence[Array]) -> Profile:
        """What one inference executes, in all and by layer; all layers must run.

        Raises TinyccError for a core without a cycle model (Cortex-M55).
        """
        loaded = self._profiled
        result = loaded.call(inputs, self.source.layer_symbols)
        entered, wanted = loaded.machine.layers_entered, self.source.layer_symbols
        if entered != len(wanted):
            message = (
                f"kernel {entered} of {len(wanted)}, {wanted[entered]}, was not called in turn"
            )
            raise EmulatorError(message, self.source.name)
        return Profile(
            result.instructions,
            result.cycles,
            result.stack_bytes,
            result.layers,
            loaded.machine.basis,
        )


class _Loaded:
    """A machine with the network's buffers."""

    def __init__(self, machine: Machine, source: NetworkSource) -> None:
        self.machine, self._source = machine, source
        self._inputs = [machine.alloc(f"input {p.name}", p.nbytes) for p in source.inputs]
        self._outputs = [machine.alloc(f"output {p.name}", p.nbytes) for p in source.outputs]
        self._arena: Buffer | None = None
        if source.arena_bytes:
            self._arena = machine.alloc("arena", source.arena_bytes, source.arena_align)

    def call(self, inputs: Sequence[Array], layers: Sequence[str] = ()) -> CallResult:
        for buffer, data in zip(self._inputs, checked_inputs(self._source, inputs), strict=True):
            self.machine.write(buffer.address, data.tobytes())
        arena = self._arena.address if self._arena is not None else 0
        addresses = [b.address for b in (*self._inputs, *self._outputs)]
        name = f"{self._source.name}_run"
        result = self.machine.call(name, *addresses, arena, layers=layers)
        self.machine.check_canaries()
        if result.r0 != 0:
            raise EmulatorError(f"{name} returned {result.r0}", self.machine.target.name)
        return result

    def outputs(self) -> list[Array]:
        return [
            np.frombuffer(self.machine.read(buffer.address, buffer.nbytes), port.dtype)
            for buffer, port in zip(self._outputs, self._source.outputs, strict=True)
        ]


class HostLibrary:
    """A network built for this machine, called in this process.

    Raises TinyccError for what the compiler refuses, and if there is no compiler.
    """

    def __init__(
        self,
        source: NetworkSource,
        *,
        level: str = "-O2",
        flags: Sequence[str] = (),
        cache: CacheDir | None = None,
    ) -> None:
        self.source = source
        path = build_host_library(source.c_files, level, flags=flags, cache=cache)
        self._run = ctypes.CDLL(str(path))[f"{source.name}_run"]
        self._run.restype = ctypes.c_int
        self._run.argtypes = [ctypes.c_void_p] * (len(source.inputs) + len(source.outputs) + 1)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs of one sample, flat arrays of the ports' types; the arena is guarded."""
        arrays = checked_inputs(self.source, inputs)
        outputs: list[Array] = [np.zeros(p.elements, p.dtype) for p in self.source.outputs]
        guarded = _GuardedArena(self.source.arena_bytes, self.source.arena_align)
        pointers = [a.ctypes.data for a in (*arrays, *outputs)]
        status = self._run(*pointers, guarded.address)
        guarded.check(self.source.name)
        if status != 0:
            raise TinyccError(f"{self.source.name}_run returned {status}", "host")
        return outputs


class _GuardedArena:
    """An aligned arena of exactly `nbytes` bytes with a pattern behind it."""

    _GUARD = np.frombuffer(b"\xc3\x5a\x96\xe1" * 16, np.uint8)

    def __init__(self, nbytes: int, align: int) -> None:
        align = max(1, align)
        self._store = np.zeros(nbytes + align + 2 * self._GUARD.size, np.uint8)
        start = self._store.ctypes.data + self._GUARD.size
        offset = self._GUARD.size + (-start) % align
        self._behind = slice(offset + nbytes, offset + nbytes + self._GUARD.size)
        self._before = slice(offset - self._GUARD.size, offset)
        self._store[self._behind] = self._store[self._before] = self._GUARD
        self.address = self._store.ctypes.data + offset if nbytes else None

    def check(self, where: str) -> None:
        for side, place in (("before", self._before), ("behind", self._behind)):
            if not np.array_equal(self._store[place], self._GUARD):
                raise TinyccError(f"the network wrote {side} its arena", where)


def checked_inputs(source: NetworkSource, inputs: Sequence[Array]) -> list[Array]:
    """The inputs as contiguous arrays. Raises TinyccError for a wrong number, size or type."""
    if len(inputs) != len(source.inputs):
        message = f"{len(inputs)} inputs given, the network takes {len(source.inputs)}"
        raise TinyccError(message, source.name)
    return [_checked(port, data) for port, data in zip(source.inputs, inputs, strict=True)]


def _checked(port: Port, data: Array) -> Array:
    if data.dtype != np.dtype(port.dtype) or data.size != port.elements:
        given = f"{data.size} elements of {data.dtype}"
        message = f"input is {given}, not {port.elements} of {port.dtype}"
        raise TinyccError(message, port.name)
    return np.ascontiguousarray(data)
