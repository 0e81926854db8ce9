"""A generated network as the machines that build and run it see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinycc_nn.diagnostics import TinyccError

_CTYPES = {
    "bool": "uint8_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "float32": "float",
    "float64": "double",
}


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output array of `NAME_run`: numpy's name of the type, and its elements."""

    name: str
    dtype: str
    elements: int

    @property
    def ctype(self) -> str:
        """The C type of an element. Raises TinyccError for a type that C99 does not have."""
        if self.dtype not in _CTYPES:
            raise TinyccError(f"no C type for elements of type {self.dtype}", self.name)
        return _CTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class NetworkSource:
    """The C files of a network and how to call it.

    `files` maps file names to texts (NAME.h, NAME.c, NAME_data.c; others are left alone).
    `NAME_run` takes the inputs, the outputs, then an arena of `arena_bytes` aligned to
    `arena_align` bytes. `layer_symbols` are the kernel functions in the order of their calls; one
    may occur more than once. `worst_case`: the macro by which the C is built so that no inference
    dodges work, where its cycles depend on the data; "" where they don't.
    """

    name: str
    files: Mapping[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    arena_bytes: int
    arena_align: int
    layer_symbols: tuple[str, ...] = ()
    worst_case: str = ""

    @property
    def worst_case_flags(self) -> tuple[str, ...]:
        """What the compiler is given so that no inference dodges work."""
        return (f"-D{self.worst_case}",) if self.worst_case else ()

    @property
    def c_files(self) -> dict[str, str]:
        """The files that a C compiler reads."""
        return {n: t for n, t in self.files.items() if n.endswith((".c", ".h"))}
