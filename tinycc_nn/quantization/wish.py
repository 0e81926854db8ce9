"""The text of a weight format as a user writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tinycc_nn.diagnostics import nearest
from tinycc_nn.ir.types import DType
from tinycc_nn.numeric.codes import FORMATS, MAX_BUCKET_BITS

EXAMPLES = (
    "i2",
    "i3",
    "i4",
    "i5",
    "i6",
    "i7",
    "ternary",
    "binary",
    "fixed",
    "posit",
    "book",
    "hashed",
    "auto",
)


@dataclass(frozen=True)
class Wish:
    """One of: a format, formats of which each layer takes the one of least error, a number of shared weights, a number of buckets that weights share by a hash
    of their position, a mean number of bits to choose formats for."""

    dtype: DType | None = None
    choices: tuple[DType, ...] = ()
    entries: int | None = None
    buckets: int | None = None
    budget: float | None = None

    @property
    def bits(self) -> int:
        """Of a stored code."""
        if self.buckets is not None:
            return 0
        if self.dtype is not None:
            return self.dtype.bits
        if self.choices:
            return self.choices[0].bits
        assert self.entries is not None
        return (self.entries - 1).bit_length()

    def __str__(self) -> str:
        if self.buckets is not None:
            return f"hashed<{self.buckets}>"
        if self.choices:
            return f"{self.choices[0].name}<{self.bits}>"
        return str(self.dtype) if self.dtype is not None else f"book<{self.entries}>"

    def formats(self, *, inside: bool) -> tuple[DType, ...]:
        """What a layer may take. The place of the point matters only where the scale is inside."""
        if self.dtype is not None:
            return (self.dtype,)
        if self.choices[0].name == "fixed" and not inside:
            return self.choices[:1]
        return self.choices


def parse_wish(text: str) -> Wish:
    """`i4` (or `int4`), `posit<5,1>`, `book<16>`, `auto:5`, ...; ValueError for anything else."""
    text = text.replace(" ", "")
    text = re.sub(r"^int(?=\d)", "i", text)
    if match := re.fullmatch(r"auto:(\d+(?:\.\d+)?)", text):
        budget = float(match[1])
        if not 2 <= budget <= 8:
            raise ValueError(f"auto:{match[1]}: the mean number of bits must be 2..8")
        return Wish(budget=budget)
    if match := re.fullmatch(r"book<(\d+)>", text):
        entries = int(match[1])
        if not 2 <= entries <= 256:
            raise ValueError(f"{text}: a code book has 2..256 entries")
        return Wish(entries=entries)
    if match := re.fullmatch(r"hashed<(\d+)>", text):
        count = int(match[1])
        if not 2 <= count <= 1 << MAX_BUCKET_BITS or count & (count - 1):
            raise ValueError(f"{text}: the buckets are 2, 4, 8, ..., {1 << MAX_BUCKET_BITS}")
        return Wish(buckets=count)
    if match := re.fullmatch(r"(fixed|posit)<(\d+)>", text):
        last = 16 if match[1] == "fixed" else 3
        return Wish(choices=tuple(DType.parse(f"{match[1]}<{match[2]},{i}>") for i in range(last)))
    stem = re.split(r"[<:]", text)[0]
    if stem not in EXAMPLES:
        hint = nearest(stem, EXAMPLES)
        known = f"{', '.join(FORMATS)}, book<k>, hashed<k>, auto:<bits>"
        raise ValueError(f"unknown number format '{text}': {hint} ({known})")
    return Wish(dtype=DType.parse(text))
