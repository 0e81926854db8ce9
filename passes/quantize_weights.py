"""
quantize-weights: the weights of int8 layers as codes of a few bits.

    %w = const @w : i8[64,1,1,64] q(@w.scale, 0, axis=0)
    %y = conv2d %x, %w, %b : i8[...]
 ->
    %w = const @w : posit<5,1>[64,1,1,64] q(@w.scale', 0, axis=0)
    %y = conv2d %x, %w, %b' : i8[...]

For conv2d (not grouped, or depthwise) and dense. Activations keep their quantization, weights that
are exactly zero stay zero. `fixed<n,f>` are n bits in units of 2^-f, f = 0..15: above n - 1 for
weights that are small; with the scale outside, f changes nothing. `format` is i2..i7, ternary, binary, fixed<n,f>, posit<n,es>, fixed<n> and
posit<n> (f where the scale is inside, es by the error in each layer), book<k> (k
weights that all share, found by k-means), hashed<k> (k buckets, whose values the weights share by a
hash of their position, by least squares; no code is stored), or auto:<bits> for a choice by layer. After a float model,
`quantize{weight_bits=12}` leaves more to round from than int8.

Sources: Han et al., "Deep Compression", 2016 (shared weights); Chen et al., "Compressing Neural
Networks with the Hashing Trick", 2015 (hashed buckets); Li et al., "Ternary Weight Networks",
2016; Langroudi et al., "Deep Learning Inference on Embedded Devices: Fixed-Point vs Posit", 2018;
Frantar et al., "GPTQ", 2023 (rounding=optimized); Nagel et al., "Data-Free Quantization", 2019 (bias).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph, Op
from tinycc_nn.pipeline import Context, Pass, option
from tinycc_nn.quantization.mixed import choose_formats
from tinycc_nn.quantization.moments import Moments, input_moments
from tinycc_nn.quantization.recode import Settings, recode, takes_codes
from tinycc_nn.quantization.wish import Wish, parse_wish

MOST_SAMPLES = 128

FORMATS = ("i3", "i4", "i5", "i6", "ternary", "posit<5,0>", "book<16>", "auto:4", "auto:5")
"""What a search tries."""


@dataclass(frozen=True)
class QuantizeWeights(Pass):
    keeps_values: ClassVar[bool] = False
    reads_calibration: ClassVar[bool] = True

    format: str = option(
        "i4",
        "i2..i7, ternary, binary, fixed<n,f>, posit<n,es>, book<k>, hashed<k>, auto:<bits>",
        choices=FORMATS,
    )
    granularity: Literal["channel", "tensor"] = option("channel", "a scale for each, or one")
    error: Literal["output", "weight"] = option(
        "output", "what scales minimize: the variance of output or weight error"
    )
    rounding: Literal["optimized", "nearest", "standard"] = option(
        "optimized", "codes make up for each other's errors, or alone; standard: of posits"
    )
    scale: Literal["outside", "inside"] = option(
        "outside", "any, in the requantization, or 1: weights are the format's own numbers"
    )
    bias_correction: bool = option(True, "keep the mean of each channel as it was")
    formats: tuple[str, ...] = option(
        (), "other formats by layer, as in conv1:posit<5,1>", choices=FORMATS, by_layer=True
    )
    layers: tuple[str, ...] = option((), "names of the only layers that are changed")
    skip: tuple[str, ...] = option((), "names of layers that are left as they are", by_layer=True)

    def __post_init__(self) -> None:
        for text in (self.format, *(self._format_of(f) for f in self.formats)):
            parse_wish(text)

    def apply(self, graph: Graph, context: Context) -> None:
        ops = [op for op in graph.ops if takes_codes(op)]
        if not ops:
            hint = "it works after quantize, or on a model that is quantized"
            raise TinyccError("quantize-weights: there is no int8 layer with weights", hint=hint)
        names = {op.result.name.rstrip("'"): op for op in ops}
        overrides = {}
        for text in self.formats:
            layer, _, wish = text.partition(":")
            overrides[_found(layer, names)] = parse_wish(wish)
        only = {_found(name, names) for name in self.layers} or set(ops)
        kept = {_found(name, names) for name in self.skip}
        chosen = [op for op in ops if (op in only or op in overrides) and op not in kept]
        moments = self._moments(graph, context, chosen)
        settings = Settings(
            self.granularity == "channel",
            self.error,
            self.rounding,
            self.bias_correction,
            self.scale == "inside",
        )
        wishes = self._wishes(graph, context, chosen, moments, settings)
        for op in chosen:
            recode(graph, op, overrides.get(op) or wishes[op], settings, moments.get(op))
        graph.sweep()

    def _wishes(
        self,
        graph: Graph,
        context: Context,
        ops: list[Op],
        moments: dict[Op, Moments],
        settings: Settings,
    ) -> dict[Op, Wish]:
        wish = parse_wish(self.format)
        if wish.budget is None:
            return dict.fromkeys(ops, wish)
        inputs = {k: a[:32] for k, a in stored_inputs(graph, context.calibration).items()}
        return choose_formats(graph, inputs, ops, wish.budget, settings, moments)

    def _moments(self, graph: Graph, context: Context, ops: list[Op]) -> dict[Op, Moments]:
        automatic = parse_wish(self.format).budget is not None
        asked = [f"error={self.error}"] if self.error == "output" else []
        asked += [f"rounding={self.rounding}"] if self.rounding == "optimized" else []
        asked += [f"format={self.format}"] if automatic else []
        if not context.calibration:
            if asked:
                hint = "give some with --calib, or use {error=weight, rounding=nearest}"
                message = f"quantize-weights: {', '.join(asked)} needs calibration data"
                raise TinyccError(message, hint=hint)
            return {}
        inputs = stored_inputs(graph, context.calibration)
        return input_moments(graph, {k: a[:MOST_SAMPLES] for k, a in inputs.items()}, ops)

    @staticmethod
    def _format_of(text: str) -> str:
        layer, colon, wish = text.partition(":")
        if not colon or not layer:
            raise ValueError(f"formats: '{text}' is not LAYER:FORMAT")
        return wish


def _found(name: str, layers: dict[str, Op]) -> Op:
    if (op := layers.get(name.rstrip("'"))) is None:
        message = f"quantize-weights: no int8 layer with weights is called '{name}'"
        raise TinyccError(message, hint=nearest(name, layers))
    return op
