/* Bytes 1 and 3 of a word as two int16 lanes. Compilers do not fold the rotation by themselves. */
TCNN_INLINE int32_t tcnn_sxtb16_ror8(int32_t v)
{
#if TCNN_DSP
  int32_t r;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v));
  return r;
#else
  return tcnn_sxtb16((int32_t)((uint32_t)v >> 8));
#endif
}
