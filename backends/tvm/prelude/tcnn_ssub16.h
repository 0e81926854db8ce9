/* Differences of int16 lanes, each modulo 2^16. */
TCNN_INLINE int32_t tcnn_ssub16(int32_t a, int32_t b)
{
#if TCNN_DSP
  return (int32_t)__ssub16((uint32_t)a, (uint32_t)b);
#else
  uint32_t u = (uint32_t)a, v = (uint32_t)b;
  return (int32_t)((uint16_t)(u - v) | ((u >> 16) - (v >> 16)) << 16);
#endif
}
