/* Bytes 0 and 2 of a word as two int16 lanes. */
TCNN_INLINE int32_t tcnn_sxtb16(int32_t v)
{
#if TCNN_DSP
  return (int32_t)__sxtb16((uint32_t)v);
#else
  uint32_t low = (uint16_t)(int8_t)v, high = (uint16_t)(int8_t)((uint32_t)v >> 16);
  return (int32_t)(low | high << 16);
#endif
}
