/* Bytes 1 and 3 of v, each added to an int16 lane of a. Compilers do not fold the rotation. */
TCNN_INLINE int32_t tcnn_sxtab16_ror8(int32_t a, int32_t v)
{
#if TCNN_DSP
  int32_t r;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(r) : "r"(a), "r"(v));
  return r;
#else
  return tcnn_sxtab16(a, (int32_t)((uint32_t)v >> 8));
#endif
}
