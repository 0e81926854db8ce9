"""`compile --from-search`: the request is the search's, not the command line's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tinycc_nn.diagnostics import UsageError

if TYPE_CHECKING:
    from tinycc_nn.report import Report
    from tinycc_nn.request import Request
    from tinycc_nn.search.replay import Point

_OF_THE_SEARCH = (
    "mcpu", "target", "level", "dtype", "weights", "pipeline", "max_flash", "max_ram", "input_dims",
    "backend", "kernels", "tune_budget", "toolchain",
)  # fmt: skip


class Replay:
    """A point of a search, compiled again."""

    def __init__(self, text: str, context: click.Context) -> None:
        """UsageError for options that the search has decided."""
        from tinycc_nn.search.replay import find_point

        for p in context.command.params:
            given = context.get_parameter_source(p.name or "") == ParameterSource.COMMANDLINE
            if p.name in _OF_THE_SEARCH and given:
                option = max(p.opts, key=len)
                hint = "leave it out: it is as it was in the search"
                raise UsageError(f"{option} and --from-search are both given", hint=hint)
        self.point: Point = find_point(text)

    def request(
        self,
        model: str,
        name: str | None,
        calib: str | None,
        train: str | None,
        evaluate: str | None,
        records: str | None,
        *,
        measure: bool,
    ) -> Request:
        """The compilation; the files may have moved."""
        from tinycc_nn.data import DataSpec
        from tinycc_nn.models import STDIN

        if model == STDIN:
            raise UsageError("a search is replayed on the model as a file")
        found = self.point.request(model, calib, train, records)
        eval = DataSpec.parse(evaluate) if evaluate else None
        return replace(found, name=name or found.name, eval=eval, measure=measure)

    def build(self, request: Request, *, keep: bool) -> tuple[Mapping[str, str | bytes], Report]:
        """Files by name, with what -save-temps keeps, and the report."""
        from rich.console import Console

        from tinycc_nn.search.replay import rebuild

        with Console(stderr=True).status(f"compiling {self.point.where}"):
            found = rebuild(self.point, request)
        return {**found.files, **(found.temps if keep else {})}, found.report
