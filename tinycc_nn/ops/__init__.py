"""One file an operator family: its attributes, types, meaning in numpy, work, ONNX readers."""

from tinycc_nn.ops.definition import Attribute, Int8, OpDef
from tinycc_nn.ops.registry import (
    emit,
    flag,
    ints,
    is_storage,
    number,
    opdef,
    opdefs,
    readers,
    word,
)
from tinycc_nn.ops.verify import verify

__all__ = [
    "Attribute",
    "Int8",
    "OpDef",
    "emit",
    "flag",
    "ints",
    "is_storage",
    "number",
    "opdef",
    "opdefs",
    "readers",
    "verify",
    "word",
]
