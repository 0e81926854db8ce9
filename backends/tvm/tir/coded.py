"""Convolution and dense layers whose weights are codes.

A few output channels are decoded to int16 in scratch memory and serve all pixels of a strip: the
more pixels, the less a weight's decoding costs. 1x1 convolutions read their input where it is, and
all pixels are one strip; otherwise a strip's receptive fields are laid in scratch memory as int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinycc_nn.backends.tvm.lower import load_tvm
from tinycc_nn.backends.tvm.tir import im2col
from tinycc_nn.backends.tvm.tir.blocks import Block
from tinycc_nn.backends.tvm.tir.build import strips
from tinycc_nn.backends.tvm.tir.coded_arguments import declare
from tinycc_nn.backends.tvm.tir.codes import Decoder
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, Packing
from tinycc_nn.backends.tvm.tir.sums import Sums, unrolled
from tinycc_nn.backends.tvm.tir.template import Requantize, Window, micro_kernel
from tinycc_nn.ir.types import Array

SIGNATURE = (
    "const int8_t *x, const int8_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)


@dataclass(frozen=True)
class Coded:
    """
    strip:    output pixels that share the decoded weights of a group of channels.
    blocking: pixels x channels of a register block.
    dsp:      with the DSP extension's instructions; otherwise one product at a time.
    """

    window: Window
    channels: int
    input_zero: int
    requantize: Requantize
    decoder: Decoder
    blocking: Blocking
    strip: int
    dsp: bool

    @property
    def staged(self) -> bool:
        """Whether receptive fields are laid in scratch memory."""
        return not self.window.pointwise or (self.dsp and self.window.depth % 4 != 0)

    @property
    def depth(self) -> int:
        """Products of a sum, with the zeros behind them."""
        return im2col.padded_depth(self.window) if self.dsp else self.window.depth

    @property
    def groups(self) -> list[Group]:
        return Blocking(channels=self.blocking.channels).groups(self.channels)

    @property
    def decoded_bytes(self) -> int:
        widest = max(g.width for g in self.groups)
        return -(-self.decoder.decoded_bytes(widest * self.depth) // 4) * 4

    @property
    def scratch(self) -> int:
        fields = self.strip * self.depth if self.staged else 0
        return self.decoded_bytes + fields

    @property
    def words(self) -> int:
        """Words of packed codes."""
        return sum(g.count * self.decoder.words(g.width * self.depth) for g in self.groups)

    def pack(self, codes: Array) -> Array:
        """int32[words]: OHWI codes in the order in which they are decoded."""
        flat = codes.reshape(len(codes), -1)
        flat = np.pad(flat, ((0, 0), (0, self.depth - flat.shape[1])))
        parts = []
        for g in self.groups:
            for first in range(g.first, g.first + g.width * g.count, g.width):
                rows = flat[first : first + g.width]
                parts.append(self.decoder.packed(lanes(rows) if self.dsp else rows.T))
        return np.concatenate(parts)

    def micro_kernels(self) -> dict[str, str]:
        found = [self._fill()] if self.staged else []
        found += [self.decoder.micro_kernel(g.width * self.depth) for g in self.groups]
        found += [self._block(pixels, g) for g in self.groups for pixels, _ in self._blocks()]
        return dict(found)

    def _fill(self) -> tuple[str, str]:
        return im2col.narrow(self.window, self.input_zero, self.strip, self.depth)

    def _blocks(self) -> list[tuple[int, tuple[int, int]]]:
        """Pixels of a block, and the number and first pixel of such blocks, of a strip."""
        parts = strips(self.strip, self.blocking.pixels, overlap=True)
        return [(s.pixels, (s.count, s.first)) for s in parts]

    def _block(self, pixels: int, group: Group) -> tuple[str, str]:
        block = Block(pixels, group.width, self.depth, self.depth, self.channels)
        return (
            lanes_block(block, self.requantize) if self.dsp else plain_block(block, self.requantize)
        )

    def function(self) -> Any:
        """The TIR function of ``x, codes[, table], bias, multiplier, y, scratch``."""
        load_tvm()
        from tvm.script.ir_builder import IRBuilder
        from tvm.tirx.script import builder as T

        window, channels, decoder = self.window, self.channels, self.decoder
        with IRBuilder() as builder, T.prim_func(s_tir=True):
            x, w, b, m, y, s = declare(
                window, channels, self.requantize, decoder, (self.words, "int32"), self.scratch
            )
            at = T.address_of
            (strip,) = strips(window.pixels, self.strip, overlap=True)
            with T.serial(strip.count) as i:
                first = T.min(i * strip.pixels, window.pixels - strip.pixels)
                if self.staged:
                    fields = at(s[self.decoded_bytes])
                    T.evaluate(T.call_extern("void", self._fill()[0], at(x[0]), first, fields))
                start = 0
                for g in self.groups:
                    count = g.width * self.depth
                    decode, words = decoder.micro_kernel(count)[0], decoder.words(count)
                    with T.serial(g.count) as j:
                        n = g.first + j * g.width
                        codes = decoder.source(w, start + j * words, n)
                        T.evaluate(T.call_extern("void", decode, *codes, at(s[0])))
                        factor = m[n] if self.requantize.per_channel else m[0]
                        for pixels, (blocks, _) in self._blocks():
                            name = self._block(pixels, g)[0]
                            with T.serial(blocks) as k:
                                p = T.min(k * pixels, strip.pixels - pixels)
                                source = at(x[(first + p) * window.depth])
                                if self.staged:
                                    source = at(s[self.decoded_bytes + p * self.depth])
                                sums = (at(s[0]), at(b[n]), at(factor))
                                place = at(y[(first + p) * channels + n])
                                T.evaluate(T.call_extern("void", name, source, *sums, place))
                    start += g.count * words
        return builder.get()


def lanes(rows: Array) -> Array:
    """[channels, depth] in the order of words of int16 lanes: 0 and 2 of four, then 1 and 3."""
    fours = rows.reshape(len(rows), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(rows), -1, 2, 2)
    return fours.transpose(1, 2, 0, 3)


def lanes_block(block: Block, requantize: Requantize) -> tuple[str, str]:
    """Sums of int8 inputs and decoded weights in int16 lanes, with the DSP extension."""
    pixels, channels = range(block.pixels), range(block.channels)
    lines = [f"u{p} = tcnn_ld32(x + {p * block.pitch});" for p in pixels] + ["x += 4;"]
    for half, expand in enumerate(("tcnn_sxtb16", "tcnn_sxtb16_ror8")):
        lines += [f"t{p} = {expand}(u{p});" for p in pixels]
        for n in channels:
            lines.append(f"v = w[{half * block.channels + n}];")
            lines += [f"a{p}{n} = tcnn_smlad(t{p}, v, a{p}{n});" for p in pixels]
    lines.append(f"w += {2 * block.channels};")
    four = "".join(f"    {line}\n" for line in lines)
    names = ["v", *(f"{k}{p}" for p in pixels for k in "ut")]
    sums = Sums(block.pixels, block.channels, Packing.WORDS, lambda _half, _pixel: "")
    text = "  const tcnn_word *w = (const tcnn_word *)weights;\n" + sums.start()
    text += unrolled(four, names, block.depth // 4, 2, "const int8_t", 4)
    text += sums.finish(requantize, block.stride)
    return micro_kernel("coded_dsp", SIGNATURE, text, block.comment)


def plain_block(block: Block, requantize: Requantize) -> tuple[str, str]:
    """The same one product at a time; weights lie by depth, then channel."""
    pixels, channels = range(block.pixels), range(block.channels)
    sums = Sums(block.pixels, block.channels, Packing.WORDS, lambda _half, _pixel: "")
    lines = [f"const int32_t w{n} = w[{n}];" for n in channels] + [f"w += {block.channels};"]
    for p in pixels:
        lines.append(f"const int32_t v{p} = x[{p * block.pitch}];")
        lines += [f"a{p}{n} += v{p} * w{n};" for n in channels]
    inner = "".join(f"    {line}\n" for line in lines)
    text = "  const tcnn_half *w = (const tcnn_half *)weights;\n" + sums.start()
    text += f"  const int8_t *const end = x + {block.depth};\n"
    text += f"  do {{\n{inner}    ++x;\n  }} while (x != end);\n"
    text += sums.finish(requantize, block.stride)
    return micro_kernel("coded", SIGNATURE, text, block.comment)
