"""Immutable descriptions of tensors: element type, shape, quantization, contents."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinycc_nn.numeric.codes import CodeBook, code_book, hashed, shared

Array = NDArray[Any]

_STORAGE: dict[str, type[np.generic]] = {
    "f32": np.float32,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
    "u8": np.uint8,
    "b1": np.bool_,
}


@dataclass(frozen=True, slots=True)
class DType:
    """
    An element type as in the text form: `f32`, `i8`, ..., or a code for weights: `i4`, `ternary`,
    `fixed<6,2>`, `posit<5,1>`, `book<@entries#digest>`, `hashed<@entries#digest>` (see
    `numeric.codes`).

    An array of codes holds one code in each element, uint8 or uint16; in flash they are packed, or
    not stored where they follow from the position.
    """

    name: str
    params: tuple[int | Blob, ...] = ()

    @staticmethod
    def parse(text: str) -> DType:
        """The type of this text, without blobs; ValueError for one that is not known."""
        match = re.fullmatch(r"([a-z]\w*)(?:<(\d+(?:,\d+)*)>)?", text.replace(" ", ""))
        if match is None:
            raise ValueError(f"'{text}' is not an element type")
        return DType.of_parts(match[1], tuple(int(n) for n in (match[2] or "").split(",") if n))

    @staticmethod
    def of_parts(name: str, params: tuple[int | Blob, ...] = ()) -> DType:
        """The type of a name and its parameters; ValueError if there is none."""
        dtype = DType(name, params)
        if params or name not in _STORAGE:
            _book(dtype)
        return dtype

    @staticmethod
    def of(array: Array) -> DType:
        """The element type that stores a numpy array; ValueError if none does."""
        for name, storage in _STORAGE.items():
            if array.dtype == storage:
                return DType(name)
        raise ValueError(f"no element type for numpy {array.dtype}")

    @property
    def is_float(self) -> bool:
        return self.name == "f32"

    @property
    def book(self) -> CodeBook | None:
        """What the codes of this type stand for; None for a type of plain numbers."""
        return None if self.name in _STORAGE and not self.params else _book(self)

    @property
    def bits(self) -> int:
        """Of an element in flash."""
        book = self.book
        return int(re.sub(r"\D", "", self.name)) if book is None else book.stored_bits

    @property
    def unit(self) -> float:
        """The real value of the integer 1 at scale 1."""
        book = self.book
        return 1.0 if book is None else book.unit

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy element type that holds one element."""
        book = self.book
        return np.dtype(_STORAGE[self.name]) if book is None else book.storage

    @property
    def is_whole(self) -> bool:
        """Whether its elements stand for integers, which cores multiply."""
        book = self.book
        return not self.is_float and (book is None or not book.host)

    def decode(self, array: Array) -> Array:
        """The numbers, in units, that stored elements stand for: int16 for codes, float64 where they
        are not whole."""
        book = self.book
        return array if book is None else np.asarray(book.values[array])

    def __str__(self) -> str:
        return f"{self.name}<{','.join(map(str, self.params))}>" if self.params else self.name


_TABLES = {"book": shared, "hashed": hashed}


@cache
def _book(dtype: DType) -> CodeBook:
    blobs = [p for p in dtype.params if isinstance(p, Blob)]
    if dtype.name in _TABLES:
        if len(dtype.params) != 1 or not blobs:
            kind = "a code book is" if dtype.name == "book" else "buckets are"
            raise ValueError(f"{kind} a constant: {dtype.name}<@entries#digest>")
        return _TABLES[dtype.name](blobs[0].array)
    if blobs:
        raise ValueError(f"{dtype.name} takes no constant")
    return code_book(dtype.name, tuple(p for p in dtype.params if isinstance(p, int)))


F32 = DType("f32")
I8 = DType("i8")
I16 = DType("i16")
I32 = DType("i32")
I64 = DType("i64")


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """A named constant array. It is never written to, so graphs share it freely. What the text of
    the IR can't have in a name becomes _, and primes at its end are left out."""

    name: str
    array: Array
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        name = re.sub(r"[^A-Za-z0-9_./-]", "_", self.name.rstrip("'"))
        object.__setattr__(self, "name", name)
        raw = np.ascontiguousarray(self.array).reshape(self.array.shape)
        raw.flags.writeable = False
        object.__setattr__(self, "array", raw)
        head = f"{raw.dtype.str}{raw.shape}".encode()
        object.__setattr__(self, "digest", hashlib.sha256(head + raw.tobytes()).hexdigest()[:16])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        return f"@{self.name}#{self.digest}"


@dataclass(frozen=True, slots=True)
class Quant:
    """
    real = scale * (stored - zero), or scale * unit * decoded for codes.

    `scale` is one positive float (per tensor), or a blob float32[n] with one scale for
    each slice along `axis` (per channel). `zero` is in units of the stored integer.
    """

    scale: float | Blob
    zero: int = 0
    axis: int | None = None

    def scales(self) -> Array:
        """float64[n] for per channel, float64[1] for per tensor."""
        if isinstance(self.scale, Blob):
            return self.scale.array.astype(np.float64)
        return np.array([self.scale], np.float64)

    def broadcast(self, rank: int) -> Array:
        """The scales, float64, in a shape that broadcasts against a tensor of `rank` axes."""
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = -1
        return self.scales().reshape(shape)

    def __str__(self) -> str:
        if isinstance(self.scale, Blob):
            return f"q({self.scale}, {self.zero}, axis={self.axis})"
        return f"q({self.scale!r}, {self.zero})"


@dataclass(frozen=True, slots=True)
class TensorType:
    """What a value is. Shapes are static; images are NHWC, convolution weights OHWI."""

    dtype: DType
    shape: tuple[int, ...]
    quant: Quant | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of storage; elements under 8 bits are packed."""
        return (self.size * self.dtype.bits + 7) // 8

    def steps(self) -> Array:
        """float64[n] or [1]: what the stored integer 1 is worth; of codes, what they stand for."""
        assert self.quant is not None
        return self.quant.scales() * self.dtype.unit

    def with_shape(self, *shape: int) -> TensorType:
        """The same element type and quantization in another shape."""
        return TensorType(self.dtype, shape, self.quant)

    def __str__(self) -> str:
        text = f"{self.dtype}[{','.join(map(str, self.shape))}]"
        return f"{text} {self.quant}" if self.quant else text
