"""The text form of graphs: print -> parse -> print is identical; wrong text is a diagnostic."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import networks
from tinycc_nn.diagnostics import Span, TinyccError
from tinycc_nn.ir import Blob, Graph, Quant, TensorType, parse_graph, print_graph, read_graph
from tinycc_nn.ir.files import write_graph
from tinycc_nn.ir.text import graph_blobs
from tinycc_nn.ir.types import F32, I8
from tinycc_nn.ops import verify

EXAMPLE = """\
graph @g(%x: i8[1,4,4,2] q(0.5, 3), %z: f32[]) {
  %w = const @w#0123456789abcdef : i8[3,1,1,2] q(@s#0123456789abcde0, 0, axis=0)
  %c = conv2d %x, %w {act=clip, act_max=inf, act_min=-0.5, pad=[0,0,1,1], stride=[1,1]} : i8[1,4,6,3] q(0.25, -7)
  %p = max_pool2d %c {kernel=[2,2]} : i8[1,3,5,3] q(0.25, -7)
  %y = concat %p, %p {axis=3} : i8[1,3,5,6] q(0.25, -7)
  return %y, %z
}
"""
BLOBS = {
    "0123456789abcdef": Blob("w", np.arange(6, dtype=np.int8).reshape(3, 1, 1, 2)),
    "0123456789abcde0": Blob("s", np.array([0.5, 0.25, 2.0], np.float32)),
}
TOKENS = re.findall(r"\s+|[@%]?[\w.#-]+|.", EXAMPLE)


@given(networks())
@settings(max_examples=40, deadline=None)
def test_graphs_round_trip(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, graph_blobs(graph))
    verify(again)
    assert print_graph(again) == text


numbers = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.just(float("inf")))
words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
attrs = st.one_of(
    st.booleans(),
    numbers,
    words,
    st.text(st.characters(exclude_characters='"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029'), max_size=6),
    st.lists(st.integers(-5, 5), max_size=4).map(tuple),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=4).map(tuple),
)


@given(st.dictionaries(words.filter(lambda w: w != "value"), attrs, max_size=4))
def test_attributes_round_trip(
    found: dict[str, bool | int | float | str | tuple[int, ...]],
) -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType(F32, (1,)))
    op = graph.add("made_up", [x], [TensorType(F32, (1,))], dict(found))
    graph.outputs.append(op.result)
    again = parse_graph(print_graph(graph))
    assert again.ops[0].attrs == found
    assert print_graph(again) == print_graph(graph)


@given(
    st.sampled_from(["f32", "i8", "i16", "i32", "i64", "u8", "b1"]),
    st.lists(st.integers(1, 2000), max_size=5),
    st.none() | st.tuples(st.floats(1e-30, 1e30), st.integers(-(2**31), 2**31)),
)
def test_types_round_trip(name: str, shape: list[int], quant: tuple[float, int] | None) -> None:
    suffix = "" if quant is None else f" {Quant(*quant)}"
    text = f"graph @g(%x: {name}[{','.join(map(str, shape))}]{suffix}) {{\n  return %x\n}}\n"
    assert print_graph(parse_graph(text)) == text


@given(st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_a_graph_or_a_diagnostic(text: str) -> None:
    attempt(text)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_graph_is_a_graph_or_a_diagnostic(data: st.DataObject) -> None:
    tokens = list(TOKENS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        match data.draw(st.sampled_from(["drop", "copy", "swap", "text"])):
            case "drop":
                del tokens[at]
            case "copy":
                tokens.insert(at, data.draw(st.sampled_from(TOKENS)))
            case "swap":
                tokens[at] = data.draw(st.sampled_from(TOKENS))
            case _:
                tokens[at] = data.draw(st.text(max_size=3))
    attempt("".join(tokens))


def attempt(text: str) -> None:
    """Parse and verify; a diagnostic may come, with its place inside the text, nothing else."""
    error = diagnosed(text)
    if error is None:
        return
    assert str(error).startswith("error: ")
    if isinstance(error.where, Span):
        assert 1 <= error.where.line <= len(text.split("\n"))
        assert 1 <= error.where.column <= len(error.where.text) + 1


def diagnosed(text: str) -> TinyccError | None:
    try:
        verify(parse_graph(text, BLOBS))
    except TinyccError as e:
        return e
    return None


def test_the_example_is_valid() -> None:
    graph = parse_graph(EXAMPLE, BLOBS)
    verify(graph)
    shown = print_graph(graph)
    assert print_graph(parse_graph(shown, graph_blobs(graph))) == shown


@given(st.text(max_size=12), st.text(max_size=12))
def test_constants_and_scales_of_any_name_are_read_back(constant: str, scale: str) -> None:
    graph = Graph("g")
    quant = Quant(Blob(f"{scale}'.scale", np.array([0.5, 2.0], np.float32)), 0, 0)
    graph.outputs = [graph.constant(constant, np.ones((2, 3), np.int8), quant)]
    text = print_graph(graph)
    assert print_graph(parse_graph(text, graph_blobs(graph))) == text


def test_files_round_trip_and_are_deterministic(tmp_path: Path) -> None:
    graph = parse_graph(EXAMPLE, BLOBS)
    write_graph(graph, tmp_path / "a.tnn")
    write_graph(read_graph(tmp_path / "a.tnn"), tmp_path / "b.tnn")
    for suffix in (".tnn", ".npz"):
        a, b = (tmp_path / f"{n}{suffix}" for n in "ab")
        assert a.read_bytes() == b.read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyccError, match="can't read the graph") as e:
        read_graph(tmp_path / "no.tnn")
    assert str(tmp_path / "no.tnn") in str(e.value)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tnn").write_text(EXAMPLE)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(TinyccError, match="can't read the constants") as e:
        read_graph(tmp_path / "a.tnn")
    assert "a.npz" in str(e.value)


def test_a_constant_that_is_not_there() -> None:
    with pytest.raises(TinyccError, match="no constant with digest") as e:
        parse_graph(EXAMPLE, {})
    assert "^^^^" in str(e.value) and ".npz" in e.value.hint


@pytest.mark.parametrize(
    ("old", "new", "message", "caret"),
    [
        ("q(0.25, -7)", "q(0.0, -7)", "'0.0' is not a scale", "0.0"),
        ("q(0.25, -7)", "q(0.25, 1.5)", "'1.5' is not a zero point", "1.5"),
        ("[1,4,6,3]", "[1,-4,6,3]", "'-4' is not a dimension", "-4"),
        ("i8[1,4,6,3]", "i9[1,4,6,3]", "unknown element type 'i9'", "i9"),
        ("%y = concat %p", "%y = concat %q", "%q is not defined", "%q"),
        ("%p = max", "%c = max", "%c is defined twice", "%c"),
        ("{axis=3}", "{axis=3, axis=2}", "attribute 'axis' is given twice", "axis"),
        ("{axis=3}", "{axis=}", "'}' is not expected here", "}"),
        ("return %y", "return %u", "%u is not defined", "%u"),
    ],
)
def test_the_caret_is_under_what_is_wrong(old: str, new: str, message: str, caret: str) -> None:
    text = EXAMPLE.replace(old, new, 1)
    with pytest.raises(TinyccError) as e:
        parse_graph(text, BLOBS, "g.tnn")
    where = e.value.where
    assert e.value.message == message
    assert isinstance(where, Span) and where.file == "g.tnn"
    assert where.text[where.column - 1 :][: where.length] == caret
    assert text.splitlines()[where.line - 1] == where.text


def test_a_clone_shares_constants_and_nothing_else() -> None:
    graph = parse_graph(EXAMPLE, BLOBS)
    clone = graph.clone()
    clone.ops[-1].attrs["axis"] = 0
    clone.outputs.pop()
    assert print_graph(graph) == print_graph(parse_graph(EXAMPLE, BLOBS))
    assert clone.ops[0].attrs["value"] is graph.ops[0].attrs["value"]


def test_equal_types_of_per_channel_scales() -> None:
    a, b = (Quant(Blob(n, np.array([0.5, 1.0], np.float32)), 0, 0) for n in "ab")
    assert TensorType(I8, (2, 1), a) == TensorType(I8, (2, 1), b)
