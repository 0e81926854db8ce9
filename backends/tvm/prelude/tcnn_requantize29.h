/* As tcnn_requantize32, for |acc| < 2^29. */
TCNN_INLINE int32_t tcnn_requantize29(int32_t acc, int32_t m, int32_t zero)
{
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  /* acc = 2^16 h + l with signed l, m = 2^16 n + k: no sum of their products overflows. A shift
     leaves the bit that rounds in the carry. */
  int32_t k, l, p;
  __asm__(".syntax unified\n"
          "uxth %[k], %[m]\n"
          "lsrs %[m], %[m], #16\n"
          "sxth %[l], %[acc]\n"
          "asrs %[acc], %[acc], #16\n"
          "movs %[p], #0\n"
          "adcs %[acc], %[p]\n"
          "movs %[p], %[l]\n"
          "muls %[p], %[k], %[p]\n"
          "asrs %[p], %[p], #16\n"
          "muls %[l], %[m], %[l]\n"
          "adds %[l], %[l], %[p]\n"
          "muls %[k], %[acc], %[k]\n"
          "adds %[l], %[l], %[k]\n"
          "muls %[acc], %[m], %[acc]\n"
          "asrs %[l], %[l], #16\n"
          "adcs %[acc], %[l]\n"
          : [acc] "+l"(acc), [m] "+l"(m), [k] "=&l"(k), [l] "=&l"(l), [p] "=&l"(p)
          :
          : "cc");
  return acc + zero;
#else
  return tcnn_requantize32(acc, m, zero);
#endif
}
