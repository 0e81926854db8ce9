"""From a verified graph to C files: choose kernels, order and place tensors, lower, print."""

from __future__ import annotations

from tinycc_nn.backend import Artifact, BackendOptions, Effort, Observe, Tuned, unobserved
from tinycc_nn.backends.tvm.allocate import scratch_name
from tinycc_nn.backends.tvm.choose import Choices
from tinycc_nn.backends.tvm.costs import TvmCosts
from tinycc_nn.backends.tvm.emit import emit
from tinycc_nn.backends.tvm.settle import settle
from tinycc_nn.backends.tvm.tuning.tune import tune
from tinycc_nn.cost import Costs
from tinycc_nn.exits import staged
from tinycc_nn.ir.graph import Graph
from tinycc_nn.schedule import steps
from tinycc_nn.target import Target

__all__ = ["TvmBackend", "scratch_name"]


class TvmBackend:
    """Plain C99 without a runtime: kernels are TIR functions, weights are constants."""

    def compile(self, graph: Graph, target: Target, options: BackendOptions) -> Artifact:
        """Generate C. TinyccError names every op that no kernel of the target takes, LimitError
        those that no kernel computes in the RAM of `options`."""
        parts = staged(graph)
        settled = settle(parts, Choices.of(steps(parts.graph), target, options), options)
        return emit(parts, settled.order, settled.taken, settled.allocation, options)

    def costs(
        self, target: Target, options: BackendOptions, observe: Observe = unobserved
    ) -> Costs:
        """What layers cost when compiled so; see `Backend`."""
        return TvmCosts(target, options, observe)

    def tune(
        self,
        graph: Graph,
        target: Target,
        options: BackendOptions,
        effort: Effort,
        observe: Observe,
    ) -> Tuned:
        """Measure the kernels of every layer that are not known yet; see `Tunable`."""
        return tune(graph, target, options, effort, observe)
