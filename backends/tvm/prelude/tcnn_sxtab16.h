/* Bytes 0 and 2 of v, each added to an int16 lane of a. */
TCNN_INLINE int32_t tcnn_sxtab16(int32_t a, int32_t v)
{
#if TCNN_DSP
  return (int32_t)__sxtab16((uint32_t)a, (uint32_t)v);
#else
  uint32_t low = (uint16_t)(a + (int8_t)v), high = (uint16_t)((a >> 16) + (int8_t)((uint32_t)v >> 16));
  return (int32_t)(low | high << 16);
#endif
}
