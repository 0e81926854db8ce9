"""The one lark grammar, and syntax errors with a caret under the place."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from tinycc_nn.diagnostics import Span, TinyccError

# What a terminal of the grammar is called towards a user.
_PLAIN = {
    "NAME": "a name", "WORD": "a word", "VALUE": "a value (%x)", "NUMBER": "a number",
    "SYMBOL": "a graph name (@g)", "BLOB": "a constant (@w#digest)", "STRING": "a string",
    "LPAR": "'('", "RPAR": "')'", "LBRACE": "'{'", "RBRACE": "'}'", "LSQB": "'['", "RSQB": "']'",
    "COMMA": "','", "COLON": "':'", "EQUAL": "'='", "$END": "the end", "RETURN": "'return'",
    "GRAPH": "'graph'", "Q": "'q('", "AXIS": "'axis'",
}  # fmt: skip


@cache
def _parser(start: str) -> Lark:
    grammar = files("tinycc_nn.ir").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", start=start, propagate_positions=True, maybe_placeholders=True
    )


def parse_tree(text: str, start: str, file: str) -> Tree[Token]:
    """Parse `text` by the rule `start`; TinyccError with the place in `file` if it can't be."""
    try:
        return _parser(start).parse(text)
    except UnexpectedInput as e:
        raise TinyccError(*_explain(e, text, file)) from None


def _explain(e: UnexpectedInput, text: str, file: str) -> tuple[str, Span, str]:
    lines = text.split("\n")  # lark's lines end in nothing else
    token = getattr(e, "token", None)
    wanted = set(getattr(e, "expected", None) or getattr(e, "allowed", None) or ())
    hint = "expected " + " or ".join(sorted(_PLAIN.get(w, w.lower()) for w in wanted))
    if e.line < 1 or (token is not None and token.type == "$END"):
        lines = text.rstrip().split("\n")
        last = lines[-1]
        place = Span(file, len(lines), len(last) + 1, 1, last)
        return "the text ends too early", place, hint
    line = lines[e.line - 1] if e.line <= len(lines) else ""
    what = f"'{token}'" if token is not None else f"'{line[e.column - 1 : e.column]}'"
    length = len(token) if token is not None else 1
    return f"{what} is not expected here", Span(file, e.line, e.column, length, line), hint


def span_of(token: Token, lines: list[str], file: str) -> Span:
    """Where a token stands."""
    line, column = token.line or 1, token.column or 1
    text = lines[line - 1] if line <= len(lines) else ""
    return Span(file, line, column, len(token), text)
