/* v limited to [low, high], within int16; one instruction where they are its limits. */
TCNN_INLINE int16_t tcnn_clamp16(int32_t v, int32_t low, int32_t high)
{
#if defined(__ARM_FEATURE_SAT)
  if (low == -32768 && high == 32767) {
    int32_t r;
    __asm__("ssat %0, #16, %1" : "=r"(r) : "r"(v));
    return (int16_t)r;
  }
#endif
  v = v < low ? low : v;
  return (int16_t)(v > high ? high : v);
}
