"""What can be seen of a training while it runs, and what stays of it: its learning curve."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """After an epoch: the mean loss of its batches; the held-out samples' loss and the fraction
    of them that is right (None where nothing is held out, or there are no labels)."""

    epoch: int
    loss: float
    held_out_loss: float | None = None
    held_out_top1: float | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """The learning curve of one pass; `made_by` is its text in the pipeline."""

    made_by: str
    points: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` is the fraction of the training that is over, `loss` that of the last batch."""

    made_by: str
    done: float
    epoch: int
    loss: float


class Watcher:
    """Sees trainings; this one looks away."""

    def step(self, progress: Progress) -> None:
        """After a batch."""

    def curve(self, curve: Curve) -> None:
        """After an epoch, and once more where a finished training was found in the cache."""

    def note(self, message: str) -> None:
        """Something that the user should know."""


class Recorder(Watcher):
    """Keeps the learning curves and the notes; another watcher sees all but the notes."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._curves: list[Curve] = []
        self.notes: list[str] = []

    @property
    def curves(self) -> tuple[Curve, ...]:
        return tuple(self._curves)

    def step(self, progress: Progress) -> None:
        self._watcher.step(progress)

    def curve(self, curve: Curve) -> None:
        last = self._curves[-1] if self._curves else None
        if last is not None and curve.points[: len(last.points)] == last.points:
            self._curves.pop()
        self._curves.append(curve)
        self._watcher.curve(curve)

    def note(self, message: str) -> None:
        self.notes.append(message)
