/* v (below 2^31 - 128) limited to [low, high]; one instruction where they are the limits of int8. */
TCNN_INLINE int8_t tcnn_clamp(int32_t v, int32_t low, int32_t high)
{
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  if (low == -128 && high == 127) {
    /* One comparison, and the addition is one with that of the zero point. */
    uint32_t u = (uint32_t)v + 128u;
    if (u > 255u)
      u = ~(uint32_t)((int32_t)u >> 31);
    return (int8_t)(u - 128u);
  }
#elif defined(__ARM_FEATURE_SAT)
  if (low == -128 && high == 127) {
    int32_t r;
    __asm__("ssat %0, #8, %1" : "=r"(r) : "r"(v));
    return (int8_t)r;
  }
#endif
  v = v < low ? low : v;
  return (int8_t)(v > high ? high : v);
}
