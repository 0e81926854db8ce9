"""The C helpers of generated kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinycc_nn.backends.tvm.prelude import helpers, helpers_in, prelude
from tinycc_nn.device import Device, HostLibrary
from tinycc_nn.source import NetworkSource, Port
from tinycc_nn.target import Target

COUNT = 8
HEAD = "int t_run(const int32_t *acc, const int32_t *m, int32_t *wide, int8_t *narrow, void *arena)"
BODY = """{
  (void)arena;
  for (int i = 0; i < 8; ++i) {
    wide[i] = tcnn_requantize32(acc[i], m[i], -5);
    narrow[i] = tcnn_clamp(wide[i], -128, 127);
    narrow[8 + i] = tcnn_requantize64(acc[i], m[i], 30, 7, -100, 120);
  }
  return 0;
}
"""
USED = ("tcnn_requantize32", "tcnn_requantize64", "tcnn_clamp")
SOURCE = NetworkSource(
    "t",
    {
        "t.h": f"#include <stdint.h>\n{HEAD};\n",
        "t.c": f'#include "t.h"\n{prelude(USED)}{HEAD}\n{BODY}',
    },
    (Port("acc", "int32", COUNT), Port("m", "int32", COUNT)),
    (Port("wide", "int32", COUNT), Port("narrow", "int8", 2 * COUNT)),
    0,
    1,
)
sums = st.one_of(
    st.integers(-(2**31), 2**31 - 1), st.sampled_from([-(2**31), -(2**16), -1, 0, 65535, 2**31 - 1])
)
factors = st.one_of(
    st.integers(0, 2**31 - 1), st.sampled_from([0, 1, 32768, 65535, 2**30, 2**31 - 1])
)


@pytest.fixture(scope="module")
def machines() -> list[HostLibrary | Device]:
    """A machine with 64-bit multiplication, one without, and one with SMMLAR and SSAT."""
    cores = [
        Device(SOURCE, Target.load(cpu)) for cpu in ("cortex-m0plus", "cortex-m3", "cortex-m4")
    ]
    return [HostLibrary(SOURCE), *cores]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(sums, min_size=COUNT, max_size=COUNT),
    st.lists(factors, min_size=COUNT, max_size=COUNT),
)
def test_requantization_is_exact_everywhere(
    machines: list[HostLibrary | Device], acc: list[int], m: list[int]
) -> None:
    wide = [((a * b + 2**31) >> 32) - 5 for a, b in zip(acc, m, strict=True)]
    low = [((a * b + 2**29) >> 30) + 7 for a, b in zip(acc, m, strict=True)]
    narrow = np.concatenate([np.clip(wide, -128, 127), np.clip(low, -100, 120)])
    inputs = [np.array(acc, np.int64).astype(np.int32), np.array(m, np.int32)]
    for machine in machines:
        outputs = machine.run(inputs)
        assert outputs[0].tolist() == wide
        assert outputs[1].tolist() == narrow.tolist()


def test_only_what_is_needed_is_emitted_and_each_once() -> None:
    text = prelude(["tcnn_sxtb16_ror8", "tcnn_ld32", "tcnn_sxtb16"])
    assert text.count("int32_t tcnn_sxtb16(") == 1
    assert text.count("define TCNN_INLINE static inline __attribute__") == 1
    assert "smlad" not in text


def test_needs_stand_before_their_use() -> None:
    text = prelude(["tcnn_sxtb16_ror8"])
    order = [text.index(s) for s in ("#define TCNN_DSP", "tcnn_sxtb16(", "tcnn_sxtb16_ror8(")]
    assert order == sorted(order)


def test_math_functions_are_declared_without_their_header() -> None:
    assert (
        prelude(["expf", "powf"])
        == "extern float expf(float);\n\nextern float powf(float, float);\n"
    )


def test_helpers_are_found_in_a_text() -> None:
    text = "y = tcnn_rint(expf(x)) + tcnn_unknown(sinful);"
    assert helpers_in(text) == {"tcnn_rint", "expf"}


def test_a_helper_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError, match="tcnn_nothing"):
        prelude(["tcnn_nothing"])


def test_all_helpers_compile_together_without_warnings() -> None:
    head = "int t_run(void *arena)"
    text = f'#include "t.h"\n{prelude(helpers())}{head} {{ (void)arena; return 0; }}\n'
    source = NetworkSource(
        "t", {"t.h": f"#include <stdint.h>\n{head};\n", "t.c": text}, (), (), 0, 1
    )
    HostLibrary(source, flags=["-Werror", "-Wextra", "-Wno-unused-function"])
    Device(source, Target.load("cortex-m4"), flags=["-Werror", "-Wno-unused-function"])
