"""The user's own pipelines as starts of a search: taken as they are, and varied like any other."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.searching import PROBLEM, RECIPES, SPACE
from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.pipeline import print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline
from tinycc_nn.search.methods import make_method
from tinycc_nn.search.recipes import frame
from tinycc_nn.search.settings import Method, SearchSettings
from tinycc_nn.search.starts import read_starts, start
from tinycc_nn.search.variation import OPERATORS

AROUND = frame("float32")
TRAINED = replace(PROBLEM, train="t.npz")
OWN = "prune-channels{macs=0.42}, distill{epochs=40, temperature=3, threads=2}, quantize"
PIPELINES = Path(__file__).parents[1] / "benchmarks" / "pipelines"


def test_a_whole_pipeline_and_its_genome_are_the_same_start() -> None:
    pytest.importorskip("torch")
    genome = parse_pipeline(OWN)
    whole = print_pipeline(AROUND.around(genome))
    assert start(OWN, "f", AROUND, TRAINED) == start(whole, "f", AROUND, TRAINED) == genome
    # a pass of the frame that stands elsewhere stays there
    other = parse_pipeline("quantize, quantize-interface, distill{threads=1}")
    whole = print_pipeline((*AROUND.before, *other, *AROUND.after[1:]))
    assert start(whole, "f", AROUND, TRAINED) == other


def test_the_committed_pipelines_are_starts() -> None:
    pytest.importorskip("torch")
    found = read_starts([PIPELINES], AROUND, TRAINED)
    different = {" ".join(f.read_text().split()) for f in PIPELINES.glob("*.txt")}
    assert len(found) == len(different)
    settings = re.search(
        r"epochs=\d+, lr=[\d.]+, batch=\d+", (PIPELINES / "kws-half.txt").read_text()
    )
    assert settings and settings[0] in " ".join(found)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("quantise", "unknown pass 'quantise'", "quantize"),
        ("quantize{methd=mse}", "quantize has no option 'methd'", "method"),
        ("qat", "the pass qat needs training data", "--train"),
        ("quantize, " * 6 + "quantize", "it has 7 passes, and a search combines 6", "leave out"),
    ],
)
def test_what_cannot_be_a_start(tmp_path: Path, text: str, message: str, hint: str) -> None:
    pytest.importorskip("torch")
    file = tmp_path / "mine.txt"
    file.write_text(text)
    with pytest.raises(TinyccError) as e:
        read_starts([file], AROUND, PROBLEM)
    assert message in e.value.message and hint in e.value.hint and "mine.txt" in str(e.value.where)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TinyccError, match="the folder has no pipelines"):
        read_starts([tmp_path], AROUND, PROBLEM)
    with pytest.raises(TinyccError, match="can't read the pipeline"):
        read_starts([tmp_path / "no.txt"], AROUND, PROBLEM)


def test_values_that_no_search_would_try_stay_when_something_else_changes() -> None:
    pytest.importorskip("torch")
    (mine,) = start("distill{epochs=40, temperature=3}", "f", AROUND, TRAINED)
    rng = random.Random(0)
    changed = {SPACE.change_option(rng, mine) for _ in range(100)} - {mine}
    assert len(changed) > 3
    assert {p.temperature for p in changed} == {3}  # type: ignore[attr-defined]
    same_length = [p for p in changed if p.epochs not in (2, 5, 10, 20)]  # type: ignore[attr-defined]
    assert same_length and all("epochs=40" in str(p) for p in same_length)
    genome = start(OWN, "f", AROUND, TRAINED)
    varied = {operator(rng, SPACE, genome) for _ in range(30) for operator in OPERATORS}
    kept = [g for g in varied if any(p.name() == "distill" for p in g)]
    assert len(kept) > 30 and all("temperature=3.0" in print_pipeline(g) for g in kept)


@pytest.mark.parametrize("method", ["genetic", "random", "optuna"])
def test_the_first_generation_has_all_starts(method: Method) -> None:
    own = [parse_pipeline(f"prune-channels{{macs=0.{n}}}, quantize") for n in range(31, 43)]
    proposals = make_method(SearchSettings(method, population=8), SPACE, [*own, *RECIPES])
    first = proposals.ask()
    assert {*own, *RECIPES} <= {*first} and len({*first}) == len(first)


def test_a_search_trains_on_one_thread_unless_told() -> None:
    pytest.importorskip("torch")
    assert print_pipeline(start("qat, finetune{threads=3}", "f", AROUND, TRAINED)) == (
        "qat{threads=1}, finetune{threads=3}"
    )
    space = replace(SPACE, kinds=(type(parse_pipeline("qat")[0]),))
    rng = random.Random(1)
    made = [space.random_pass(rng) for _ in range(20)]
    made += [space.change_option(rng, p) for p in made]
    assert {p.threads for p in made} == {1}  # type: ignore[attr-defined]
