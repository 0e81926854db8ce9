"""
distill: train a network to answer as a better one does.

    %w = const @w#1 : i4[64,1,1,64] q(@s#1, 0, axis=0)      %w = const @w#2 : i4[...] q(@s#2, 0, axis=0)
    %y = conv2d %x, %w, %b                               -> %y = conv2d %x, %w, %b'

The teacher is the network as it was read, or as it was in front of a pass of this pipeline. Labels
are not needed: without --train the calibration samples will do. Float and int8 networks learn, the
latter as qat trains them; the structure stays as in finetune. `labels` is the weight of the error
against labels, `match` names layers whose results are to be those of the teacher's layers of the
same name and shape, with the weight `match_weight`.

Sources: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015; Mishra and
Marr, "Apprentice", 2018 (quantized students); Romero et al., "FitNets", 2015 (match).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.graph import Graph
from tinycc_nn.passes._training import TrainingPass, check_mix, freedom_of, surroundings
from tinycc_nn.pipeline import Context, option

if TYPE_CHECKING:
    from tinycc_nn.training.objective import Taught

ORIGINAL = "original"


@dataclass(frozen=True)
class Distill(TrainingPass):
    reads_training: ClassVar[bool] = True

    teacher: str = option(ORIGINAL, "the network as it was read, or before the pass of that name")
    temperature: float = option(2.0, "divides what goes into softmax, of both networks")
    labels: float = option(
        0.0, "weight of the error against labels, 0..1; the teacher has the rest"
    )
    match: tuple[str, ...] = option((), "names of layers whose results are compared as well")
    match_weight: float = option(0.1, "weight of that, beside the teacher's and the labels'")
    steps: Literal["learned", "calibrated"] = option(
        "learned", "scales of int8 or coded weights change with training, or stay"
    )
    ranges: Literal["learned", "calibrated"] = option(
        "learned", "scales of int8 activations change with training, or stay"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature <= 100:
            raise ValueError("temperature must be above 0 and at most 100")
        if not 0 <= self.labels <= 1 or self.match_weight < 0:
            raise ValueError("labels must be in 0..1, match_weight not negative")

    def apply(self, graph: Graph, context: Context) -> None:
        from tinycc_nn.training.losses import Head, LabelLoss
        from tinycc_nn.training.run import train_graph

        around = surroundings(context, self.name())
        teacher = self._teacher(context)
        if self.labels:
            check_mix(self, self.name())
            LabelLoss(Head.of(graph)).check(graph, around.data, self.name())
        freedom = freedom_of(self, self.steps, self.ranges)
        train_graph(
            graph, str(self), self, freedom, lambda d: self._objective(graph, teacher, d), around
        )

    def _objective(self, graph: Graph, teacher: Graph, device: str) -> Taught:
        from tinycc_nn.training.losses import Head, LabelLoss, TeacherLoss, matched_values
        from tinycc_nn.training.network import Freedom, Network
        from tinycc_nn.training.objective import Taught

        ours, theirs = Head.of(graph), Head.of(teacher)
        if ours.value.type.size != theirs.value.type.size or ours.classes != theirs.classes:
            message = (
                f"distill: the teacher's output is {theirs.value.type}, ours {ours.value.type}"
            )
            raise TinyccError(message, hint="another teacher")
        return Taught(
            Network(teacher, Freedom(train=False, precision=self.precision), device=device),
            TeacherLoss(ours, theirs, self.temperature),
            LabelLoss(ours),
            self.labels,
            matched_values(graph, teacher, self.match),
            self.match_weight,
        )

    def _teacher(self, context: Context) -> Graph:
        """The graph that is learned from, a copy; TinyccError where there is none."""
        if self.teacher == ORIGINAL:
            return context.history[0].graph.clone()
        found = [s.graph for s in context.history[:-1] if s.before == self.teacher]
        if not found:
            hint = nearest(self.teacher, [ORIGINAL, *(s.before for s in context.history[:-1])])
            message = f"distill: no pass '{self.teacher}' came before, so it can't be the teacher"
            raise TinyccError(message, hint=hint)
        return found[-1].clone()
