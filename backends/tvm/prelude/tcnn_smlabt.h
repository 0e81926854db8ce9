/* c + a.low * b.high, modulo 2^32. */
TCNN_INLINE int32_t tcnn_smlabt(int32_t a, int32_t b, int32_t c)
{
#if TCNN_DSP
  return __smlabt(a, b, c);
#else
  return (int32_t)((uint32_t)c + (uint32_t)((int16_t)a * (b >> 16)));
#endif
}
