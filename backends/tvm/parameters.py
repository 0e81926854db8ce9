"""Names of tensors as parameters of NAME_run, and as parts of macros, in C and in C++."""

from __future__ import annotations

import re
from collections.abc import Sequence

_KEYWORDS = """
alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor bool
break case catch char char8_t char16_t char32_t class co_await co_return co_yield compl concept
const const_cast consteval constexpr constinit continue decltype default delete do double
dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public reflexpr
register reinterpret_cast requires restrict return short signed sizeof static static_assert
static_cast struct switch synchronized template this thread_local throw true try typedef typeid
typename typeof union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
_MACROS = "NULL EOF I complex imaginary errno assert stdin stdout stderr linux unix arm noreturn"
_RESERVED = frozenset(f"{_KEYWORDS} {_MACROS}".split())
_OWN = r"([ck]\d+|run|h|noinline|e_null|e_align|.*_(size|align|scale|zero_point))"
_TYPES = re.compile(r"u?int(_least|_fast)?\d+_t|u?int(ptr|max)_t|s?size_t|ptrdiff_t")


def parameter_names(network: str, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Identifiers for the inputs, then the outputs: near to the given names, `input` and `output`
    where there is only one. Different in lower case too, as macros are made of them."""
    taken = {"arena"}
    found: list[str] = []
    for names, single in ((inputs, "input"), (outputs, "output")):
        for name in names:
            base = single if len(names) == 1 else _identifier(name, single)
            while base.lower() in taken or _means_something(base, network):
                base += "_"
            taken.add(base.lower())
            found.append(base)
    return found


def _identifier(name: str, single: str) -> str:
    base = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return base if base[:1].isalpha() else f"{single}_{base}"


def _means_something(name: str, network: str) -> bool:
    """Whether C, C++, a usual macro or the generated code has a use for that name."""
    owned = re.fullmatch(f"{network}_{_OWN}", name, re.IGNORECASE)
    return name in _RESERVED or bool(owned or _TYPES.fullmatch(name))
