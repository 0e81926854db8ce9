"""A dense layer of one row with the DSP extension that skips blocks of zeros, 4 inputs x 4 outputs.

As `dense`, but the loop runs over the blocks of weights that are there. Wider blocks than those of
a convolution: a single pixel has less to do for each block that is found.
"""

from __future__ import annotations

from tinycc_nn.backends.tvm.tir.block_calls import strip_calls
from tinycc_nn.backends.tvm.tir.block_stream import INPUTS, word_stream
from tinycc_nn.backends.tvm.tir.build import Part, Strip
from tinycc_nn.backends.tvm.tir.packing import Blocking, Group, Packing
from tinycc_nn.backends.tvm.tir.sums import Sums
from tinycc_nn.backends.tvm.tir.template import Requantize, Template, Window, micro_kernel

_SIGNATURE = (
    "const int8_t *input, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)
OUTPUTS = 4


def groups_of(outputs: int, packing: Packing) -> list[Group]:
    """The rows of the stream."""
    return Blocking(1, OUTPUTS, 1, packing).groups(outputs)


def block_sparse_dense(
    inputs: int, outputs: int, requantize: Requantize, packing: Packing, words: int
) -> Template:
    """``words``: of the weights' stream."""
    groups = groups_of(outputs, packing)
    name, text = _kernel(inputs, groups, requantize)
    window, parts = Window(1, 1, inputs), [Part(Strip(1, 1, 0), None, (name,))]
    return Template(
        f"block-sparse-dense-{packing.value}",
        lambda: strip_calls(parts, window, outputs, requantize, (words, "int32"), 0),
        lambda w: word_stream(w, groups, INPUTS),
        {name: text},
        dsp=True,
    )


def _kernel(inputs: int, groups: list[Group], requantize: Requantize) -> tuple[str, str]:
    body = "  const tcnn_word *w = weights;\n"
    for g in groups:
        body += f"  for (int32_t n = {g.count}; n > 0; --n) {{\n{_row(inputs, g, requantize)}"
        body += f"  y += {g.width};\n  bias += {g.width};\n"
        body += f"  multiplier += {g.width};\n" * requantize.per_channel + "  }\n"
    outputs = sum(g.width * g.count for g in groups)
    return micro_kernel(
        "block_sparse_dense", _SIGNATURE, body, f"{outputs} channels of {inputs} inputs"
    )


def _row(inputs: int, group: Group, requantize: Requantize) -> str:
    sums = Sums(1, group.width, group.packing, lambda half, _: f"s{half}")
    rest = inputs % INPUTS
    if group.packing is Packing.PAIRS and group.width == OUTPUTS and not rest:
        text = "  int32_t a[4] = {bias[0], bias[0], bias[2], bias[2]};\n"
        text += "  w = tcnn_blocks_1x4(input, w, a);\n"
        text += "".join(f"  int32_t a0{n} = a[{n}];\n" for n in range(OUTPUTS))
        return text + sums.finish(requantize, group.width)
    text = "  const int8_t *x = input;\n" + sums.start()
    text += "  for (int32_t d = *w++; d >= 0; d = *w++) {\n"
    text += f"    int32_t {', '.join(['v', 's0', 's1', *sums.names()])};\n    x += d;\n"
    if rest:  # the last block reaches behind the input
        load = "".join(f" | (uint32_t)(uint8_t)x[{i}] << {8 * i}" for i in range(1, rest))
        text += f"    if (x == input + {inputs - rest})\n"
        text += f"      v = (int32_t)((uint8_t)x[0]{load});\n    else\n  "
    text += "    v = tcnn_ld32(x);\n    x += 4;\n"
    text += "    s0 = tcnn_sxtb16(v);\n    s1 = tcnn_sxtb16_ror8(v);\n"
    return text + sums.four() + "  }\n" + sums.finish(requantize, group.width)
