"""
finetune: train the weights of a float network a little more, on labelled samples.

    %w = const @w#1 : f32[64,1,1,64]             %w = const @w#2 : f32[64,1,1,64]
    %y = conv2d %x, %w, %b                   ->  %y = conv2d %x, %w, %b'

After prune-channels, prune-weights, low-rank and others it makes up for what they took. The
structure stays: weights that are exactly zero stay zero, factors stay factors, a constant that two
layers share is one parameter. Without labels a network that reconstructs its input is trained to do
that. batch_norm computes with the statistics of each batch and averages them; with `normalize` every
convolution does so behind its sums until the training ends, see tinycc_nn/training/normalize.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._training import TrainingPass, freedom_of, has_int8_layers, learn_labels
from tinycc_nn.pipeline import Context


@dataclass(frozen=True)
class Finetune(TrainingPass):
    needs_training: ClassVar[bool] = True

    def apply(self, graph: Graph, context: Context) -> None:
        if has_int8_layers(graph):
            hint = "finetune goes in front of quantize; qat trains int8 layers"
            raise TinyccError("finetune: the network is quantized", hint=hint)
        learn_labels(graph, context, self, freedom_of(self))
