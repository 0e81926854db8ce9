"""The C files of a network: pointers into buffers, constant arrays, kernels, and the texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jinja2
import numpy as np

from tinycc_nn.backend import BackendOptions
from tinycc_nn.backends.tvm.allocate import Allocation
from tinycc_nn.backends.tvm.kernel import Code
from tinycc_nn.backends.tvm.lower import emit_c
from tinycc_nn.backends.tvm.lower_mve import emit_mve
from tinycc_nn.backends.tvm.parameters import parameter_names
from tinycc_nn.backends.tvm.prelude import helpers_in, prelude
from tinycc_nn.ir.graph import Graph, Value
from tinycc_nn.ir.types import Array
from tinycc_nn.memory import ALIGN
from tinycc_nn.schedule import storage
from tinycc_nn.source import Port

PREFIX = "tcnn_"
"""What helpers are called in the prelude and in kernels, before they get the network's name."""


@dataclass(frozen=True)
class Call:
    """One line of NAME_run. `ends`: the function says whether the inference is done."""

    layer: str
    kernel: str
    symbol: str
    arguments: tuple[str, ...]
    ends: bool = False


def ctype(v: Value) -> str:
    """The C type of an element of a tensor."""
    return Port(v.name, v.type.dtype.numpy.name, v.type.size).ctype


class Pointers:
    """C expressions for the places of values."""

    def __init__(self, graph: Graph, allocation: Allocation, name: str) -> None:
        self.allocation = allocation
        inputs, outputs = ([v.name for v in vs] for vs in (graph.inputs, graph.outputs))
        found = parameter_names(name, inputs, outputs)
        self.inputs, self.outputs = found[: len(inputs)], found[len(inputs) :]
        self.named = {storage(v): n for v, n in zip(graph.inputs, self.inputs, strict=True)}
        copied = {i for i, _ in allocation.copies}
        for i, v in enumerate(graph.outputs):
            if i not in copied:
                self.named[storage(v)] = self.outputs[i]

    def arena(self, offset: int) -> str:
        """The address of an offset of the arena, as int8_t *."""
        return f"(int8_t *)arena + {offset}"

    def read(self, v: Value) -> str:
        """The address of a running value, to read from."""
        return self._place(storage(v), f"const {ctype(v)} *")

    def write(self, v: Value) -> str:
        """The address of a running value, to write to."""
        return self._place(storage(v), f"{ctype(v)} *")

    def _place(self, v: Value, kind: str) -> str:
        home = self.allocation.homes[v]
        if home in self.named:
            return self.named[home]
        return f"({kind})((int8_t *)arena + {self.allocation.plan.offset(home.name)})"

    def copy(self, output: int, v: Value, constants: Constants) -> tuple[str, str, int]:
        """Destination, source and bytes of an output that no kernel writes itself."""
        array = v.constant
        source = constants.add(array) if array is not None else self.read(v)
        return self.outputs[output], source, v.type.nbytes


class Constants:
    """The constant arrays of a network; equal ones are stored once."""

    def __init__(self, name: str) -> None:
        self.name, self.nbytes = name, 0
        self.arrays: dict[tuple[str, bytes], tuple[str, Array]] = {}

    def add(self, array: Array) -> str:
        """The symbol of an array (stored flat)."""
        key = array.dtype.str, array.tobytes()
        if key not in self.arrays:
            self.arrays[key] = f"{self.name}_c{len(self.arrays)}", array
            self.nbytes += array.nbytes
        return self.arrays[key][0]

    def declarations(self) -> list[str]:
        return [
            f"const {Port(s, a.dtype.name, a.size).ctype} {s}[{a.size}]"
            for s, a in self.arrays.values()
        ]

    def definitions(self) -> list[tuple[str, str]]:
        """Declaration and initializer of each array."""
        texts = (initializer(a) for _, a in self.arrays.values())
        return list(zip(self.declarations(), texts, strict=True))


def initializer(array: Array) -> str:
    """The elements in C, exact for floats (hexadecimal), in lines of at most 100 columns."""
    flat = array.reshape(-1)
    if array.dtype.kind == "f":
        words = [_float(float(x)) for x in flat]
    elif array.dtype == np.int32:
        words = ["(-2147483647 - 1)" if x == -(2**31) else str(x) for x in flat.tolist()]
    else:
        words = [str(x) for x in flat.astype(np.int64).tolist()]
    lines, line = [], ""
    for w in words:
        if len(line) + len(w) + 1 > 98:
            lines.append(line)
            line = ""
        line += w + ","
    return "\n".join([*lines, line])


def _float(x: float) -> str:
    if np.isfinite(x):
        return x.hex() + "f"
    if np.isnan(x):
        return "(0.0f / 0.0f)"
    return "(1.0f / 0.0f)" if x > 0 else "(-1.0f / 0.0f)"


