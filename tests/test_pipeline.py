"""Pipelines as text: round trips, options by type, errors with a caret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from tinycc_nn.blas import one_blas_thread
from tinycc_nn.diagnostics import Span, TinyccError
from tinycc_nn.ir import F32, Graph, TensorType, print_graph
from tinycc_nn.ops import emit
from tinycc_nn.options import convert, option, option_infos, show
from tinycc_nn.pipeline import Context, Pass, load, pass_names, print_pipeline
from tinycc_nn.pipeline_text import parse_pipeline


@dataclass(frozen=True)
class MadeUp(Pass):
    """A pass with an option of each type, which renames the graph."""

    ratio: float = option(0.5, "a part of 1", choices=(0.25, 0.5))
    count: int = option(3, "how often")
    fast: bool = option(False, "whether to hurry")
    method: Literal["minmax", "mse"] = option("mse", "how")
    skip: tuple[str, ...] = option((), "layers by name")
    label: str = option("", "any text")

    def apply(self, graph: Graph, context: Context) -> None:
        graph.name = "renamed"


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the text know the pass `made-up`."""
    monkeypatch.setattr("tinycc_nn.pipeline_text.load", lambda name, where: MadeUp)


def graph() -> Graph:
    g = Graph("g")
    x = g.add_input("x", TensorType(F32, (1, 4)))
    g.outputs.append(emit(g, "relu", [x], result="y"))
    return g


texts = st.text(st.characters(exclude_characters='"\n', codec="utf-8"), max_size=8)
made_ups = st.builds(
    MadeUp,
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    count=st.integers(-1000, 1000),
    fast=st.booleans(),
    method=st.sampled_from(["minmax", "mse"]),
    skip=st.lists(texts, max_size=3).map(tuple),
    label=texts,
)


@given(st.lists(made_ups, max_size=3).map(tuple))
def test_settings_round_trip(pipeline: tuple[MadeUp, ...]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinycc_nn.pipeline_text.load", lambda name, where: MadeUp)
        text = print_pipeline(pipeline)
        assert parse_pipeline(text) == pipeline
        assert print_pipeline(parse_pipeline(text)) == text


def test_every_pass_by_its_name_round_trips_or_says_what_it_needs() -> None:
    for name in pass_names():
        assert bare(name) == name or bare(name).startswith(f"{name}: give ")


def bare(name: str) -> str:
    """The pass as it prints when only its name is given, or what it says is missing."""
    try:
        return print_pipeline(parse_pipeline(name))
    except TinyccError as e:
        return e.message


@pytest.mark.usefixtures("made_up")
def test_options_at_their_default_are_not_printed() -> None:
    text = "made-up{count=3, ratio=0.25, fast=false, skip=[a.b/c,d]}"
    assert print_pipeline(parse_pipeline(text)) == "made-up{ratio=0.25, skip=[a.b/c,d]}"


def test_an_empty_pipeline_and_comments() -> None:
    assert parse_pipeline("") == ()
    assert print_pipeline(parse_pipeline("dead-code, // sweep\n  fold-bn")) == "dead-code, fold-bn"


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("text", "message", "hint", "caret"),
    [
        ("made-up{ratoi=1}", "made-up has no option 'ratoi'", "did you mean 'ratio'?", "ratoi"),
        ("made-up{ratio=much}", "'much' is not a value of ratio", "it takes: float", "ratio"),
        ("made-up{count=1.5}", "'1.5' is not a value of count", "it takes: int", "count"),
        ("made-up{fast=yes}", "'yes' is not a value of fast", "it takes: true|false", "fast"),
        ("made-up{method=max}", "'max' is not a value of method", "it takes: minmax|mse", "method"),
        ("made-up{count=1, count=2}", "option 'count' is given twice", "", "count"),
    ],
)
def test_wrong_options(text: str, message: str, hint: str, caret: str) -> None:
    with pytest.raises(TinyccError) as e:
        parse_pipeline(f"dead-code,\n  {text}")
    where = e.value.where
    assert (e.value.message, e.value.hint) == (message, hint)
    assert isinstance(where, Span) and where.line == 2
    assert where.text[where.column - 1 :][: where.length] == caret


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dead-code fold-bn", "'fold-bn' is not expected here"),
        ("dead-code,", "the text ends too early"),
        ("dead-code{", "the text ends too early"),
        ("dead-code}", "'}' is not expected here"),
    ],
)
def test_wrong_syntax(text: str, message: str) -> None:
    with pytest.raises(TinyccError, match="expected") as e:
        parse_pipeline(text)
    assert e.value.message == message


@given(st.text(max_size=30))
def test_any_text_is_a_pipeline_or_a_diagnostic(text: str) -> None:
    try:
        parse_pipeline(text)
    except TinyccError:
        return


def test_an_unknown_pass_names_the_nearest() -> None:
    with pytest.raises(TinyccError, match="unknown pass 'dead-cod'") as e:
        load("dead-cod")
    assert e.value.hint == "did you mean 'dead-code'?"


def test_a_pass_leaves_its_argument_as_it_was() -> None:
    g = graph()
    before = print_graph(g)
    assert MadeUp()(g).name == "renamed"
    assert print_graph(g) == before


def test_a_pass_that_needs_calibration_says_so() -> None:
    class Needy(MadeUp):
        needs_calibration = True

    with pytest.raises(TinyccError, match="needs calibration data"):
        Needy()(graph())


def test_a_result_is_verified() -> None:
    class Broken(MadeUp):
        def apply(self, graph: Graph, context: Context) -> None:
            graph.ops[-1].attrs["axis"] = 1

    with pytest.raises(TinyccError, match="relu has no attribute 'axis'"):
        Broken()(graph())


def test_names_settle_and_outputs_keep_theirs() -> None:
    class Twice(MadeUp):
        def apply(self, graph: Graph, context: Context) -> None:
            y = emit(graph, "abs", [graph.inputs[0]], result="y")
            z = emit(graph, "neg", [y], result="y")
            graph.outputs = [z]
            graph.sweep()

    out = Twice()(graph())
    assert [str(op.result) for op in out.ops] == ["%y'", "%y"]


def test_what_is_known_of_options() -> None:
    infos = {i.name: i for i in option_infos(MadeUp)}
    assert (infos["ratio"].type, infos["ratio"].default) == ("float", 0.5)
    assert infos["ratio"].choices == (0.25, 0.5)
    assert infos["method"].choices == ("minmax", "mse")
    assert infos["skip"].type == "list of word"
    assert all(i.doc for i in infos.values())


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False)))
def test_scalars_round_trip(value: bool | int | float) -> None:
    assert convert(show(value), type(value)) == value


def test_linear_algebra_has_one_thread_inside_a_pass() -> None:
    def threads() -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    before = threads()
    with one_blas_thread():
        assert threads() == {1}
    assert threads() == before
