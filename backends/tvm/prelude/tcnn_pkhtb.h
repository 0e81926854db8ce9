/* The high half of a below that of b. Compilers do not combine this by themselves. */
TCNN_INLINE int32_t tcnn_pkhtb(int32_t a, int32_t b)
{
#if TCNN_DSP
  int32_t r;
  __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(r) : "r"(a), "r"(b));
  return r;
#else
  return (int32_t)((uint32_t)a >> 16 | ((uint32_t)b & 0xffff0000u));
#endif
}
