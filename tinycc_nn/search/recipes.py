"""Where a search starts, and the passes around what it varies: data in `passes/`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from tinycc_nn.levels import expand
from tinycc_nn.pipeline import Pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.settings import Problem
from tinycc_nn.search.space import Genome, settled, usable


@dataclass(frozen=True)
class Frame:
    """The passes in front of a genome and behind it."""

    before: Pipeline
    after: Pipeline

    def around(self, genome: Genome) -> Pipeline:
        """The whole pipeline of a genome."""
        return (*self.before, *genome, *self.after)

    def inside(self, pipeline: Pipeline) -> Genome:
        """The genome of a whole pipeline."""
        body = pipeline[len(self.before) : len(pipeline) - len(self.after)]
        assert pipeline == self.around(body)
        return body


@cache
def frame(kind: str) -> Frame:
    """Around genomes for a model that is "float32" or "quantized"."""
    before, after = (parse_pipeline(expand(text)) for text in _table()["frame"][kind])
    return Frame(before, after)


def recipes(kind: str, problem: Problem) -> dict[str, Genome]:
    """Genomes by name, but those for which the installation or the data lacks something."""
    found = {name: parse_pipeline(text) if text else () for name, text in _table()[kind].items()}
    return {
        name: tuple(map(settled, genome))
        for name, genome in found.items()
        if all(usable(type(p), problem) for p in genome)
    }


@cache
def _table() -> dict[str, dict[str, str]]:
    text = files("tinycc_nn.passes").joinpath("_recipes.toml").read_text("utf-8")
    return tomllib.loads(text)
