"""The user's own pipelines, which a search starts from as it does from its recipes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinycc_nn.diagnostics import TinyccError, UsageError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.recipes import Frame
from tinycc_nn.search.settings import Problem
from tinycc_nn.search.space import MAX_PASSES, Genome, lacks, settled


def read_starts(paths: Iterable[Path], frame: Frame, problem: Problem) -> tuple[str, ...]:
    """Genomes, as text, of files with a pipeline each; a folder stands for its *.txt in the order
    of their names. TinyccError that names the file if one can't be a start."""
    found: dict[str, None] = {}
    for path in paths:
        files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
        if not files:
            raise UsageError("the folder has no pipelines", str(path), "one in each *.txt")
        for file in files:
            try:
                text = file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as e:
                raise UsageError(f"can't read the pipeline: {e}", str(file)) from None
            found[print_pipeline(start(text, str(file), frame, problem))] = None
    return tuple(found)


def start(text: str, where: str, frame: Frame, problem: Problem) -> Genome:
    """The genome of a pipeline: what is left without the passes in front of it and behind it that
    are those of the frame. Its options stay, whether a search would try them or not.

    TinyccError, with `where`, if the text is no pipeline, or its passes lack something.
    """
    whole = parse_pipeline(text, where) if text.strip() else ()
    genome = tuple(settled(p) for p in _inside(whole, frame))
    if len(genome) > MAX_PASSES:
        raise UsageError(
            f"it has {len(genome)} passes, and a search combines {MAX_PASSES}",
            where,
            f"leave out what it has in front ({print_pipeline(frame.before)}) and behind "
            f"({print_pipeline(frame.after)})",
        )
    for p in genome:
        if (missing := lacks(type(p), problem)) is not None:
            what, hint = missing
            raise TinyccError(f"the pass {p.name()} needs {what}", where, hint)
    return genome


def _inside(whole: Genome, frame: Frame) -> Genome:
    before = len(frame.before)
    body = whole[before:] if whole[:before] == frame.before else whole
    for i in range(len(frame.after)):
        tail = frame.after[i:]
        if body[-len(tail) :] == tail:
            return body[: -len(tail)]
    return body
