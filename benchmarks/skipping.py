"""From what part of zeros on is it worth to skip them, and what does it save in whole networks?

All cycles are those of the emulated cores at -O2. The first table is of single layers of whose inputs
the given part is zero in each pixel, the dense kernel beside them; break-even is where the line through
the two points round it crosses the dense kernel's cycles, 0 % where no zeros are needed. The second one is of the layers in
their networks, mean of 8 samples of the evaluation data: zeros of all of it, cycles dense and
skipping, `*` where `skip-zeros` marks the layer, by calibration data. The last one is of the networks:
the mean of 4 samples of the evaluation data, the worst case (no element is zero), samples of 8 in
which C on the host or on the core differs from the interpreter. `always` marks all layers with at
least 25 % zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tinycc_nn.accuracy import stored_inputs
from tinycc_nn.backend import BackendOptions, load_backend
from tinycc_nn.cost import Costs
from tinycc_nn.ir import I8, Array, Blob, Graph, Quant, TensorType
from tinycc_nn.levels import default_pipeline
from tinycc_nn.measure import measure
from tinycc_nn.onnx import read_model
from tinycc_nn.ops import emit
from tinycc_nn.passes.skip_zeros import SkipZeros, zero_rates
from tinycc_nn.passmanager import run_pipeline
from tinycc_nn.pipeline import Context
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.pruning.samples import evenly
from tinycc_nn.target import Target

RATES = (0, 25, 40, 50, 60, 75, 100)
SINGLE = {
    "1x1 64->64, 125 pixels": ((1, 25, 5, 64), 64),
    "dense 128->128": ((1, 128), 128),
    "dense 640->128": ((1, 640), 128),
    "dense 128->640": ((1, 128), 640),
}
CORES = ("cortex-m4", "cortex-m7", "cortex-m3", "cortex-m0plus")
NETWORK_CORES = ("cortex-m4", "cortex-m3", "cortex-m0plus")
PASSES = ("", "skip-zeros", "skip-zeros{always=true}")
SAMPLES = 8

Row = list[str]


def costs_for(core: str) -> Costs:
    return load_backend("tvm").costs(Target.load(core), BackendOptions("net"))


def single(shape: tuple[int, ...], out: int, skip: int) -> Graph:
    """A layer whose inputs are at least zero."""
    random = np.random.default_rng(0)
    g = Graph("net")
    x = g.add_input("x", TensorType(I8, shape, Quant(0.05, -128)))
    w = np.clip(random.normal(0, 35, (out, shape[-1])), -127, 127).astype(np.int8)
    scales = Quant(Blob("s", random.uniform(0.004, 0.008, out).astype(np.float32)), 0, 0)
    weights = g.constant("w", w.reshape(out, *(1, 1) * (len(shape) == 4), -1), scales)
    bias = g.constant("b", random.integers(-900, 900, out).astype(np.int32))
    name = "conv2d" if len(shape) == 4 else "dense"
    attrs = {"skip": skip} if skip else {}
    g.outputs = [emit(g, name, [x, weights, bias], attrs, quant=Quant(0.5, 5), result="y")]
    return g


def single_layers() -> Iterator[Row]:
    """Layer, core, cycles dense, skipping for each of RATES, break-even."""
    yield ["layer", "core", "dense", *(f"{r} %" for r in RATES), "break-even"]
    random = np.random.default_rng(1)
    for name, (shape, out) in SINGLE.items():
        for core in CORES:
            costs = costs_for(core)
            x = random.integers(-127, 128, (2, *shape)).astype(np.int8)
            dense = costs.on_samples(single(shape, out, 0), {"x": x})["y"]
            order = random.random(x.shape).argsort(axis=-1)
            marked = single(shape, out, 50)
            cycles = []
            for rate in RATES:
                count = round(shape[-1] * rate / 100)
                zeroed = np.where(order < count, -128, x).astype(np.int8)
                cycles.append(costs.on_samples(marked, {"x": zeroed})["y"])
            at = np.interp(-dense, -np.array(cycles), RATES)
            numbers = [f"{c:,.0f}" for c in (dense, *cycles)]
            yield [name, core.removeprefix("cortex-"), *numbers, f"{at:.0f} %"]


@dataclass(frozen=True)
class Network:
    name: str
    folder: Path
    model: str
    data: str
    calibrated: int

    @cached_property
    def samples(self) -> Array:
        x: Array = np.load(self.folder / "data" / self.data)["x"]
        return x[:, None]

    @cached_property
    def graph(self) -> Graph:
        """The int8 network."""
        text = "quantize, quantize-interface, drop-dead-channels, simplify-reshapes"
        graph = read_model(self.folder / "models" / self.model)
        passes = (*parse_pipeline(default_pipeline("O2", "float32")), *parse_pipeline(text))
        return run_pipeline(graph, passes, Context(self._named(graph, calibration=True)))

    def after(self, text: str, costs: Costs) -> Graph:
        context = Context(self._named(self.graph, calibration=True), costs=costs)
        return run_pipeline(self.graph, parse_pipeline(text), context)

    @cached_property
    def evaluation(self) -> dict[str, Array]:
        return stored_inputs(self.graph, self._named(self.graph, calibration=False))

    def _named(self, graph: Graph, *, calibration: bool) -> dict[str, Array]:
        n = self.calibrated
        x = self.samples[:n] if calibration else self.samples[n:]
        return {graph.inputs[0].name: x}


def layers_of(network: Network) -> Iterator[Row]:
    """Network, core, layer, zeros, cycles dense and skipping."""
    every = SkipZeros(always=True, min_zeros=0.0)
    for core in NETWORK_CORES:
        costs = costs_for(core)
        chosen = network.after("skip-zeros", costs)
        marked = {op.result.name for op in chosen.ops if "skip" in op.attrs}
        skipping = network.after(str(every), costs)
        ops = [op for op in skipping.ops if "skip" in op.attrs]
        rates = zero_rates(skipping, ops, network.evaluation)
        few = evenly(network.evaluation, SAMPLES)
        both = costs.on_samples(network.graph, few), costs.on_samples(skipping, few)
        for op, rate in rates.items():
            layer = op.result.name
            figures = [f"{cycles[layer]:,.0f}" for cycles in both]
            mark = "*" if layer in marked else ""
            short = core.removeprefix("cortex-")
            yield [network.name, short, layer, f"{rate:.0%}".replace("%", " %"), *figures, mark]


def whole(network: Network) -> Iterator[Row]:
    """Network, core, pass, cycles (mean, worst), flash, samples that differ."""
    for core in NETWORK_CORES:
        costs, target = costs_for(core), Target.load(core)
        for text in PASSES:
            graph = network.after(text, costs) if text else network.graph
            options = BackendOptions("net")
            source = load_backend("tvm").compile(graph, target, options).source
            m = measure(
                source, graph, target, evenly(network.evaluation, SAMPLES), compared=SAMPLES
            )
            assert m.profile is not None
            mean = m.dynamic.cycles_mean if m.dynamic else m.profile.cycles
            figures = f"{mean:,.0f}", f"{m.profile.cycles:,}", f"{m.program.flash_bytes:,}"
            short, differ = core.removeprefix("cortex-"), str(m.bit_exact.mismatches)
            yield [network.name, short, text or "none", *figures, differ]


def sections(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Titles with tables, the first row of which is its head."""
    yield "Single layers", list(single_layers())
    networks = [
        Network("KWS", folder, "kws_dscnn.onnx", "kws.npz", 250),
        Network("AD", folder, "ad_autoencoder.onnx", "ad.npz", 98),
    ]
    head = ["network", "core", "layer", "zeros", "dense", "skipping", "marked"]
    yield "Layers of networks", [head, *(row for n in networks for row in layers_of(n))]
    head = ["network", "core", "pass", "cycles, mean", "cycles, worst", "flash", "differ"]
    yield "Networks", [head, *(row for n in networks for row in whole(n))]
