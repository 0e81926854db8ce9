"""The parameters of TIR functions whose weights are codes."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.template import Requantize, Window


class Arguments(NamedTuple):
    """Buffers; ``codes``: what ``Decoder.arguments`` declares."""

    x: Any
    codes: Any
    bias: Any
    multiplier: Any
    y: Any
    scratch: Any


def declare(
    window: Window,
    channels: int,
    requantize: Requantize,
    decoder: Decoder,
    codes: tuple[int, str],
    scratch: int,
) -> Arguments:
    """``x``, the codes, ``bias, multiplier, y, scratch`` of the function being built.

    ``channels`` of the result; ``codes``: elements and their type; ``scratch``: bytes.
    """
    load_tvm()
    from tvm.tirx.script import builder as T

    def argument(name: str, size: int, dtype: str) -> Any:
        return T.arg(name, T.Buffer((size,), dtype))

    return Arguments(
        argument("x", window.height * window.width * window.channels, "int8"),
        decoder.arguments(*codes),
        argument("bias", channels, "int32"),
        argument("multiplier", requantize.channels(channels), "int32"),
        argument("y", window.pixels * channels, "int8"),
        argument("scratch", scratch, "int8"),
    )
