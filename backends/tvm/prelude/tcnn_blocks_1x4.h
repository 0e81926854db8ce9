/* a[n] += the products of a row of blocks of 4 int8 of x and n < 4 channels in pairs (the sums of odd
 * channels 256 times, with those of even ones in them); what lies behind the row. A block is the
 * bytes from the end of the one before to it in x, then 4 words of weights; the row ends with -1. */
TCNN_INLINE const tcnn_word *tcnn_blocks_1x4(const int8_t *x, const tcnn_word *w, int32_t *a)
{
#if TCNN_DSP && defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__PIC__) && \
    !defined(__ARM_FEATURE_MVE)
  int32_t s, t, u, v, e;
  __asm__ volatile("ldr %[s], [%[w]], #4\n\t"
          "adds %[x], %[x], %[s]\n\t" /* the carry tells a negative number from a distance */
          "bcs 2f\n"
          "1:\n\t"
          "ldrd %[u], %[v], [%[w]], #8\n\t"
          "ldr %[s], [%[x]], #4\n\t"
          "sxtb16 %[t], %[s]\n\t"
          "sxtb16 %[e], %[u]\n\t"
          "smlad %[a0], %[t], %[e], %[a0]\n\t"
          "smlad %[a1], %[t], %[u], %[a1]\n\t"
          "sxtb16 %[e], %[v]\n\t"
          "smlad %[a2], %[t], %[e], %[a2]\n\t"
          "smlad %[a3], %[t], %[v], %[a3]\n\t"
          "ldrd %[u], %[v], [%[w]], #8\n\t"
          "sxtb16 %[t], %[s], ror #8\n\t"
          "sxtb16 %[e], %[u]\n\t"
          "smlad %[a0], %[t], %[e], %[a0]\n\t"
          "smlad %[a1], %[t], %[u], %[a1]\n\t"
          "sxtb16 %[e], %[v]\n\t"
          "smlad %[a2], %[t], %[e], %[a2]\n\t"
          "smlad %[a3], %[t], %[v], %[a3]\n\t"
          "ldr %[s], [%[w]], #4\n\t"
          "adds %[x], %[x], %[s]\n\t"
          "bcc 1b\n"
          "2:"
          : [a0] "+r"(a[0]), [a1] "+r"(a[1]), [a2] "+r"(a[2]), [a3] "+r"(a[3]), [x] "+r"(x),
            [w] "+r"(w), [s] "=&r"(s), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v), [e] "=&r"(e)
          :
          : "memory", "cc");
#else
  for (int32_t d = *w++; d >= 0; d = *w++) {
    x += d;
    const int32_t s = tcnn_ld32(x);
    for (int32_t k = 0; k < 2; ++k, w += 2) {
      const int32_t t = k ? tcnn_sxtb16_ror8(s) : tcnn_sxtb16(s);
      for (int32_t n = 0; n < 2; ++n) {
        a[2 * n] = tcnn_smlad(t, tcnn_sxtb16(w[n]), a[2 * n]);
        a[2 * n + 1] = tcnn_smlad(t, w[n], a[2 * n + 1]);
      }
    }
    x += 4;
  }
#endif
  return w;
}
