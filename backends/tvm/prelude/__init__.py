"""The C helpers that generated kernels call; only those that are used are emitted.

Each helper is a small text beside this file, named after the function, type or macro it defines. It
needs the other helpers whose names stand in its text. Helpers have a portable body and one for the
DSP extension; no header but stdint.h (and arm_acle.h with DSP) is included, since a freestanding
compiler may have no C library's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"\b[A-Za-z_]\w*\b")
_UNARY = [
    "acosf",
    "acoshf",
    "asinf",
    "asinhf",
    "atanf",
    "atanhf",
    "ceilf",
    "cosf",
    "coshf",
    "erff",
    "exp2f",
    "expf",
    "fabsf",
    "floorf",
    "log10f",
    "log1pf",
    "log2f",
    "logf",
    "nearbyintf",
    "rintf",
    "roundf",
    "sinf",
    "sinhf",
    "sqrtf",
    "tanf",
    "tanhf",
    "truncf",
]
_BINARY = ["atan2f", "copysignf", "fmaxf", "fminf", "fmodf", "hypotf", "nextafterf", "powf"]


@cache
def helpers() -> Mapping[str, str]:
    """The C text of every helper by name, in name order; functions of math.h are declarations."""
    texts = {f"{name}": f"extern float {name}(float);\n" for name in _UNARY}
    texts |= {name: f"extern float {name}(float, float);\n" for name in _BINARY}
    for entry in files(__name__).iterdir():
        if entry.name.endswith(".h"):
            texts[entry.name.removesuffix(".h")] = entry.read_text(encoding="utf-8")
    return dict(sorted(texts.items()))


def helpers_in(text: str) -> set[str]:
    """The names of the helpers that a C text calls directly."""
    return set(_NAME.findall(text)) & helpers().keys()


def prelude(used: Iterable[str]) -> str:
    """The C text of the ``used`` helpers and of those that they need, each after its own needs.

    Raises ``KeyError`` with the name of a helper that does not exist.
    """
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = helpers()[name]
        for needed in sorted(helpers_in(text) - {name}):
            add(needed)
        done[name] = text

    for name in sorted(set(used)):
        add(name)
    return "\n".join(done.values())
