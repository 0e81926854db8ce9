/* c + a.high * b.low, modulo 2^32. */
TCNN_INLINE int32_t tcnn_smlatb(int32_t a, int32_t b, int32_t c)
{
#if TCNN_DSP
  return __smlatb(a, b, c);
#else
  return (int32_t)((uint32_t)c + (uint32_t)((a >> 16) * (int16_t)b));
#endif
}
