/* What was computed for memory at p is there, and nothing of it stays in registers. Long code over
 * more values than registers spills less if each of its steps is finished before the next. */
TCNN_INLINE void tcnn_keep(void *p)
{
#if defined(__GNUC__)
  __asm__ volatile("" : : "r"(p) : "memory");
#else
  (void)p;
#endif
}
