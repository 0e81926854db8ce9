/* (acc * m + 2^31 >> 32) + zero, for 0 <= m < 2^31. */
TCNN_INLINE int32_t tcnn_requantize32(int32_t acc, int32_t m, int32_t zero)
{
#if TCNN_DSP
  int32_t r;
  __asm__("smmlar %0, %1, %2, %3" : "=r"(r) : "r"(acc), "r"(m), "r"(zero));
  return r;
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
  /* No long multiplication: the four products of 16-bit halves, none of which overflows. */
  uint32_t al = (uint16_t)acc, ml = (uint16_t)m;
  int32_t ah = acc >> 16, mh = m >> 16;
  int32_t u = ah * (int32_t)ml + (int32_t)(al * ml >> 16);
  uint32_t v = al * (uint32_t)mh + (uint16_t)u;
  return ah * mh + (u >> 16) + (int32_t)((v + 0x8000u) >> 16) + zero;
#else
  return (int32_t)(((int64_t)acc * m + ((int64_t)1 << 31)) >> 32) + zero;
#endif
}
