"""coded: convolution, depthwise and dense layers whose weights are codes of a few bits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from tinycc_nn.backends.tvm.kernel import Code, Kernel
from tinycc_nn.backends.tvm.tir.coded import Coded
from tinycc_nn.backends.tvm.tir.coded_dense import CodedDense
from tinycc_nn.backends.tvm.tir.coded_depthwise import CodedDepthwise
from tinycc_nn.backends.tvm.tir.coded_words import CHANNELS, PIXELS, CodedWords
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.hashing import HashDecoder
from tinycc_nn.backends.tvm.tir.packing import Blocking
from tinycc_nn.backends.tvm.tir.template import folded_bias
from tinycc_nn.backends.tvm.weighted import Weighted
from tinycc_nn.ir.graph import Op
from tinycc_nn.numeric.codes import CodeBook
from tinycc_nn.target import Target

BLOCKS = ((1, 2), (1, 4), (2, 2), (2, 4))
STRIPS = (8, 16, 32, 64, 128)
"""Output pixels for which a weight is decoded once, where receptive fields are laid out."""

DECODE = {True: 3.0, False: 7.0}
"""Instructions to decode a weight: by shifts, by a table. Measured on a Cortex-M4, GCC 12 -O2."""

THUMB_1 = 7.2
"""For a product, on cores with few registers."""

DENSE = {2: (2, 4.3), 3: (4, 2.5), 4: (2, 2.4), 5: (4, 2.5)}
"""Channels at a time and cycles of a product where weights are decoded in registers, by bits:
what was best and what it took on a Cortex-M4, GCC 12 -O2 (the compiler's spills decide)."""

SPILLS = 1.4
"""Registers do not suffice for blocks that expand their inputs."""

HASH = 8.0
"""Instructions to find a weight by the hash of its position, likewise."""

DECODE_ALONE = 12.0
"""The same in a depthwise layer, one by one."""

REQUANTIZE = 6
CYCLES_PER_INSTRUCTION = {True: 1.25, False: 1.4}
"""With the DSP extension, without."""


class CodedFamily:
    """Blocks of pixels x channels on weights that are decoded in scratch memory."""

    decodes = True

    def candidates(self, op: Op, target: Target) -> Iterable[Kernel]:
        if (layer := Weighted.of(op)) is None or (book := op.operands[1].type.dtype.book) is None:
            return
        if book.host:
            return
        if layer.is_depthwise:
            yield from _depthwise(layer, book, target)
        elif layer.groups == 1:
            yield from _products(layer, book, target)
            yield from _dense(layer, book, target)


def _products(layer: Weighted, book: CodeBook, target: Target) -> Iterator[Kernel]:
    window = layer.window
    pixels = window.pixels
    for block in BLOCKS:
        if block[0] > pixels:
            continue
        for strip in sorted({_balanced(pixels, s) for s in (*STRIPS, pixels)}):
            coded = Coded(
                window, len(layer.weights), layer.input_zero, layer.requantize,
                _decoder(layer, book, lanes=target.dsp),
                Blocking(*block), strip, target.dsp,
            )  # fmt: skip
            if strip == pixels or (coded.staged and strip >= block[0]):
                yield _kernel(layer, book, coded, target)
    if target.dsp and pixels >= PIXELS and len(layer.weights) % CHANNELS == 0:
        even = {s for s in range(STRIPS[0], STRIPS[-1]) if pixels % s == 0}
        for strip in sorted(even | {_balanced(pixels, s) for s in (*STRIPS, pixels)}):
            if strip >= PIXELS:
                yield _words(layer, book, strip)


def _decoder(layer: Weighted, book: CodeBook, *, lanes: bool = False) -> Decoder:
    """`lanes`: decoded weights are laid for the DSP extension."""
    if book.hashed:
        return HashDecoder(book.bits, False, layer.weights[0].size, lanes)
    return Decoder.of(book)


def _decode(book: CodeBook) -> float:
    return HASH if book.hashed else DECODE[book.signed]


def _balanced(pixels: int, strip: int) -> int:
    """About so many pixels, so that all strips are nearly full."""
    return -(-pixels // -(-pixels // strip))


def _kernel(layer: Weighted, book: CodeBook, coded: Coded, target: Target) -> Kernel:
    p, n = coded.blocking.pixels, coded.blocking.channels
    inner = SPILLS * (n / 2 + 0.75 * p + p * n / 2) if coded.dsp else n + p + p * n + 3
    if target.cpu in ("cortex-m0", "cortex-m0plus"):
        inner = THUMB_1 * p * n
    strips = -(-coded.window.pixels // coded.strip)
    groups = -(-coded.channels // n)
    blocks = -(-coded.strip // p) * (coded.depth * inner + 8 + p * n * REQUANTIZE)
    fill = coded.strip * (coded.depth + 10) if coded.staged else 0
    decode = coded.depth * n * _decode(book)
    total = strips * (fill + groups * (decode + blocks + 15))
    kind = "-dsp" if coded.dsp else ""
    table = 0 if book.signed else book.values.nbytes
    return Kernel(
        f"coded{kind}-{p}x{n}-{coded.strip}",
        partial(_code, layer, book, coded),
        4 * coded.words + table + layer.bias.nbytes + 4 * layer.requantize.channels(coded.channels),
        300 + 12 * p * n + 8 * coded.decoder.period,
        total * CYCLES_PER_INSTRUCTION[coded.dsp],
        coded.scratch,
    )


def _words(layer: Weighted, book: CodeBook, strip: int) -> Kernel:
    coded = CodedWords(
        layer.window, len(layer.weights), layer.input_zero, layer.requantize,
        _decoder(layer, book, lanes=True), strip,
    )  # fmt: skip
    steps = coded.depth // 2
    block = 17.0 * steps + 62
    fill = 1.25 * (PIXELS * steps * 3 + 30)
    decode = 1.25 * (CHANNELS * coded.depth * _decode(book) + 15)
    strips = -(-coded.window.pixels // strip)
    pairs = coded.channels // CHANNELS
    table = 0 if book.signed else book.values.nbytes
    return Kernel(
        f"coded-words-{strip}",
        partial(_code, layer, book, coded),
        4 * coded.words + table + layer.bias.nbytes + layer.multipliers.nbytes,
        600 + 44 * min(steps, 31) + 8 * coded.decoder.period,
        strips * (coded.blocks * fill + pairs * (decode + coded.blocks * block)),
        coded.scratch,
        (0,) if coded.in_place else (),
    )


def _dense(layer: Weighted, book: CodeBook, target: Target) -> Iterator[Kernel]:
    w = layer.window
    small = book.signed and book.bits in DENSE
    if not target.dsp or not small or not w.pointwise or w.pixels != 1:
        return
    channels, cycles = DENSE[book.bits]
    coded = CodedDense(w.depth, len(layer.weights), layer.requantize, book.bits, channels)
    sums = coded.outputs * (w.depth * cycles + 25) + 2 * w.depth
    yield Kernel(
        f"coded-dense-{channels}",
        partial(_code, layer, book, coded),
        4 * coded.outputs * coded.words + layer.bias.nbytes + layer.multipliers.nbytes,
        300 + 5 * coded.period * (channels + 2),
        sums,
    )


def _depthwise(layer: Weighted, book: CodeBook, target: Target) -> Iterator[Kernel]:
    w = layer.window
    dsp = target.dsp and w.dilation == (1, 1) and max(w.kernel) <= 7
    for rows in sorted({w.out_height, min(8, w.out_height)}):
        coded = CodedDepthwise(
            w, layer.input_zero, layer.requantize, _decoder(layer, book), rows, dsp
        )  # fmt: skip
        strips = coded.plane.strips
        overlap = 1 + max(0, w.kernel[0] - w.stride[0]) / (rows * w.stride[0])
        instructions = layer.macs * (2.0 if dsp else 4.5) + layer.op.type.size * REQUANTIZE
        instructions += w.height * w.width * w.channels * 3.5 * overlap
        instructions += strips * layer.weights.size * DECODE_ALONE
        yield Kernel(
            f"coded-depthwise{'-dsp' if dsp else ''}-{rows}",
            partial(_code, layer, book, coded),
            _codes_bytes(layer, book) + layer.bias.nbytes + layer.multipliers.nbytes,
            700 if dsp else 400,
            instructions * CYCLES_PER_INSTRUCTION[dsp],
            coded.plane.nbytes,
            (0,) if coded.plane.in_place else (),
        )


def _codes_bytes(layer: Weighted, book: CodeBook) -> int:
    return -(-layer.weights.size * book.stored_bits // 8) + (
        0 if book.signed else book.values.nbytes
    )


def _code(
    layer: Weighted, book: CodeBook, coded: Coded | CodedWords | CodedDense | CodedDepthwise
) -> Code:
    stored = layer.op.operands[1].constant
    assert stored is not None
    codes = coded.pack(stored.reshape(layer.weights.shape))
    bias = folded_bias(layer.bias, layer.weights, layer.input_zero)
    weights = _decoder(layer, book).constants(codes, book)
    constants = (*weights, bias, layer.multipliers)
    return Code(coded.function(), constants, tuple(coded.micro_kernels().values()))


FAMILY = CodedFamily()
