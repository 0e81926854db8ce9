"""Neighbouring outputs of each row of an int16 plane, for the DSP extension in assembly.

A channel's words of weights, the sums and a pair of words of the plane together take all 14 registers,
which compilers do not manage without spilling. Bias, multiplier, zero point, the end of the plane and
the output lie on the stack and are read where they are needed. Kernels with more words than fit
load those of one kernel row at a time. The frame pointer and what else a compiler may keep to itself
are saved here, so that any flags do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tinycc_nn.backends.tvm.tir.plane import Plane
from tinycc_nn.backends.tvm.tir.products import pairs, row_products
from tinycc_nn.backends.tvm.tir.template import Requantize, micro_kernel

SIGNATURE = (
    "const int8_t *scratch, const int32_t *weights, const int32_t *bias, "
    "const int32_t *multiplier, int8_t *y"
)
_REGISTERS = (*(f"r{i}" for i in range(1, 13)), "lr")
_RESIDENT = 6
"""So many words of weights leave enough registers for sums."""

_MOST_INSTRUCTIONS = 170
"""In a string of at most 4095 characters, which is what C99 promises."""

_FAR_PAIR, _FAR_WORD, _FAR_INDEXED, _FAR_ADD = 1020, 4095, 255, 4095
"""The largest offsets of loads of a pair and of a word, of a word that moves its pointer, and of an
addition."""

_BODY = """\
#if TCNN_DSP && defined(__thumb2__)
  const int32_t first = bias[0], factor = multiplier[0];
  register const int8_t *p __asm__("r0") = scratch;
  register const int32_t *w __asm__("r1") = weights;
  register int8_t *out __asm__("r6") = y;
  register int32_t b __asm__("r2") = first;
  register int32_t m __asm__("r3") = factor;
  __asm__ volatile(
{lines}
      : "+r"(p), "+r"(w), "+r"(out), "+r"(b), "+r"(m)
      :
      : "r4", "r5", "r8", "r10", "r12", "lr", "cc", "memory");
