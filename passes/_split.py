"""What low-rank and separate-conv share: the layers to split, their inputs, the fit afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Attr, Graph, Op, Value
from tinycc_nn.ir.types import F32, Array
from tinycc_nn.ops import emit
from tinycc_nn.pipeline import Context
from tinycc_nn.pruning.layers import is_layer, named, set_bias
from tinycc_nn.pruning.reconstruct import Target, reconstruct, targets, walk
from tinycc_nn.pruning.samples import calibration, rows_of


def layers_to_split(
    graph: Graph, made_by: str, names: Sequence[str], why_not: Callable[[Op], str]
) -> list[Op]:
    """The named layers, else all that can be split; TinyccError if one, or every one, can't.

    why_not: what keeps a layer with constant weights from it, else an empty text.
    """
    if names:
        chosen = named(graph, names, f"{made_by}: layers")
        for op in graph.ops:
            if op in chosen and (why := reason(op, why_not)):
                raise TinyccError(f"{made_by}: {op.result} can't be split: {why}", op.loc)
        return [op for op in graph.ops if op in chosen]
    found = [op for op in graph.ops if not reason(op, why_not)]
    if found:
        return found
    reasons = dict.fromkeys(
        f"{op.result}: {reason(op, why_not)}"
        for op in graph.ops if op.name in ("conv2d", "dense")
    )  # fmt: skip
    hint = "; ".join(list(reasons)[:5]) or "there is no conv2d and no dense"
    raise TinyccError(f"{made_by}: no layer can be split", graph.outputs[0].name, hint)


def reason(op: Op, why_not: Callable[[Op], str]) -> str:
    """Why a layer can't be split, else an empty text."""
    if op.name not in ("conv2d", "dense"):
        return f"it is a {op.name}"
    if op.type.dtype != F32:
        return "it is not float; put the pass in front of quantize"
    return why_not(op) if is_layer(op) else "its weights are no constant"


@dataclass
class Splitting:
    """Calibration data and what layers compute on it, while a graph is changed."""

    graph: Graph
    inputs: Mapping[str, Array]
    wanted: dict[Op, Target] = field(default_factory=dict[Op, Target])

    @staticmethod
    def start(graph: Graph, context: Context, made_by: str, *, measured: bool) -> Splitting:
        """With the samples and the targets of every layer, or without data."""
        if not measured:
            return Splitting(graph, {})
        inputs = calibration(graph, context.calibration, made_by, "calibrate=false")
        layers = [op for op in graph.ops if is_layer(op)]
        return Splitting(graph, inputs, targets(graph, layers, inputs))

    def each(self, layers: Sequence[Op], see: Callable[[Op, Array | None], None]) -> None:
        """Call `see` with each layer and what it reads, float64[m, k], or None without data."""
        if not self.inputs:
            for op in layers:
                see(op, None)
            return
        chosen = set(layers)

        def look(op: Op, x: Array) -> None:
            if op in chosen:
                see(op, rows_of(op, x, self.wanted[op].which)[0])

        walk(self.graph, self.inputs, look)

    def emit(
        self, at: Op, name: str, x: Value, w: tuple[str, Array], attrs: Mapping[str, Attr], to: str
    ) -> Value:
        """A layer without bias in front of `at`; `w` is the name and the contents of its weights."""
        weight = self.graph.constant(w[0], w[1].astype("float32"), before=at)
        return emit(self.graph, name, [x, weight], attrs, result=to, before=at, loc=at.loc)

    def replace(self, at: Op, new: Value, bias: Array) -> None:
        """Let the layer that makes `new` take the place of `at`, with a bias float64[out]."""
        layer = new.owner
        assert layer is not None
        set_bias(self.graph, layer, bias)
        self.graph.replace_value(at.result, new)
        if at in self.wanted:
            self.wanted[layer] = self.wanted.pop(at)

    def fit(self) -> None:
        """Fit every layer that computed something before to that; sweep."""
        self.graph.sweep()
        if self.inputs:
            reconstruct(self.graph, self.wanted, self.inputs)
