/* The low bytes of four words, a's in the low bits. Compilers do not insert them by themselves. */
TCNN_INLINE int32_t tcnn_bytes4(int32_t a, int32_t b, int32_t c, int32_t d)
{
#if TCNN_DSP
  __asm__("bfi %0, %1, #8, #8\n\tbfi %0, %2, #16, #8\n\tbfi %0, %3, #24, #8"
          : "+&r"(a)
          : "r"(b), "r"(c), "r"(d));
  return a;
#else
  return (int32_t)((uint32_t)(uint8_t)a | (uint32_t)(uint8_t)b << 8 | (uint32_t)(uint8_t)c << 16 |
                   (uint32_t)d << 24);
#endif
}
