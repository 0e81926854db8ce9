/* a[2 * p + n] += the products of a row of blocks, for p < 4 pixels and n < 2 channels; what lies
 * behind the row. A block is the bytes from the end of the one before to it in x, then 4 words of
 * weights, for 16 words of x; the row ends with -1. See tcnn_smlad_4x2 for TCNN_PLAIN. */
TCNN_INLINE const tcnn_word *tcnn_blocks_4x2(const tcnn_word *x, const tcnn_word *w, int32_t *a)
{
#if TCNN_DSP && defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__PIC__) && \
    !defined(__ARM_FEATURE_MVE) && !defined(TCNN_PLAIN)
  int32_t s, t, u, v;
  __asm__ volatile("ldr %[s], [%[w]], #4\n\t"
          "adds %[x], %[x], %[s]\n\t" /* the carry tells a negative number from a distance */
          "bcs 2f\n"
          "1:\n\t"
          "ldrd %[u], %[v], [%[w]], #8\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smlad %[a0], %[s], %[u], %[a0]\n\t"
          "smlad %[a1], %[s], %[v], %[a1]\n\t"
          "smlad %[a2], %[t], %[u], %[a2]\n\t"
          "smlad %[a3], %[t], %[v], %[a3]\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smlad %[a4], %[s], %[u], %[a4]\n\t"
          "smlad %[a5], %[s], %[v], %[a5]\n\t"
          "smlad %[a6], %[t], %[u], %[a6]\n\t"
          "smlad %[a7], %[t], %[v], %[a7]\n\t"
          "ldrd %[u], %[v], [%[w]], #8\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smlad %[a0], %[s], %[u], %[a0]\n\t"
          "smlad %[a1], %[s], %[v], %[a1]\n\t"
          "smlad %[a2], %[t], %[u], %[a2]\n\t"
          "smlad %[a3], %[t], %[v], %[a3]\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smlad %[a4], %[s], %[u], %[a4]\n\t"
          "smlad %[a5], %[s], %[v], %[a5]\n\t"
          "smlad %[a6], %[t], %[u], %[a6]\n\t"
          "smlad %[a7], %[t], %[v], %[a7]\n\t"
          "ldr %[s], [%[w]], #4\n\t"
          "adds %[x], %[x], %[s]\n\t"
          "bcc 1b\n"
          "2:"
          : [a0] "+r"(a[0]), [a1] "+r"(a[1]), [a2] "+r"(a[2]), [a3] "+r"(a[3]), [a4] "+r"(a[4]),
            [a5] "+r"(a[5]), [a6] "+r"(a[6]), [a7] "+r"(a[7]), [x] "+r"(x), [w] "+r"(w),
            [s] "=&r"(s), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v)
          :
          : "memory", "cc");
#else
  for (int32_t d = *w++; d >= 0; d = *w++) {
    x += d / 4;
    for (int32_t k = 0; k < 2; ++k, x += 4, w += 2) {
      for (int32_t p = 0; p < 4; ++p) {
        a[2 * p] = tcnn_smlad(x[p], w[0], a[2 * p]);
        a[2 * p + 1] = tcnn_smlad(x[p], w[1], a[2 * p + 1]);
      }
    }
  }
#endif
  return w;
}
