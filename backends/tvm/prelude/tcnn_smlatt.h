/* c + a.high * b.high, modulo 2^32. */
TCNN_INLINE int32_t tcnn_smlatt(int32_t a, int32_t b, int32_t c)
{
#if TCNN_DSP
  return __smlatt(a, b, c);
#else
  return (int32_t)((uint32_t)c + (uint32_t)((a >> 16) * (b >> 16)));
#endif
}
