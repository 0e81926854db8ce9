/* For each of four int8 of a and b, a byte: 1 where a >= b, else 0. */
TCNN_INLINE uint32_t tcnn_ge4(int32_t a, int32_t b)
{
#if TCNN_DSP
  uint32_t r;
  /* The subtraction leaves the flags that the selection reads. */
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %3, %4"
          : "=&r"(r)
          : "r"(a), "r"(b), "r"(0x01010101), "r"(0)
          : "cc");
  return r;
#else
  uint32_t r = 0;
  for (int32_t i = 0; i < 32; i += 8)
    r |= (uint32_t)((int8_t)((uint32_t)a >> i) >= (int8_t)((uint32_t)b >> i)) << i;
  return r;
#endif
}