#else
{plain}#endif
"""


@dataclass(frozen=True)
class Rows:
    """``count`` neighbouring outputs of every row of ``plane``, the first of which starts in a low
    half; ``channels`` of the result."""

    plane: Plane
    requantize: Requantize
    channels: int
    count: int

    @staticmethod
    def widest(plane: Plane, requantize: Requantize, channels: int) -> int:
        """The largest count that fits, 0 if none does: sums that need 64 bits, far places."""
        if requantize.shift < 32 and not requantize.narrow:
            return 0
        counts = range(min(plane.window.out_width, len(_REGISTERS)), 0, -1)
        return next((n for n in counts if Rows(plane, requantize, channels, n).fits), 0)

    @property
    def fits(self) -> bool:
        """Whether there are registers for it, and immediate operands reach."""
        w = self.plane.window
        row = row_products(w, self.count)
        last = row[-1].word
        return (
            w.kernel[0] * (len(row) + last + 2) + 10 * self.count + 25 <= _MOST_INSTRUCTIONS
            and self._held + self.count + 2 <= len(_REGISTERS)
            and (self.count - 1) * self.channels <= _FAR_WORD
            and self._place(w.kernel[0] - 1, last) <= _FAR_PAIR
            and max(self._step, w.out_width * self.channels) <= _FAR_ADD
        )

    @property
    def _words(self) -> int:
        """Words of weights in a kernel row."""
        return len(pairs(self.plane.window))

    @property
    def _resident(self) -> bool:
        """Whether all words of weights stay in registers."""
        return self.plane.window.kernel[0] * self._words <= _RESIDENT

    @property
    def _held(self) -> int:
        """Registers of weights, or of those of a kernel row and the pointer to the next."""
        height = self.plane.window.kernel[0]
        return self._words * height if self._resident else self._words + 1

    @property
    def _step(self) -> int:
        """Bytes from one output row to the next, in the plane."""
        return 2 * self.plane.window.stride[0] * self.plane.pitch

    @property
    def _sums(self) -> tuple[str, ...]:
        return _REGISTERS[self._held : self._held + self.count]

    def micro_kernel(self, plain: str) -> tuple[str, str]:
        """``f(scratch, weights, bias, multiplier, y)``; `plain` is the C of the same elsewhere."""
        lines = "\n".join(f'      "{line}\\n"' for line in self._lines())
        text = _BODY.format(lines=lines, plain=plain)
        comment = f"{self.plane.rows} rows of {self.count} outputs of one channel"
        return micro_kernel("depthwise_rows", SIGNATURE, text, comment)

    def _lines(self) -> Iterator[str]:
        yield from self._enter()
        yield "1:"
        yield from self._products()
        yield from self._outputs()
        yield "cmp r0,r12"
        yield "bne 1b"
        yield f"add sp,sp,#{20 if self._resident else 24}"
        yield "pop {r7,r9,r11}"

    def _enter(self) -> Iterator[str]:
        """On the stack, from sp: bias, multiplier, zero point, the last row, y[, weights]."""
        yield from _add("r0", "r0", -self._step)
        yield from _add("r5", "r0", self._step * self.plane.rows)
        yield f"mov r4,#{self.requantize.zero}"
        yield "push {r7,r9,r11}"
        if self._resident:
            yield "push {r2,r3,r4,r5,r6}"
            words = ",".join(_REGISTERS[: self._held])
            yield f"ldm r1,{{{words}}}" if self._held > 1 else "ldr r1,[r1]"
            return
        yield "mov r7,r1"
        yield "push {r2,r3,r4,r5,r6,r7}"

    def _products(self) -> Iterator[str]:
        """All sums; the last one holds the bias until it starts itself."""
        bias = self._sums[-1]
        yield f"ldr {bias},[sp]"
        if not self._resident:
            yield "ldr r1,[sp,#20]"
        started: set[int] = set()
        w = self.plane.window
        row = row_products(w, self.count)
        for ky in range(w.kernel[0]):
            first = ky * self._words if self._resident else 1
            if not self._resident:
                words = ",".join(_REGISTERS[1 : 1 + self._words])
                yield f"ldm r1!,{{{words}}}"
            for word, register, load in self._loads(ky, sorted({p.word for p in row})):
                yield from load
                for p in row:
                    if p.word == word:
                        sum_ = self._sums[p.output]
                        before = sum_ if p.output in started else bias
                        started.add(p.output)
                        weight = _REGISTERS[first + p.weight]
                        yield f"{p.operation} {sum_},{register},{weight},{before}"

    def _loads(self, ky: int, words: list[int]) -> Iterator[tuple[int, str, list[str]]]:
        """Word, its register, and the instructions that load it, in pairs where two are neighbours."""
        i = 0
        while i < len(words):
            word, place = words[i], self._place(ky, words[i])
            pair = i + 1 < len(words) and words[i + 1] == word + 1
            registers = "r12,lr" if pair else "r12"
            load, far = ("ldrd", _FAR_PAIR) if pair else ("ldr", _FAR_INDEXED)
            if ky == i == 0:
                moved = [f"{load} {registers},[r0,#{self._step}]!"]
                if self._step > far:
                    moved = [f"add r0,r0,#{self._step}", f"{load} {registers},[r0]"]
                yield word, "r12", moved
            else:
                yield word, "r12", [f"{load} {registers},[r0,#{place}]"]
            if pair:
                yield word + 1, "lr", []
            i += 2 if pair else 1

    def _place(self, ky: int, word: int) -> int:
        w = self.plane.window
        return 2 * ky * w.dilation[0] * self.plane.pitch + 4 * word

    def _outputs(self) -> Iterator[str]:
        """Requantize and store; r12 is the last row's place then."""
        w, r = self.plane.window, self.requantize
        yield "ldrd r12,lr,[sp,#4]"
        for a in self._sums:
            if r.shift < 32:
                yield f"lsl {a},{a},#{32 - r.shift}"
            yield f"smmlar {a},{a},r12,lr"
        yield "ldrd r12,lr,[sp,#12]"
        for j, a in enumerate(self._sums):
            yield f"ssat {a},#8,{a}"
            yield from _limit(a, "lt", r.low, -128)
            yield from _limit(a, "gt", r.high, 127)
            yield f"strb {a},[lr,#{j * self.channels}]"
        yield f"add lr,lr,#{w.out_width * self.channels}"
        yield "str lr,[sp,#16]"


def _limit(register: str, condition: str, limit: int, extreme: int) -> list[str]:
    if limit == extreme:
        return []
    return [f"cmp {register},#{limit}", f"it {condition}", f"mov{condition} {register},#{limit}"]


def _add(to: str, register: str, value: int) -> list[str]:
    """Any constant, in pieces of 12 bits and less."""
    name, left = ("sub", -value) if value < 0 else ("add", value)
    lines = []
    while left > _FAR_ADD:
        lines.append(f"{name} {to},{register},#{min(left & ~0xFFF, 0xFF000)}")
        left -= min(left & ~0xFFF, 0xFF000)
        register = to
    return [*lines, f"{name} {to},{register},#{left}"]
