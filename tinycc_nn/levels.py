"""The default passes of each -O level: data in `passes/`, so that the core names no pass."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from string import Template

from tinycc_nn.diagnostics import UsageError, nearest
from tinycc_nn.options import show


@cache
def _table() -> dict[str, dict[str, str]]:
    text = files("tinycc_nn.passes").joinpath("_levels.toml").read_text("utf-8")
    return tomllib.loads(text)


def expand(text: str) -> str:
    """A pipeline with parts of the levels' for each $NAME."""
    return _tidy(Template(text).substitute(_table()["parts"]))


def default_pipeline(level: str, dtype: str, weights: str | None = None) -> str:
    """The text of the pipeline for a level ("O0" .. "Os") and "float32", "int8" or "quantized".

    `weights`: a format for the weights of int8 layers. Raises UsageError for another level.
    """
    pipelines = _table()[dtype]
    if level not in pipelines:
        raise UsageError(f"unknown level '-{level}'", hint=nearest(level, pipelines))
    parts = dict(_table()["parts"])
    if weights is not None:
        parts |= _table()["weights"]
        parts["weights"] = Template(parts["weights"]).substitute(format=show(weights))
    return _tidy(Template(pipelines[level]).substitute(parts))


def _tidy(text: str) -> str:
    found = re.split(r",(?:\s+|$)", text)
    return ", ".join(name for part in found if (name := " ".join(part.split())))
