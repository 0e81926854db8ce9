"""Errors that a user can act on: what, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text. `line` and `column` count from 1, `length` is in characters."""

    file: str
    line: int
    column: int
    length: int = 1
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


Where = Span | str | None
"""A span of a text, or the name of a node, a file, a layer."""


class TinyccError(Exception):
    """An error of the user's input. Anything else that is raised is our bug.

    `str()` gives the whole diagnostic; `exit_code` is the process's (1 diagnosed error).
    """

    exit_code = 1

    def __init__(self, message: str, where: Where = None, hint: str = "") -> None:
        super().__init__(message, where, hint)
        self.message, self.where, self.hint = message, where, hint

    def __str__(self) -> str:
        lines = [f"error: {self.message}"]
        if isinstance(self.where, Span):
            gutter = " " * len(str(self.where.line))
            lines.append(f"{gutter}--> {self.where}")
            if self.where.text:
                caret = " " * (self.where.column - 1) + "^" * max(1, self.where.length)
                lines += [f"{self.where.line} | {self.where.text}", f"{gutter} | {caret}"]
        elif self.where:
            lines.append(f" --> {self.where}")
        if self.hint:
            lines.append(f" = hint: {self.hint}")
        return "\n".join(lines)


class UsageError(TinyccError):
    """A command line that makes no sense (exit code 2)."""

    exit_code = 2


class LimitError(TinyccError):
    """The user's constraints (flash, RAM, latency) cannot be met (exit code 3)."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest known one, or the list of all."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
