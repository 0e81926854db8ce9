"""A dense layer of one row with the DSP extension, without scratch memory.

Four inputs are expanded to int16 lanes in registers and serve a few output channels, whose packed
weights are read in one stream.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.build import Part, convolution, strips
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, pack
from tinycc_nn.backends.tvm.tir.sums import Sums, unrolled
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

_SIGNATURE = (
    "const int8_t *x, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)
_EXPAND = "    s0 = tcnn_sxtb16(v);\n    s1 = tcnn_sxtb16_ror8(v);\n"


def dense_dsp(inputs: int, outputs: int, requantize: Requantize, blocking: Blocking) -> Template:
    """``outputs`` sums over ``inputs`` int8, ``blocking.channels`` (any ``pixels``) at a time."""
    window = Window(1, 1, inputs)
    groups = blocking.groups(outputs)
    blocks = [_block(inputs, group, requantize, blocking.unroll) for group in groups]
    names = tuple(name for name, _ in blocks)
    parts = [Part(strip, None, names) for strip in strips(1, 1, overlap=False)]
    row = blocking.words(inputs)
    return Template(
        f"dense-{blocking.channels}-{blocking.packing.value}",
        lambda: convolution(parts, groups, window, requantize, (row, "int32"), 0),
        lambda w: pack(w, blocking),
        dict(blocks),
        dsp=True,
    )


def _block(inputs: int, group: Group, requantize: Requantize, unroll: int) -> tuple[str, str]:
    sums = Sums(1, group.width, group.packing, lambda half, _: f"s{half}")
    names = ["v", "s0", "s1", *sums.names()]
    text = "  const tcnn_word *w = weights;\n" + sums.start()
    load = "    v = tcnn_ld32(x);\n    x += 4;\n"
    text += unrolled(load + _EXPAND + sums.four(), names, inputs // 4, unroll, "const int8_t", 4)
    if rest := inputs % 4:
        load = "".join(f" | (uint32_t)(uint8_t)x[{i}] << {8 * i}" for i in range(1, rest))
        load = f"    v = (int32_t)((uint8_t)x[0]{load});\n"
        text += f"  {{\n    int32_t {', '.join(names)};\n{load}{_EXPAND}{sums.four()}  }}\n"
    text += sums.finish(requantize, group.width)
    comment = f"{group.width} channels of {inputs} products"
    return micro_kernel("dense", _SIGNATURE, text, comment)
