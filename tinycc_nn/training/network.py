"""A graph of the IR as a differentiable function, and its parameters back into the IR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph, Op, Value
from tinycc_nn.ir.types import F32, I8, Array, Blob, Quant
from tinycc_nn.numeric.requantize import multipliers
from tinycc_nn.ops import number, opdef
from tinycc_nn.pruning.layers import set_bias
from tinycc_nn.quantization.weights import BIAS_LIMIT, MULTIPLIER_BITS, quantize_bias
from tinycc_nn.training.float_ops import FLOAT, MOVES, PRODUCTS, clamp
from tinycc_nn.training.int8_ops import INT8, dequantize, int32_room, quantize, requantize
from tinycc_nn.training.normalize import MOMENTUM, Normalization
from tinycc_nn.training.past import before_rounding
from tinycc_nn.training.scales import Scales
from tinycc_nn.training.straight_through import replaced, rounded
from tinycc_nn.training.tensors import Tensor, to_array, to_tensor
from tinycc_nn.training.weights import (
    CodedWeight,
    FloatParameter,
    HashedWeight,
    is_coded,
    is_float,
    magnitude,
)

LEAST_MULTIPLIER = 2.0 ** (MULTIPLIER_BITS - 32)


@dataclass(frozen=True)
class Freedom:
    """What may change: nothing, if not `train`. steps: the scales of weights; ranges: those of
    activations; keep_zeros: weights that are exactly zero stay zero; precision: of float layers and
    of gradients, int8 layers have exact sums in any."""

    train: bool = True
    steps: bool = False
    ranges: bool = False
    keep_zeros: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"


class Network:
    """
    The function of a graph whose layers have constant weights.

    Its tensors are float32 [samples, *type.shape]: real numbers for floats, stored integers less
    the zero point for int8. stages: the graph's history, to find weights as they were before they
    were rounded.
    """

    def __init__(
        self,
        graph: Graph,
        freedom: Freedom,
        stages: Sequence[Graph] = (),
        device: str = "cpu",
    ) -> None:
        self.graph, self.device, self.training = graph, device, freedom.train
        self._freedom, self._coarse = freedom, freedom.precision == "bfloat16"
        self.scales = Scales(graph, learn=freedom.train and freedom.ranges, device=device)
        self._weights: dict[Value, FloatParameter | CodedWeight] = {}
        self._biases: dict[Op, _Bias] = {}
        self._norms: dict[Op, tuple[list[FloatParameter], list[Tensor]]] = {}
        self._normal: dict[Op, Normalization | None] = {}
        for op in graph.ops:
            if op.name in PRODUCTS:
                self._add_layer(op, stages)
            elif op.name == "batch_norm":
                self._add_norm(op)
            elif op.name != "const":
                _check(op)
        self._constants = {
            v: self._stored(v, v.constant[None])
            for v in (op.result for op in graph.ops if op.name == "const")
            if v.constant is not None and any(opdef(op.name).role(i) == "x" for op, i in v.uses)
        }

    def _add_layer(self, op: Op, stages: Sequence[Graph]) -> None:
        v = op.operands[1]
        _check_types(op)
        if any(w.constant is None for w in op.operands[1:]):
            raise _untrainable(op, "its weights are not constants")
        if v not in self._weights:
            if is_float(v):
                keep = self._freedom.keep_zeros
                self._weights[v] = FloatParameter(
                    v, masked=keep, per_channel=True, device=self.device
                )
            elif is_coded(v) and v.type.dtype.name == "hashed":
                learn = self._freedom.train and self._freedom.steps
                self._weights[v] = HashedWeight(v, learn=learn, device=self.device)
            elif is_coded(v):
                w, zeros = before_rounding(v, stages if self._freedom.train else ())
                zeros &= self._freedom.keep_zeros
                learn = self._freedom.train and self._freedom.steps
                self._weights[v] = CodedWeight(v, w, zeros, learn=learn, device=self.device)
            else:
                raise _untrainable(op, f"its weights are {v.type.dtype} with a zero point")
        if len(op.operands) == 3:
            self._biases[op] = _Bias(op, self.device)

    def _add_norm(self, op: Op) -> None:
        if any(v.constant is None for v in op.operands[1:]):
            raise _untrainable(op, "its parameters are not constants")
        learned = [
            FloatParameter(v, masked=False, per_channel=False, device=self.device)
            for v in op.operands[1:3]
        ]
        running = [
            to_tensor(v.constant).to(self.device) for v in op.operands[3:] if v.constant is not None
        ]
        self._norms[op] = learned, running

    def normalize(self, samples: Mapping[str, Array]) -> None:
        """From now on the sums of float convolutions go through a batch_norm, which `write` folds
        into their weights. It starts from the statistics on samples as stored, and changes nothing
        at first. TinyccError if there is no such convolution."""
        for op in self.graph.ops:
            alone = op.name == "conv2d" and len(op.operands[1].uses) == 1
            if alone and isinstance(self._weights[op.operands[1]], FloatParameter):
                self._normal[op] = None
        if not self._normal:
            hint = "leave normalize out, or train in front of quantize"
            raise TinyccError("normalize: the network has no convolution on floats", hint=hint)
        with torch.no_grad():
            self.forward(self.feed(samples), self.graph.outputs)
        for op in self._normal:
            self._biases.pop(op, None)

    def _stored(self, v: Value, stored: Array) -> Tensor:
        """Numbers as they are computed with."""
        t = to_tensor(stored).float().to(self.device)
        return t if v.type.quant is None else t - v.type.quant.zero

    def feed(self, inputs: Mapping[str, Array]) -> dict[Value, Tensor]:
        """Samples [n, *shape] as stored, by the name of the input."""
        return {v: self._stored(v, inputs[v.name]) for v in self.graph.inputs}

    def parameters(self) -> list[Tensor]:
        """Latent weights, biases and parameters of batch_norm."""
        found = [w.latent for w in self._weights.values()]
        found += [b.latent for b in self._biases.values()]
        found += [p.latent for learned, _ in self._norms.values() for p in learned]
        return found + [t for n in self._normalizations() for t in n.parameters()]

    def logarithms(self) -> list[Tensor]:
        """Logarithms of scales, of weights and activations, that are learned."""
        coded = [w for w in self._weights.values() if isinstance(w, CodedWeight)]
        return [*self.scales.parameters(), *(w.log for w in coded if w.log is not None)]

    def buffers(self) -> list[Tensor]:
        """What forward passes change: running means and variances."""
        found = [t for _, running in self._norms.values() for t in running]
        return found + [t for n in self._normalizations() for t in n.buffers()]

    def _normalizations(self) -> list[Normalization]:
        return [n for n in self._normal.values() if n is not None]

    def forward(
        self, inputs: Mapping[Value, Tensor], wanted: Sequence[Value]
    ) -> dict[Value, Tensor]:
        """The `wanted` values as real numbers, from inputs as `feed` gives them."""
        self.scales.refresh()
        env = {**self._constants, **inputs}
        last = {v: op for op in self.graph.ops for v in op.operands}
        found = {}
        for op in self.graph.ops:
            if op.name == "const":
                continue
            env[op.result] = self._run(op, env)
            for v in dict.fromkeys(op.operands):
                if last[v] is op and v not in wanted:
                    env.pop(v, None)
        for v in wanted:
            found[v] = self.real(v, env[v])
        return found

    def integers(self, inputs: Mapping[Value, Tensor], wanted: Sequence[Value]) -> list[Tensor]:
        """As `forward`, but int8 values as stored integers."""
        found = self.forward(inputs, wanted)
        return [self._unreal(v, found[v]) for v in wanted]

    def _unreal(self, v: Value, t: Tensor) -> Tensor:
        q = v.type.quant
        return t if q is None else torch.round(t / self.scales.of(v)) + q.zero

    def real(self, v: Value, t: Tensor) -> Tensor:
        """Real numbers of a value as it is computed with."""
        return t.float() if v.type.quant is None else t * self.scales.of(v)

    def _run(self, op: Op, env: Mapping[Value, Tensor]) -> Tensor:
        if op.name in PRODUCTS:
            return self._layer(op, env[op.operands[0]])
        if op.name == "batch_norm":
            return self._norm(op, env[op.operands[0]])
        operands = [env[v] for v in op.operands]
        if op.name == "quantize":
            return quantize(op, self.scales, operands[0].float())
        if op.name == "dequantize":
            return dequantize(op, self.scales, *operands)
        if op.type.dtype == I8 and op.name not in MOVES:
            return INT8[op.name](op, self.scales, *operands)
        return FLOAT[op.name](op, *operands)

    def _layer(self, op: Op, x: Tensor) -> Tensor:
        weight, bias = self._weights[op.operands[1]], self._biases.get(op)
        if isinstance(weight, FloatParameter):
            b = None if bias is None else bias.now().float()
            with torch.autocast(self.device, torch.bfloat16, enabled=self._coarse):
                if op not in self._normal:
                    return clamp(op, PRODUCTS[op.name](op, x, weight.now(), b))
                sums = PRODUCTS[op.name](op, x, weight.now())
                return clamp(op, self._normalized(op, sums, b))
        sx, sy = self.scales.of(op.operands[0]), self.scales.of(op.result)
        weight.refresh(self._least(bias, sx, sy))
        acc = self._sums(op, x, weight.integers())
        steps = weight.steps
        offset = torch.zeros((), dtype=torch.float64, device=self.device)
        if bias is not None:
            offset = rounded(bias.now() / (sx * steps))
        return requantize(op, self.scales, acc, sx * steps / sy, offset)

    def _normalized(self, op: Op, sums: Tensor, bias: Tensor | None) -> Tensor:
        known = self._normal[op]
        if known is None:
            self._normal[op] = Normalization(sums, bias)
            return sums if bias is None else sums + bias
        return known(sums, self.training)

    def _sums(self, op: Op, x: Tensor, w: Tensor) -> Tensor:
        """Exact sums of products of integers, float32; their gradients may be coarse."""
        product = PRODUCTS[op.name]
        if not (self._coarse and torch.is_grad_enabled()):
            return product(op, x, w)
        with torch.no_grad():
            exact = product(op, x, w)
        return replaced(product(op, x.bfloat16(), w.bfloat16()).float(), exact)

    def _least(self, bias: _Bias | None, sx: Tensor, sy: Tensor) -> Tensor:
        """The smallest steps with which biases and multipliers are in range, float64[out] or [1]."""
        least = (sy / sx).detach().reshape(1) * LEAST_MULTIPLIER
        if bias is not None:
            least = torch.maximum(least, bias.now().detach().abs() / (sx.detach() * BIAS_LIMIT))
        return least

    def _norm(self, op: Op, x: Tensor) -> Tensor:
        (gamma, beta), (mean, variance) = self._norms[op]
        y = F.batch_norm(
            x.reshape(-1, *x.shape[2:]).movedim(-1, 1),
            mean,
            variance,
            gamma.now(),
            beta.now(),
            training=self.training,
            momentum=MOMENTUM,
            eps=number(op, "epsilon"),
        )
        return y.movedim(1, -1).reshape(x.shape)

    def write(self) -> None:
        """Put the parameters into the graph; what did not change keeps its constant."""
        with torch.no_grad():
            self.scales.refresh()
            for op in self.graph.ops:
                if op.name in PRODUCTS and op.type.dtype == I8:
                    self._write_int8(op)
            for op, b in self._biases.items():
                if op.type.dtype == F32:
                    _replace(self.graph, op, 2, to_array(b.now()).astype(np.float32), None)
            for op, n in self._normal.items():
                assert n is not None
                self._write_folded(op, n)
            for v, w in self._weights.items():
                self._write_weight(v, w)
            for op, (learned, running) in self._norms.items():
                arrays = [p.array() for p in learned] + [to_array(t) for t in running]
                for i, a in enumerate(arrays, start=1):
                    _replace(self.graph, op, i, a, None)
            self.scales.write()
            self.graph.sweep()
            for op in self.graph.ops:
                if op.name in PRODUCTS and op.type.dtype == I8:
                    _check_range(op)

    def _write_int8(self, op: Op) -> None:
        """The bias of a layer at its new scales, and the room for its sums."""
        weight, bias = self._weights[op.operands[1]], self._biases.get(op)
        assert isinstance(weight, CodedWeight)
        sx, sy = self.scales.of(op.operands[0]), self.scales.of(op.result)
        weight.refresh(self._least(bias, sx, sy))
        stored = np.zeros(1)
        if bias is not None:
            steps = np.broadcast_to(to_array(weight.steps), bias.latent.shape)
            stored = quantize_bias(to_array(bias.now()), float(sx), steps)
            old = op.operands[2].type.quant
            scale = (float(sx) * steps).astype(np.float32)
            quant = Quant(Blob("scale", scale), 0, 0) if old is not None else None
            _replace(self.graph, op, 2, stored, quant)
        if int32_room(weight.integers()) + float(np.abs(stored).max()) >= 2**31:
            raise TinyccError(f"the sums of {op.result} may exceed 32 bits after training", op.loc)

    def _write_folded(self, op: Op, normalization: Normalization) -> None:
        weight = self._weights.pop(op.operands[1])
        assert isinstance(weight, FloatParameter)
        w, bias = normalization.folded(weight.now())
        _replace(self.graph, op, 1, to_array(w).astype(np.float32), None)
        set_bias(self.graph, op, to_array(bias).astype(np.float64))

    def _write_weight(self, v: Value, w: FloatParameter | CodedWeight) -> None:
        quant, dtype = None, v.type.dtype
        if isinstance(w, FloatParameter):
            array = w.array()
        else:
            (array, quant), dtype = w.stored(), w.dtype()
        same = v.constant is not None and np.array_equal(array, v.constant)
        if same and quant == v.type.quant and dtype == v.type.dtype:
            return
        name = v.name.rstrip("'")
        new = self.graph.constant(name, array, quant, dtype=dtype, before=v.owner)
        for op, i in tuple(v.uses):
            self.graph.set_operand(op, i, new)


class _Bias:
    """The bias of one layer as real numbers, float64[out], latent in units of a power of two."""

    def __init__(self, op: Op, device: str) -> None:
        v, x, w = op.operands[2], op.operands[0].type, op.operands[1].type
        assert v.constant is not None
        real = v.constant.astype(np.float64)
        if x.quant is not None and w.quant is not None:
            real = real * x.steps() * w.steps()
        self._unit = float(magnitude(real[None]).item())
        self.latent = to_tensor(real / self._unit).to(device).requires_grad_()

    def now(self) -> Tensor:
        """float64[out]."""
        return self.latent * self._unit


def _replace(graph: Graph, op: Op, index: int, array: Array, quant: Quant | None) -> None:
    """Another constant as an operand, unless it is the same."""
    old = op.operands[index]
    if old.constant is not None and np.array_equal(old.constant, array) and old.type.quant == quant:
        return
    new = graph.constant(old.name.rstrip("'"), array, quant, before=op)
    graph.set_operand(op, index, new)


def _check(op: Op) -> None:
    """TinyccError for an operator that has no gradient here."""
    if op.name == "dequantize" and op.operands[0].constant is not None:
        raise _untrainable(op, "it has a constant operand: run fuse-qdq first")
    if op.name in ("quantize", "dequantize"):
        return
    _check_types(op)
    known = FLOAT if op.type.dtype == F32 or op.name in MOVES else INT8
    if op.name not in known:
        raise _untrainable(op, f"there is no gradient of {op.name} on {op.type.dtype}")


def _check_types(op: Op) -> None:
    others = {v.type.dtype for v in (*op.operands, op.result) if v.constant is None} - {F32, I8}
    if others:
        raise _untrainable(op, f"there is no gradient of {', '.join(map(str, others))}")


def _check_range(op: Op) -> None:
    x, w, y = op.operands[0].type, op.operands[1].type, op.type
    try:
        multipliers(x.steps() * w.steps() / y.steps())
    except ValueError as e:
        raise TinyccError(f"{op.result} after training: {e}", op.loc, "a lower lr") from None


def _untrainable(op: Op, why: str) -> TinyccError:
    return TinyccError(f"{op.name} {op.result} can't be trained: {why}", op.loc)