class Kernels:
    """The functions of a network; layers whose function has the same text share it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.texts: dict[str, str] = {}
        self.micro_kernels: dict[str, None] = {}

    def add(self, codes: Sequence[Code], in_place: Sequence[bool]) -> list[str]:
        """Lower the functions; the symbol for each."""
        functions = {f"{PREFIX}f{i}": c.function for i, c in enumerate(codes)}
        aliased = {f"{PREFIX}f{i}" for i, a in enumerate(in_place) if a}
        qualifier = f"static {self.name.upper()}_NOINLINE"
        emitted = emit_c(functions, aliased=aliased, qualifier=qualifier)
        vectors = {d: f for (d, f), c in zip(functions.items(), codes, strict=True) if c.vector}
        assembly = emit_mve(vectors, aliased=aliased & vectors.keys())
        symbols = []
        for (draft, text), code in zip(emitted.items(), codes, strict=True):
            self.micro_kernels.update(dict.fromkeys(code.micro_kernels))
            body = re.sub(rf"\b{draft}\b", "KERNEL", text)
            if draft in assembly:
                body = _either(body, assembly[draft].replace(draft, "KERNEL"))
            symbols.append(self.texts.setdefault(body, f"{self.name}_k{len(self.texts)}"))
        return symbols

    def add_text(self, body: str) -> str:
        """The symbol of a function KERNEL that is C already."""
        text = f"static {self.name.upper()}_NOINLINE {body}"
        return self.texts.setdefault(text, f"{self.name}_k{len(self.texts)}")

    def prelude(self) -> str:
        """The C helpers that are called, and the micro-kernels."""
        micro = "\n".join(self.micro_kernels)
        return self._named(prelude(helpers_in(micro + "".join(self.texts))) + "\n" + micro)

    def functions(self) -> list[str]:
        """The texts of the functions."""
        return [self._named(body.replace("KERNEL", s)) for body, s in self.texts.items()]

    def _named(self, text: str) -> str:
        prefixed = text.replace(PREFIX, f"{self.name}_")
        return prefixed.replace(PREFIX.upper(), f"{self.name.upper()}_")


def _either(function: str, assembly: str) -> str:
    """The function KERNEL in assembly where there is MVE, else in C (static, with a qualifier)."""
    head = function.partition(" {\n")[0]
    declaration = head[head.index("void ") :]
    lines = "".join(f'    "{line}\\n"\n' for line in assembly.splitlines())
    text = f"__asm__(\n{lines});\n{declaration};\n"
    return f"#if defined(__ARM_FEATURE_MVE)\n{text}#else\n{function}#endif\n"


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.PackageLoader("tinycc_nn.backends.tvm", "templates")
    return jinja2.Environment(
        loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip


class Files:
    """Names, sizes and scales of the interface, and the texts of the files."""

    arena_align = ALIGN

    def __init__(
        self,
        graph: Graph,
        options: BackendOptions,
        arena_bytes: int,
        inputs: list[str],
        outputs: list[str],
    ) -> None:
        self.options = options
        self.facts = {
            "name": options.name,
            "macro": options.name.upper(),
            "banner": options.banner.replace("*/", "* /"),
            "arena_bytes": arena_bytes,
            "arena_align": ALIGN,
            "inputs": [_facts(n, v) for n, v in zip(inputs, graph.inputs, strict=True)],
            "outputs": [_facts(n, v) for n, v in zip(outputs, graph.outputs, strict=True)],
        }

    def ports(self, values: Sequence[Value], names: Sequence[str]) -> tuple[Port, ...]:
        """The interface as the machines see it."""
        return tuple(
            Port(n, v.type.dtype.numpy.name, v.type.size)
            for n, v in zip(names, values, strict=True)
        )

    def render(
        self,
        kernels: Kernels,
        constants: Constants,
        calls: Sequence[Call],
        copies: Sequence[tuple[str, str, int]],
    ) -> dict[str, str]:
        """File names and texts."""
        name = self.options.name
        pieces = {
            "prelude": kernels.prelude(),
            "functions": kernels.functions(),
            "declarations": constants.declarations(),
            "definitions": constants.definitions(),
            "calls": calls,
            "copies": copies,
        }
        templates = {
            f"{name}.h": "network.h.j2",
            f"{name}.c": "network.c.j2",
            f"{name}_data.c": "data.c.j2",
            "CMakeLists.txt": "CMakeLists.txt.j2",
        }
        return {
            file: _templates().get_template(t).render(**self.facts, **pieces)
            for file, t in templates.items()
        }


def _facts(parameter: str, v: Value) -> dict[str, str | int]:
    facts: dict[str, str | int] = {
        "parameter": parameter,
        "macro": parameter.upper(),
        "ctype": ctype(v),
        "size": v.type.size,
        "shape": "x".join(map(str, v.type.shape)) or "1",
    }
    if (q := v.type.quant) is not None and isinstance(q.scale, float):
        facts |= {"scale": f"{np.float32(q.scale)!s}f", "zero": q.zero}
    return facts
