/* c + a.low * b.low + a.high * b.high, modulo 2^32. */
TCNN_INLINE int32_t tcnn_smlad(int32_t a, int32_t b, int32_t c)
{
#if TCNN_DSP
  return __smlad(a, b, c);
#else
  int32_t low = (int16_t)a * (int16_t)b, high = (a >> 16) * (b >> 16);
  return (int32_t)((uint32_t)c + (uint32_t)low + (uint32_t)high);
#endif
}
