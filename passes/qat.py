"""
qat: train an int8 network, its weights int8 or codes, as it will compute.

    %w = const @w#1 : i4[64,1,1,64] q(@s#1, 0, axis=0)      %w = const @w#2 : i4[...] q(@s#2, 0, axis=0)
    %y = conv2d %x, %w, %b : i8[...] q(0.02, -128)       -> %y = conv2d %x, %w, %b' : i8[...] q(0.019, -128)

Forward passes compute the integers of the interpreter, backward passes skip the roundings
(straight-through). Weights start from what they were before they were rounded, where the pipeline
knows it; every weight format keeps its codes, shared weights stay shared, biases are int32 at the new
scales. batch norms are folded by then. `steps` are the scales of weights, `ranges` those of
activations; those of inputs and outputs stay.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-
Arithmetic-Only Inference", 2018; Esser et al., "Learned Step Size Quantization", 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._training import TrainingPass, freedom_of, has_int8_layers, learn_labels
from tinycc_nn.pipeline import Context, option


@dataclass(frozen=True)
class Qat(TrainingPass):
    needs_training: ClassVar[bool] = True

    steps: Literal["learned", "calibrated"] = option(
        "learned", "scales of weights change with training, or stay"
    )
    ranges: Literal["learned", "calibrated"] = option(
        "learned", "scales of activations change with training, or stay"
    )

    def apply(self, graph: Graph, context: Context) -> None:
        if not has_int8_layers(graph):
            hint = "put it after quantize, or after quantize-weights"
            raise TinyccError("qat: there is no int8 layer to train", hint=hint)
        freedom = freedom_of(self, self.steps, self.ranges)
        learn_labels(graph, context, self, freedom)
