/* c + a * b; fused where that is faster, which is on Cortex-M7 alone among cores without vectors. */
TCNN_INLINE float tcnn_mac(float a, float b, float c)
{
#if defined(__ARM_FEATURE_FMA) && defined(__ARM_ARCH_7EM__) && defined(__ARM_FPV5__)
  return __builtin_fmaf(a, b, c);
#else
  return c + a * b;
#endif
}
