"""The pipelines of the benchmark of training: they parse, and each has a row."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tinycc_nn.pipeline_text import parse_pipeline

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PIPELINES = sorted((BENCHMARKS / "pipelines").rglob("*.txt"))


@pytest.mark.parametrize("file", PIPELINES, ids=lambda f: f.stem)
def test_a_pipeline_parses(file: Path) -> None:
    assert len(parse_pipeline(file.read_text(), file.name)) > 10


def test_every_pipeline_has_a_row() -> None:
    spec = importlib.util.spec_from_file_location("training", BENCHMARKS / "training.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["training"] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["training"]
    assert {row.pipeline for row in module.selected([])} == {file.stem for file in PIPELINES}
    text = module.document({"ic-i4": dict.fromkeys(
        ("accuracy", "macs", "cycles", "flash", "compared", "mismatches", "minutes"), 1.0
    )})  # fmt: skip
    assert "| weights of 4 bits | 1.00 | 85.75 |" in text
