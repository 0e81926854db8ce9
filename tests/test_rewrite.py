"""Rewrite rules: what a pattern matches, what a change leaves behind."""

from __future__ import annotations

import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.ir import Graph, Value, parse_graph, print_graph
from tinycc_nn.rewrite import Match, rewrite, rule


def parse(body: str, inputs: str = "%x: f32[1,4]") -> Graph:
    return parse_graph(f"graph @g({inputs}) {{\n{body}\n}}")


@rule("%a = relu %x\n%y = relu %a")
def merge(m: Match) -> Value | None:
    return m.emit("relu", m["%x"])


@rule("%y = add %x, %x")
def double(m: Match) -> Value | None:
    return m.emit("abs", m["%x"])


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.ops]


def test_a_chain_is_rewritten_until_nothing_matches() -> None:
    g = parse("\n".join(f"%{b} = relu %{a} : f32[1,4]" for a, b in zip("xabc", "abcd", strict=True))
              + "\nreturn %d")  # fmt: skip
    assert rewrite(g, merge)
    assert names(g) == ["relu"]
    assert g.ops[0].operands == (g.inputs[0],)
    assert not rewrite(g, merge)


def test_an_inner_value_with_another_user_does_not_match() -> None:
    g = parse("%a = relu %x : f32[1,4]\n%b = relu %a : f32[1,4]\nreturn %a, %b")
    before = print_graph(g)
    assert not rewrite(g, merge)
    assert print_graph(g) == before
    h = parse("%a = relu %x : f32[1,4]\n%b = relu %a : f32[1,4]\n"
              "%c = add %a, %b : f32[1,4]\nreturn %c")  # fmt: skip
    assert not rewrite(h, merge)


def test_the_same_name_is_the_same_value() -> None:
    inputs = "%x: f32[1,4], %z: f32[1,4]"
    assert rewrite(parse("%a = add %x, %x : f32[1,4]\nreturn %a", inputs), double)
    assert not rewrite(parse("%a = add %x, %z : f32[1,4]\nreturn %a", inputs), double)


def test_an_action_may_decline() -> None:
    @rule("%y = relu %x")
    def decline(m: Match) -> Value | None:
        assert m.op("%y") is m.root
        return None

    assert not rewrite(parse("%a = relu %x : f32[1,4]\nreturn %a"), decline)


def test_the_first_rule_that_changes_something_wins() -> None:
    @rule("%y = relu %x")
    def second(m: Match) -> Value | None:
        raise AssertionError("merge comes first")

    g = parse("%a = relu %x : f32[1,4]\n%b = relu %a : f32[1,4]\nreturn %b")

    @rule("%y = relu %x")
    def never_alone(m: Match) -> Value | None:
        return None

    assert rewrite(g, never_alone, merge)
    assert names(g) == ["relu"]
    with pytest.raises(AssertionError, match="merge comes first"):
        rewrite(g, merge, second)


def test_the_number_of_operands_counts() -> None:
    @rule("%y = concat %a, %b")
    def two(m: Match) -> Value | None:
        return m["%a"]

    assert not rewrite(parse("%a = concat %x {axis=0} : f32[1,4]\nreturn %a"), two)


def test_outputs_follow() -> None:
    g = parse("%a = relu %x : f32[1,4]\n%b = relu %a : f32[1,4]\nreturn %b, %b")
    rewrite(g, merge)
    assert g.outputs == [g.ops[0].result] * 2


def test_a_graph_input_has_no_op() -> None:
    @rule("%y = relu %x")
    def ask(m: Match) -> Value | None:
        m.op("%x")
        return None

    with pytest.raises(AssertionError, match="%x is a graph input"):
        rewrite(parse("%a = relu %x : f32[1,4]\nreturn %a"), ask)


def test_a_wrong_pattern_is_a_diagnostic() -> None:
    with pytest.raises(TinyccError, match="not expected here"):
        rule("%y = relu %x : f32[1]")
