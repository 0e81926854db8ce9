"""What the training passes share: their options, and the way into torch, which is imported late."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from tinycc_nn.data import Dataset
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir.graph import Graph
from tinycc_nn.ir.types import I8
from tinycc_nn.pipeline import Context, Pass, load
from tinycc_nn.training.data import ArrayData
from tinycc_nn.training.settings import Settings

if TYPE_CHECKING:
    from tinycc_nn.training.network import Freedom
    from tinycc_nn.training.run import Surroundings


@dataclass(frozen=True)
class TrainingPass(Settings, Pass):
    """A pass that changes parameters only, by training."""

    keeps_values: ClassVar[bool] = False
    reads_calibration: ClassVar[bool] = True
    reads_history: ClassVar[bool] = True
    needs_torch: ClassVar[bool] = True


def surroundings(context: Context, who: str) -> Surroundings:
    """What the training loop needs of the context; without training data the calibration
    samples, unlabelled, take its place. TinyccError where there are none either."""
    from tinycc_nn.training.run import Surroundings

    data = context.training
    if data is None:
        if not context.calibration:
            hint = "give some with --train; --calib will do, since labels are not needed"
            raise TinyccError(f"the pass {who} needs samples to train on", hint=hint)
        data = ArrayData(Dataset(context.calibration), "the calibration data")
    return Surroundings(
        data,
        context.calibration,
        [stage.graph for stage in context.history],
        context.watcher,
        context.checkpoints,
    )


def freedom_of(who: Settings, steps: str = "calibrated", ranges: str = "calibrated") -> Freedom:
    """What training may change: the scales that are "learned", and what all settings say."""
    from tinycc_nn.training.network import Freedom

    return Freedom(
        steps=steps == "learned",
        ranges=ranges == "learned",
        keep_zeros=who.keep_zeros,
        precision=who.precision,
    )


def learn_labels(graph: Graph, context: Context, who: TrainingPass, freedom: Freedom) -> None:
    """Train a graph in place on labels, with the options of `who`; TinyccError without labels."""
    from tinycc_nn.training.losses import Head, LabelLoss
    from tinycc_nn.training.objective import Supervised
    from tinycc_nn.training.run import train_graph

    check_mix(who, who.name())
    around = surroundings(context, who.name())
    loss = LabelLoss(Head.of(graph))
    loss.check(graph, around.data, who.name())
    train_graph(graph, str(who), who, freedom, lambda _: Supervised(loss), around)


def trainer(settings: Settings, graph: Graph, learn: str) -> Pass:
    """The pass that trains as the settings say: from the network as it was read (`teacher`), or
    from `labels`, which for int8 layers is qat."""
    shared = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    name = "distill" if learn == "teacher" else "qat" if has_int8_layers(graph) else "finetune"
    return load(name)(**shared)


def has_int8_layers(graph: Graph) -> bool:
    """Whether any layer computes on int8."""
    return any(
        op.type.dtype == I8 and op.name in ("conv2d", "conv2d_transpose", "dense")
        for op in graph.ops
    )


def check_labels(context: Context, settings: Settings, learn: str, who: str) -> None:
    """TinyccError in front of all work if `who` is to learn from `labels` and can't."""
    if learn != "labels":
        return
    check_mix(settings, who)
    if context.training is None:
        hint = "give data with labels by --train, or learn=teacher"
        raise TinyccError(f"{who}: learn=labels needs training data", hint=hint)


def check_mix(settings: Settings, who: str) -> None:
    """TinyccError if samples that have labels are to be blended."""
    if settings.mix:
        hint = "leave mix out, or learn from a teacher alone"
        raise TinyccError(f"{who}: mix={settings.mix:g} blends samples, not labels", hint=hint)
