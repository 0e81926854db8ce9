"""The default passes of each -O level: data in `passes/`, so that the core names no pass."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from string import Template

from tinycc_nn.diagnostics import UsageError, nearest


@cache
def _table() -> dict[str, dict[str, str]]:
    text = files("tinycc_nn.passes").joinpath("_levels.toml").read_text("utf-8")
    return tomllib.loads(text)


def default_pipeline(level: str, dtype: str) -> str:
    """The text of the pipeline for a level ("O0" .. "Os") and "float32", "int8" or "quantized".

    Raises UsageError for another level.
    """
    pipelines = _table()[dtype]
    if level not in pipelines:
        raise UsageError(f"unknown level '-{level}'", hint=nearest(level, pipelines))
    text = Template(pipelines[level]).substitute(_table()["parts"])
    return ", ".join(name for part in text.split(",") if (name := " ".join(part.split())))
