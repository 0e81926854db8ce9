"""Options declared once, as fields of a frozen dataclass: for parsing, printing, help and search."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Scalar = bool | int | float | str
Setting = Scalar | tuple[Scalar, ...]


def option(
    default: Any,
    doc: str,
    *,
    choices: Iterable[Scalar] = (),
    by_layer: bool = False,
    in_search: Scalar | None = None,
    lengthy: bool = False,
) -> Any:
    """An option: its default, its meaning with unit, and the values that a search may try.

    The field's type is one of bool, int, float, str, a Literal of words, or tuple[T, ...].
    `by_layer`: a list of layers' names, or with `choices` of LAYER:CHOICE.
    `in_search`: what a search takes where the option is at its default; None for the default.
    `lengthy`: the time that a pass takes grows with it; behind a change a search takes no more
    than the largest of the choices.
    """
    metadata = {
        "doc": doc,
        "choices": tuple(choices),
        "by_layer": by_layer,
        "in_search": in_search,
        "lengthy": lengthy,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class OptionInfo:
    """What help, documentation and search know of one option."""

    name: str
    type: str
    default: Setting
    doc: str
    choices: tuple[Scalar, ...]
    by_layer: bool = False
    in_search: Scalar | None = None
    lengthy: bool = False


def option_infos(cls: type) -> tuple[OptionInfo, ...]:
    """The options of a dataclass of options."""
    hints = typing.get_type_hints(cls)
    return tuple(
        OptionInfo(
            f.name,
            type_name(hints[f.name]),
            typing.cast("Setting", f.default),
            f.metadata["doc"],
            f.metadata["choices"] or literal_words(hints[f.name]),
            f.metadata["by_layer"],
            f.metadata["in_search"],
            f.metadata["lengthy"],
        )
        for f in dataclasses.fields(cls)
    )


def literal_words(hint: Any) -> tuple[str, ...]:
    """The words of a Literal type, else nothing."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def type_name(hint: Any) -> str:
    """What a user reads for the type of an option."""
    if typing.get_origin(hint) is tuple:
        return f"list of {type_name(typing.get_args(hint)[0])}"
    if words := literal_words(hint):
        return "|".join(words)
    name = str(hint.__name__)
    return {"str": "word", "bool": "true|false"}.get(name, name)


def convert(text: str | list[str], hint: Any) -> Setting:
    """The text of a setting (a list for `[a,b]`) as the option's type; ValueError if it can't."""
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return tuple(_scalar(t, item) for t in ([text] if isinstance(text, str) else text))
    if not isinstance(text, str):
        raise ValueError(f"[{','.join(text)}]")
    return _scalar(text, hint)


def _scalar(text: str, hint: Any) -> Scalar:
    words = ("true", "false") if hint is bool else literal_words(hint)
    if words and text not in words:
        raise ValueError(text)
    if hint is bool:
        return text == "true"
    value: Scalar = hint(text) if hint in (int, float) else text
    return value


def show(value: Setting) -> str:
    """The text of a setting: `convert` turns it back."""
    if isinstance(value, tuple):
        return f"[{','.join(map(show, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if isinstance(value, int | float) or _is_word(text) else f'"{text}"'


def _is_word(text: str) -> bool:
    return bool(text) and all((c.isalnum() and c.isascii()) or c in "_.%<>/+:~-" for c in text)
