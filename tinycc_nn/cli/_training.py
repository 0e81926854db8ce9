"""A training on the terminal: a bar, then a line for each one that has ended."""

from __future__ import annotations

from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.progress import TimeRemainingColumn as Remaining

from tinycc_nn.training import watch


class TrainingBar(watch.Watcher):
    """A watcher that shows a bar on stderr while something trains. A context manager."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), Elapsed(), Remaining()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._bar: TaskID | None = None

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._bar is not None:  # a bar that was never started would end with an empty line
            self._progress.stop()

    def step(self, progress: watch.Progress) -> None:
        if self._bar is None:
            self._progress.start()
            self._bar = self._progress.add_task("", total=1.0)
        name = progress.made_by.partition("{")[0]
        text = f"{name}: epoch {progress.epoch}, loss {progress.loss:.4g}"
        self._progress.update(self._bar, completed=progress.done, description=text)
        if progress.done >= 1:
            self._progress.remove_task(self._bar)
            self._progress.stop()
            self._bar = None

    def note(self, message: str) -> None:
        click.echo(f"note: {message}", err=True)
