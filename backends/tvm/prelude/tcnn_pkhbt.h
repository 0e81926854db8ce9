/* The low half of a, and that of b above it. Compilers do not combine this by themselves. */
TCNN_INLINE int32_t tcnn_pkhbt(int32_t a, int32_t b)
{
#if TCNN_DSP
  int32_t r;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
  return r;
#else
  return (int32_t)(((uint32_t)a & 0xffffu) | (uint32_t)b << 16);
#endif
}
