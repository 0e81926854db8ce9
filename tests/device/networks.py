"""Small hand-written networks in the shape of generated ones."""

from __future__ import annotations

from tinycc_nn.source import NetworkSource, Port

_HEADER = """
#ifndef TINY_H
#define TINY_H
#include <stdint.h>
int tiny_run(const int8_t x[64], int8_t y[16], void *arena);
#endif
"""
_DATA = "#include <stdint.h>\nconst int8_t tiny_w[16 * 64] = {%s};\n"
_CODE = """
#include "tiny.h"
#include <stddef.h>
#include <string.h>
extern const int8_t tiny_w[16 * 64];
#define NOINLINE __attribute__((noinline))

static inline int32_t dot4(const int8_t *a, const int8_t *b, int32_t sum)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t p, q, p0, p1, q0, q1;
    memcpy(&p, a, 4);
    memcpy(&q, b, 4);
    __asm("sxtb16 %0, %1" : "=r"(p0) : "r"(p));
    __asm("sxtb16 %0, %1, ror #8" : "=r"(p1) : "r"(p));
    __asm("sxtb16 %0, %1" : "=r"(q0) : "r"(q));
    __asm("sxtb16 %0, %1, ror #8" : "=r"(q1) : "r"(q));
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(p0), "r"(q0));
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(p1), "r"(q1));
    return sum;
#else
    return sum + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
#endif
}

static NOINLINE void tiny_k0(const int8_t *x, int8_t *y)
{
    for (int i = 0; i < 64; i++) {
        y[i] = (int8_t)(x[i] / 2 + OFFSET);
    }
}

static NOINLINE void tiny_k1(const int8_t *x, int8_t *y)
{
    for (int o = 0; o < 16; o++) {
        int32_t sum = 0;
        for (int i = 0; i < 64; i += 4) {
            sum = dot4(x + i, tiny_w + 64 * o + i, sum);
        }
        y[o] = (int8_t)(sum >> 10);
    }
}

int tiny_run(const int8_t x[64], int8_t y[16], void *arena)
{
    int8_t *a = arena;
    if (arena == NULL) {
        return -1;
    }
    tiny_k0(x, a);
    tiny_k0(a, a);
    tiny_k1(a, y);
    BUG
    return 0;
}
"""


def weights() -> list[int]:
    """The 16x64 weights of the last layer, row by row."""
    return [(37 * i * i + 11 * i) % 255 - 127 for i in range(16 * 64)]


def tiny(bug: str = "", *, arena_bytes: int = 64, offset: int = 3) -> NetworkSource:
    """y[16] = (W (f(f(x)))) >> 10 with f(x) = x / 2 + offset: two kernels, one called twice.

    `bug` is a C statement at the end of `tiny_run`.
    """
    code = _CODE.replace("OFFSET", str(offset)).replace("BUG", bug)
    data = _DATA % ", ".join(map(str, weights()))
    return NetworkSource(
        name="tiny",
        files={"tiny.h": _HEADER, "tiny.c": code, "tiny_data.c": data, "CMakeLists.txt": ""},
        inputs=(Port("x", "int8", 64),),
        outputs=(Port("y", "int8", 16),),
        arena_bytes=arena_bytes,
        arena_align=8,
        layer_symbols=("tiny_k0", "tiny_k0", "tiny_k1"),
    )
