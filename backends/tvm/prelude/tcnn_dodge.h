/* Whether work is dodged that the data makes needless. In a build for the worst case it never is,
   but the question is asked. */
TCNN_INLINE int32_t tcnn_dodge(int32_t needless)
{
#if defined(TCNN_WORST_CASE) && defined(__GNUC__)
  int32_t never = 0;
  __asm__ volatile("" : "+r"(needless), "+r"(never));
  return needless & never;
#else
  return needless;
#endif
}
