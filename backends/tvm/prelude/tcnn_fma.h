/* c + a * b, rounded once where that is one instruction. */
TCNN_INLINE float tcnn_fma(float a, float b, float c)
{
#if defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return c + a * b;
#endif
}
