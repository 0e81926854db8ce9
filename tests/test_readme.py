"""What README.md shows can be run: its commands, the targets of make, the figures of its table."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def blocks() -> list[list[list[str]]]:
    """The words of every command in README's shell blocks, by block, comments left out."""
    text = (ROOT / "README.md").read_text()
    return [
        [
            w
            for line in block.replace("\\\n", " ").splitlines()
            if (w := shlex.split(line, comments=True))
        ]
        for block in BLOCK.findall(text)
    ]


def test_make_targets() -> None:
    shown = {w[1] for block in blocks() for w in block if w[0] == "make"}
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= shown <= known


@pytest.mark.parametrize(
    "block", [b for b in blocks() if any(w[0] == "tinycc-nn" for w in b)], ids=lambda b: b[0][1]
)
def test_commands(
    block: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of a block one after the other: later ones read what earlier ones wrote."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for words in block:
        if words[0] == "tinycc-nn":
            outcome = CommandLine(capsys)(*words[1:])
            assert outcome.code == 0, outcome.err


def test_python() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(example.replace("examples/", f"{ROOT}/examples/"), "README.md", "exec"), scope)
    assert "batch_norm" not in str(scope["text"])


def test_table_is_the_benchmark_s() -> None:
    summary = (ROOT / "benchmarks" / "results" / "summary.md").read_text()
    assert summary.strip() in (ROOT / "README.md").read_text()
