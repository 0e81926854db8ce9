"""Which kernel computes each op: the smallest at -Os, else the fastest within bounds, or a forced one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from tinycc_nn.backend import BackendOptions
from tinycc_nn.backends.tvm.kernel import Kernel, candidates
from tinycc_nn.backends.tvm.select import Bounds, fastest, flash, footprint
from tinycc_nn.backends.tvm.tuning.database import Database, record_names
from tinycc_nn.backends.tvm.tuning.key import LayerKey, core_name
from tinycc_nn.backends.tvm.tuning.records import Setting
from tinycc_nn.cost import Basis
from tinycc_nn.diagnostics import LimitError, TinyccError, nearest
from tinycc_nn.ir.graph import Op
from tinycc_nn.target import Target

GROWTH = 1.35
"""Below -O3 all constants may take so many times what the smallest kernels take that store every
weight: zeros that others leave out don't forbid the faster ones."""

PATIENCE = 8000
"""At -Os, the bytes that it may take to save as many cycles as the fastest network needs: without
it a layer would become ten times slower to save a hundred bytes."""

PRICE = 0.2
"""At -O0 to -O2 flash has a price: 10 % more of it than the smallest kernels take has to save 2 % of
the cycles that the fastest ones need."""

APPLICATION_BYTES = 1536
"""Kept free of flash for start-up code, NAME_run and the compiler's library."""


@dataclass(frozen=True)
class Candidate:
    """A kernel with the cycles and bytes of instructions that it is judged by; `basis` says where
    they are from; `index` is its place among the candidates of its layer."""

    kernel: Kernel
    basis: Basis = "estimated"
    index: int = 0


@dataclass(frozen=True)
class Choice:
    """The kernel taken for an op, the names of all that fit, what its cycles come from, and its
    place among those that fit."""

    op: Op
    kernel: Kernel
    names: tuple[str, ...]
    basis: Basis = "estimated"
    index: int = 0


@dataclass(frozen=True)
class Choices:
    """Every kernel of every op, out of which `take` makes a choice."""

    options: BackendOptions
    found: Mapping[Op, Sequence[Candidate]]
    allowed: Mapping[Op, Sequence[Candidate]] = field(repr=False)

    @staticmethod
    def of(
        ops: Sequence[Op],
        target: Target,
        options: BackendOptions,
        judge: Callable[[Op], list[Candidate]] | None = None,
    ) -> Choices:
        """TinyccError lists every op without a kernel, and names that are forced wrongly. `judge`
        gives the kernels of an op; by default `Judge`, by the records of the options."""
        layers = {op.result.name for op in ops}
        for name in options.kernels:
            if name not in layers:
                raise TinyccError(
                    f"--kernel: there is no layer '{name}'", hint=nearest(name, layers)
                )
        judge = judge or Judge(target, options, Database.load(target, options.records))
        found = {op: judge(op) for op in ops}
        missing = [op for op in ops if not found[op]]
        if missing:
            lines = "".join(
                f"\n  {op.result}: {op.name} to {op.type}{_coded(op)}" for op in missing
            )
            raise TinyccError(
                f"no kernel of {target.name} computes:{lines}",
                hint="keep these layers in float32, or give another -mcpu",
            )
        return Choices(options, found, {op: _allowed(op, found[op], options) for op in ops})

    def take(self, banned: Collection[Kernel] = ()) -> dict[Op, Choice]:
        """A kernel for each op, none of them `banned`. LimitError where all of an op's are, or
        if no choice keeps to the bound of flash."""
        left = {op: [c for c in cs if c.kernel not in banned] for op, cs in self.allowed.items()}
        _check_left(left)
        kernels = [[c.kernel for c in cs] for cs in left.values()]
        taken = dict(zip(left, self._best(kernels), strict=True))
        return {op: self._choice(op, kernel) for op, kernel in taken.items()}

    def _choice(self, op: Op, kernel: Kernel) -> Choice:
        found = next(c for c in self.found[op] if c.kernel is kernel)
        names = tuple(c.kernel.name for c in self.found[op])
        return Choice(op, kernel, names, found.basis, found.index)

    def frugal(self) -> dict[Op, Choice]:
        """For each op a kernel with the least scratch, in place where one is."""
        return {
            op: Choice(op, min(cs, key=lambda c: (c.kernel.scratch, c.kernel.cycles)).kernel, ())
            for op, cs in self.allowed.items()
        }

    def _best(self, layers: list[list[Kernel]]) -> list[Kernel]:
        smallest = [min(ks, key=lambda k: (footprint(k), k.cycles, k.name)) for ks in layers]
        if self.options.level == "Os":
            whole = sum(min(k.cycles for k in ks) for ks in layers)
            return [min(ks, key=lambda k: (_patience(k, whole), k.name)) for ks in layers]
        least = sum(map(_least_constants, layers))
        limit = self.options.max_flash
        room = inf if limit is None else limit - APPLICATION_BYTES
        # Whether the smallest fits in truth is judged when it is built.
        if self.options.level == "O3":
            return fastest(layers, Bounds(flash=room)) or smallest
        price = PRICE * sum(min(k.cycles for k in ks) for ks in layers)
        price /= max(1, sum(map(flash, smallest)))
        return fastest(layers, Bounds(GROWTH * least, room), price) or smallest


@dataclass(frozen=True)
class Judge:
    """All kernels of an op, with the cycles and text bytes that the records say."""

    target: Target
    options: BackendOptions
    database: Database

    def __call__(self, op: Op) -> list[Candidate]:
        setting = Setting(core_name(self.target), self.options.compiler, self.options.level)
        kernels, layer = candidates(op, self.target), LayerKey.of(op)
        found = []
        for i, (kernel, name) in enumerate(zip(kernels, record_names(kernels), strict=True)):
            cost = self.database.cost(setting, layer, name, kernel)
            known = replace(kernel, cycles=cost.cycles, text=cost.text)
            found.append(Candidate(known, cost.basis, i))
        return found


def _allowed(op: Op, fitting: Sequence[Candidate], options: BackendOptions) -> Sequence[Candidate]:
    """All that fit, or the one that is forced."""
    forced = options.kernels.get(op.result.name)
    if forced is None:
        return fitting
    named = [c for c in fitting if c.kernel.name == forced]
    if not named:
        hint = nearest(forced, [c.kernel.name for c in fitting])
        raise TinyccError(f"no kernel '{forced}' fits this layer", op.result.name, hint)
    return named


def _least_constants(kernels: Sequence[Kernel]) -> int:
    """Bytes of the smallest kernel whose cost depends on no values."""
    every = [k.constants for k in kernels if not k.facts] or [k.constants for k in kernels]
    return min(every)


def _patience(kernel: Kernel, whole: float) -> float:
    """What -Os makes small: bytes, and cycles in units of a network's whole."""
    return footprint(kernel) + PATIENCE * kernel.cycles / whole


def _check_left(left: Mapping[Op, Sequence[Candidate]]) -> None:
    full = [op for op, cs in left.items() if not cs]
    if full:
        lines = "".join(f"\n  {op.result}: {op.name} to {op.type}" for op in full)
        message = f"no kernel leaves room in RAM for the tensors that live beside it:{lines}"
        raise LimitError(message, hint="give a larger --max-ram, or a larger target")


def _coded(op: Op) -> str:
    """The format of the weights, where it is not a plain one."""
    formats = [v.type.dtype for v in op.operands if v.type.dtype.book is not None]
    return f" with weights of {formats[0].name}, {formats[0].bits} bits" if formats else ""
