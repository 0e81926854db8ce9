"""A straight-line program of tensor operations in static single assignment form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tinycc_nn.diagnostics import Where
from tinycc_nn.ir.types import Array, Blob, DType, Quant, TensorType

Attr = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | Blob


@dataclass(eq=False, slots=True)
class Value:
    """One tensor. `owner` is the op that makes it, or None for a graph input."""

    type: TensorType
    name: str
    owner: Op | None = field(default=None, repr=False)
    uses: list[tuple[Op, int]] = field(default_factory=list["tuple[Op, int]"], repr=False)

    @property
    def users(self) -> list[Op]:
        """The ops that read this value, in the order in which they were added, each once."""
        return list(dict.fromkeys(op for op, _ in self.uses))

    @property
    def constant(self) -> Array | None:
        """The stored array if this is a `const`, else None."""
        if self.owner is None or self.owner.name != "const":
            return None
        blob = self.owner.attrs["value"]
        assert isinstance(blob, Blob)
        return blob.array

    @property
    def integers(self) -> Array | None:
        """The constant as numbers to compute with: codes are decoded; None if it isn't a `const`."""
        stored = self.constant
        return None if stored is None else self.type.dtype.decode(stored)

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(eq=False, slots=True)
class Op:
    """One operation. Make it with `Graph.add`, which keeps the uses of its operands.

    `attrs` holds only what differs from the operator's declared defaults.
    """

    name: str
    operands: tuple[Value, ...]
    attrs: dict[str, Attr]
    results: tuple[Value, ...] = ()
    loc: Where = None

    @property
    def result(self) -> Value:
        (only,) = self.results
        return only

    @property
    def type(self) -> TensorType:
        """The type of the only result."""
        return self.result.type


@dataclass(eq=False, slots=True)
class Graph:
    """Inputs, ops in an order that runs, outputs. Passes own the graph that they are given."""

    name: str
    inputs: list[Value] = field(default_factory=list[Value])
    ops: list[Op] = field(default_factory=list[Op])
    outputs: list[Value] = field(default_factory=list[Value])
    _names: dict[str, int] = field(default_factory=dict[str, int], repr=False)

    def __iter__(self) -> Iterator[Op]:
        """Over a snapshot, so that a pass may change the graph meanwhile."""
        return iter(tuple(self.ops))

    def add_input(self, name: str, type: TensorType) -> Value:
        self.inputs.append(Value(type, self.fresh(name)))
        return self.inputs[-1]

    def add(
        self,
        name: str,
        operands: Iterable[Value],
        types: Sequence[TensorType],
        attrs: dict[str, Attr] | None = None,
        *,
        names: Sequence[str] = (),
        loc: Where = None,
        before: Op | None = None,
    ) -> Op:
        """Create an op, at the end or before another one, and return it.

        `names` are wishes: a name that is taken gets primes (`y'`).
        """
        op = Op(name, tuple(operands), dict(attrs or {}), loc=loc)
        wished = names or [name] * len(types)
        op.results = tuple(Value(t, self.fresh(n), op) for t, n in zip(types, wished, strict=True))
        for i, v in enumerate(op.operands):
            v.uses.append((op, i))
        self.ops.insert(len(self.ops) if before is None else self.ops.index(before), op)
        return op

    def constant(
        self,
        name: str,
        array: Array,
        quant: Quant | None = None,
        *,
        dtype: DType | None = None,
        before: Op | None = None,
    ) -> Value:
        """Add a `const` that holds `array` as stored; its type follows from it but for codes."""
        t = TensorType(dtype or DType.of(array), array.shape, quant)
        return self.add(
            "const",
            [],
            [t],
            {"value": Blob(name, array)},
            names=[name],
            before=before,
        ).result

    def set_operand(self, op: Op, index: int, new: Value) -> None:
        """Let one operand of `op` be `new`."""
        op.operands[index].uses.remove((op, index))
        op.operands = (*op.operands[:index], new, *op.operands[index + 1 :])
        new.uses.append((op, index))

    def replace_value(self, old: Value, new: Value) -> None:
        """Make every user of `old`, the graph's outputs included, use `new`."""
        for op, i in tuple(old.uses):
            self.set_operand(op, i, new)
        self.outputs[:] = [new if v is old else v for v in self.outputs]

    def erase(self, op: Op) -> None:
        """Remove an op whose results nothing uses; ValueError if something does."""
        if any(self.is_used(r) for r in op.results):
            raise ValueError(f"{op.name} still has users")
        for i, v in enumerate(op.operands):
            v.uses.remove((op, i))
        self.ops.remove(op)

    def is_used(self, v: Value) -> bool:
        return bool(v.uses) or v in self.outputs

    def sweep(self) -> bool:
        """Erase ops that nothing uses. True if there were any."""
        dead = 0
        for op in reversed(self.ops[:]):
            if not any(self.is_used(r) for r in op.results):
                self.erase(op)
                dead += 1
        return dead > 0

    def settle_names(self, outputs: Sequence[str] = ()) -> None:
        """Give the outputs these names, and take primes off names that nothing else has any more.

        An input that is an output keeps its name.
        """
        values = [*self.inputs, *(r for op in self.ops for r in op.results)]
        by_name = {v.name: v for v in values}
        for wish, v in zip(outputs, self.outputs, strict=False):
            holder = by_name.get(wish)
            fixed = holder is not None and (holder.owner is None or holder in self.outputs)
            if v.owner is None or fixed:
                continue
            del by_name[v.name]
            if holder is not None:
                holder.name = v.name
                by_name[holder.name] = holder
            v.name = wish
            by_name[wish] = v
        for v in values:
            name = v.name if v.name in outputs else v.name.rstrip("'")
            while len(name) < len(v.name) and name in by_name:
                name += "'"
            if len(name) < len(v.name):
                del by_name[v.name]
                by_name[name] = v
                v.name = name
        self._names = dict.fromkeys(by_name, 1)

    def assign(self, other: Graph) -> None:
        """Become `other`, which must not be used afterwards."""
        self.name, self.inputs, self.ops = other.name, other.inputs, other.ops
        self.outputs, self._names = other.outputs, other._names

    def clone(self) -> Graph:
        """A deep copy that shares the blobs."""
        out = Graph(self.name)
        seen: dict[Value, Value] = {}
        for v in self.inputs:
            seen[v] = out.add_input(v.name, v.type)
        for op in self.ops:
            new = out.add(
                op.name,
                [seen[v] for v in op.operands],
                [r.type for r in op.results],
                op.attrs,
                names=[r.name for r in op.results],
                loc=op.loc,
            )
            seen.update(zip(op.results, new.results, strict=True))
        out.outputs = [seen[v] for v in self.outputs]
        return out

    def fresh(self, wish: str) -> str:
        """A name that is not taken: the wish, fit for the text form, or that with primes."""
        stem = wish.rstrip("'")
        name = (re.sub(r"[^A-Za-z0-9_./-]", "_", stem) or "_") + wish[len(stem) :]
        while name in self._names:
            name += "'"
        self._names[name] = 1
        return name
