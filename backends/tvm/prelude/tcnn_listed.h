/* The two words at the place of the entry e behind block, and the next entry f of the list at p. In
   this order: loads in turn take a cycle less each, and compilers would spread what several entries
   need over more registers than there are. */
#if TCNN_DSP
#define tcnn_listed(e, f, a, b, p, block) \
  __asm__ volatile( \
    "uxtah %2, %5, %4\n\tldr %0, [%3], #4\n\tldr %1, [%2]\n\tldr %2, [%2, #4]" \
    : "=&r"(f), "=&r"(a), "=&r"(b), "+&r"(p) \
    : "r"(e), "r"(block) \
    : "memory")
#else
#define tcnn_listed(e, f, a, b, p, block) \
  ((f) = *(p)++, (a) = ((const tcnn_word *)(const void *)((block) + (uint16_t)(e)))[0], \
   (b) = ((const tcnn_word *)(const void *)((block) + (uint16_t)(e)))[1])
#endif
