"""From the text of a pipeline to its passes, with a caret under what is wrong."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from lark import Token, Tree

from tinycc_nn.diagnostics import TinyccError, nearest
from tinycc_nn.ir.syntax import parse_tree, span_of
from tinycc_nn.options import convert, type_name
from tinycc_nn.pipeline import Pass, Pipeline, load


def parse_pipeline(text: str, file: str = "<pipeline>") -> Pipeline:
    """Parse a pipeline; `parse_pipeline(print_pipeline(p)) == p`. TinyccError with the place."""
    tree = parse_tree(text, "pipeline", file)
    return tuple(_pass(t, text.split("\n"), file) for t in tree.children if isinstance(t, Tree))


def _pass(tree: Tree[Token], lines: list[str], file: str) -> Pass:
    name, *options = tree.children
    assert isinstance(name, Token)
    where = span_of(name, lines, file)
    cls = load(str(name), where)
    hints = typing.get_type_hints(cls)
    settings: dict[str, Any] = {}
    for o in options:
        if not isinstance(o, Tree):
            continue
        key, value = o.children
        assert isinstance(key, Token) and isinstance(value, Tree)
        at = span_of(key, lines, file)
        known = [f.name for f in dataclasses.fields(cls)]
        if key not in known:
            hint = nearest(str(key), known) if known else "it has none"
            raise TinyccError(f"{name} has no option '{key}'", at, hint)
        if str(key) in settings:
            raise TinyccError(f"option '{key}' is given twice", at)
        try:
            settings[str(key)] = convert(_text(value), hints[str(key)])
        except ValueError:
            message = f"'{_text(value)}' is not a value of {key}"
            raise TinyccError(message, at, f"it takes: {type_name(hints[str(key)])}") from None
    try:
        return cls(**settings)
    except ValueError as e:
        raise TinyccError(f"{name}: {e}", where) from None


def _text(tree: Tree[Token]) -> str | list[str]:
    if tree.data == "items":
        return [_word(t.children[0]) for t in tree.children if isinstance(t, Tree)]
    return _word(tree.children[0])


def _word(token: object) -> str:
    text = str(token)
    return text[1:-1] if text.startswith('"') else text
