/* As tcnn_smlad_4x2, the first products: a is set. */
TCNN_INLINE void tcnn_smuad_4x2(const tcnn_word **x, const tcnn_word **w, int32_t *a)
{
#if TCNN_DSP && defined(__OPTIMIZE__) && !defined(__clang__) && !defined(__PIC__) && \
    !defined(__ARM_FEATURE_MVE) && !defined(TCNN_PLAIN)
  int32_t s, t, u, v;
  __asm__("ldrd %[u], %[v], [%[w]], #8\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smuad %[a0], %[s], %[u]\n\t"
          "smuad %[a1], %[s], %[v]\n\t"
          "smuad %[a2], %[t], %[u]\n\t"
          "smuad %[a3], %[t], %[v]\n\t"
          "ldrd %[s], %[t], [%[x]], #8\n\t"
          "smuad %[a4], %[s], %[u]\n\t"
          "smuad %[a5], %[s], %[v]\n\t"
          "smuad %[a6], %[t], %[u]\n\t"
          "smuad %[a7], %[t], %[v]"
          : [a0] "=&r"(a[0]), [a1] "=&r"(a[1]), [a2] "=&r"(a[2]), [a3] "=&r"(a[3]),
            [a4] "=&r"(a[4]), [a5] "=&r"(a[5]), [a6] "=&r"(a[6]), [a7] "=&r"(a[7]),
            [x] "+r"(*x), [w] "+r"(*w), [s] "=&r"(s), [t] "=&r"(t), [u] "=&r"(u), [v] "=&r"(v)
          :
          : "memory");
#else
  for (int32_t i = 0; i < 8; ++i)
    a[i] = tcnn_smlad((*x)[i / 2], (*w)[i % 2], 0);
  *x += 4;
  *w += 2;
#endif
}
