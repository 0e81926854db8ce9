/* The larger of each pair of int8 in two words of four. */
TCNN_INLINE int32_t tcnn_max4(int32_t a, int32_t b)
{
#if TCNN_DSP
  int32_t r;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b));
  return r;
#else
  uint32_t r = 0;
  for (int32_t i = 0; i < 32; i += 8) {
    int8_t u = (int8_t)((uint32_t)a >> i), v = (int8_t)((uint32_t)b >> i);
    r |= (uint32_t)(uint8_t)(u > v ? u : v) << i;
  }
  return (int32_t)r;
#endif
}
