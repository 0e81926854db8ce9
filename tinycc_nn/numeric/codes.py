"""
Weight formats as code books: a code of n bits stands for a small integer.

real = scale * unit * integer. Integers fit int16, so that a core multiplies them as they are; the
unit (a power of two) belongs to the format, the scale to the tensor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycc_nn.numeric import posit

Array = NDArray[Any]

LARGEST = 2**15 - 1
HASH = (0x9E3779B1, 0x85EBCA77)
"""The multipliers of `buckets`, odd."""

MAX_BUCKET_BITS = 16
POSIT_FRACTION_BITS = 12
"""The finest unit of a posit is 2^-12."""

HOST_POSIT = 16
"""Bits of the posits whose range no device's integers hold."""

FORMATS = ("i2..i7", "ternary", "binary", "fixed<n,f>", "posit<n,es>")


@dataclass(frozen=True, eq=False)
class CodeBook:
    """
    bits:   of a code.
    values: int16[2^bits], what each code stands for, in units.
    used:   bool[2^bits]: the codes that a weight may have.
    unit:   the real value of the integer 1 at scale 1.
    signed: a code is the integer itself in two's complement.
    host:   values are float64, for studies in the interpreter: no core multiplies them.
    hashed: a weight's code is `buckets` of its position, so that no code is stored.
    """

    bits: int
    values: Array
    used: Array
    unit: float = 1.0
    signed: bool = False
    hashed: bool = False
    host: bool = False

    @property
    def stored_bits(self) -> int:
        """Bits in flash of a weight, beside the table."""
        return 0 if self.hashed else self.bits

    @property
    def storage(self) -> np.dtype[Any]:
        """The numpy type that holds a code."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    @property
    def has_zero(self) -> bool:
        """Whether a weight that is exactly zero can stay so."""
        return not self.hashed and bool((self.values[self.used] == 0).any())

    def sorted(self) -> tuple[Array, Array]:
        """The used values, ascending (int64, float64 of a host's), and their codes."""
        codes = np.flatnonzero(self.used)
        values = self.values[codes].astype(np.float64 if self.host else np.int64)
        order = np.argsort(values, kind="stable")
        return values[order], codes[order]

    def nearest(self, x: Array) -> Array:
        """The codes of the values that are nearest to float64[...] in units, lower ones for ties."""
        numbers, codes = self.sorted()
        between = (numbers[1:] + numbers[:-1]) / 2
        return np.asarray(codes[np.searchsorted(between, x)].astype(self.storage))


@cache
def code_book(family: str, params: tuple[int, ...] = ()) -> CodeBook:
    """The code book of a format; ValueError for one that isn't known or is out of range."""
    if not params and re.fullmatch(r"i[2-7]", family):
        return _signed(int(family[1:]))
    makers: dict[str, tuple[int, Callable[..., CodeBook]]] = {
        "ternary": (0, _ternary),
        "binary": (0, _binary),
        "fixed": (2, _fixed),
        "posit": (2, _posit),
    }
    if family not in makers:
        raise ValueError(f"unknown element type '{family}'")
    count, make = makers[family]
    if len(params) != count:
        raise ValueError(f"{family} takes {count} numbers, not {len(params)}")
    return make(*params)


def shared(entries: Array) -> CodeBook:
    """The code book of int16[k] entries that the weights share, k = 2..256."""
    if entries.dtype != np.int16 or entries.ndim != 1 or not 2 <= len(entries) <= 256:
        raise ValueError("a code book is int16[2..256]")
    bits = (len(entries) - 1).bit_length()
    values = np.zeros(1 << bits, np.int16)
    values[: len(entries)] = entries
    return CodeBook(bits, values, np.arange(1 << bits) < len(entries))


def hashed(entries: Array) -> CodeBook:
    """The buckets int16[k] that weights share by a hash of their position, k = 2, 4, ..., 65536."""
    bits = (entries.size - 1).bit_length()
    if entries.dtype != np.int16 or entries.ndim != 1 or bits < 1 or entries.size != 1 << bits:
        raise ValueError("buckets are int16[2, 4, 8, ..., 65536]")
    if bits > MAX_BUCKET_BITS:
        raise ValueError(f"there are at most {1 << MAX_BUCKET_BITS} buckets")
    return CodeBook(bits, entries, np.ones(entries.size, np.bool_), hashed=True)


def buckets(count: int, bits: int) -> Array:
    """uint8[count], uint16 of more than 8 bits: the bucket of each weight by its position (OHWI).

    Chen et al., "Compressing Neural Networks with the Hashing Trick", 2015; the hash is that of
    MurmurHash3's final mix, shortened to two multiplications in 32 bits.
    """
    h = np.arange(count, dtype=np.uint64) * HASH[0] & 0xFFFFFFFF
    h = (h ^ (h >> np.uint64(15))) * HASH[1] & 0xFFFFFFFF
    return np.asarray((h >> np.uint64(32 - bits)).astype(np.uint8 if bits <= 8 else np.uint16))


def _signed(bits: int, unit: float = 1.0) -> CodeBook:
    codes = np.arange(1 << bits)
    half = 1 << (bits - 1)
    values = ((codes + half) % (1 << bits) - half).astype(np.int16)
    return CodeBook(bits, values, np.ones(1 << bits, np.bool_), unit, signed=True)


def _ternary() -> CodeBook:
    return CodeBook(2, _signed(2).values, np.array([True, True, False, True]), signed=True)


def _binary() -> CodeBook:
    return CodeBook(1, np.array([1, -1], np.int16), np.ones(2, np.bool_))


def _fixed(n: int, f: int) -> CodeBook:
    """Two's complement of n bits in units of 2^-f.

    f may exceed n - 1: the numbers are below 1/2 then, as the weights of most layers are. Where a
    scale is multiplied by, f changes nothing.
    """
    if not 2 <= n <= 16 or not 0 <= f <= 15:
        raise ValueError(f"fixed<{n},{f}>: n must be 2..16 and f 0..15")
    return _signed(n, 2.0**-f)


def _posit(n: int, es: int) -> CodeBook:
    """The posits that are multiples of the unit and fit int16.

    Of 16 bits all of them, as float64, for the host. All of them where the range allows it (es = 0, posit<4,1>, posit<5,1>); otherwise the largest
    ones and, below the finest unit, the smallest ones are left out.
    """
    if (not 4 <= n <= 8 and n != HOST_POSIT) or not 0 <= es <= 2:
        limits = "n must be 4..8 and es 0..2"
        raise ValueError(f"posit<{n},{es}>: {limits}, or n {HOST_POSIT} in the interpreter alone")
    if n == HOST_POSIT:
        real = np.nan_to_num(posit.values(n, es), nan=0.0) * 2.0**POSIT_FRACTION_BITS
        used = np.arange(1 << n) != 1 << (n - 1)
        return CodeBook(n, real, used, 2.0**-POSIT_FRACTION_BITS, host=True)
    fraction = min(2**es * (n - 2), POSIT_FRACTION_BITS)
    exact = np.nan_to_num(posit.values(n, es), nan=np.inf) * 2.0**fraction
    used = (np.abs(exact) <= LARGEST) & (exact == np.floor(exact))
    values = np.where(used, exact, 0).astype(np.int16)
    return CodeBook(n, values, used, 2.0**-fraction)


def pack(codes: Sequence[int] | Array, bits: int) -> Array:
    """uint8[...]: codes one after the other, the lowest bit first, filled up with zeros."""
    flat = np.asarray(codes, np.uint32).reshape(-1, 1)
    stream = (flat >> np.arange(bits, dtype=np.uint32)) & 1
    return np.packbits(stream.astype(np.uint8).ravel(), bitorder="little")
