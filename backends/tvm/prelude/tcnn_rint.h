/* x rounded to an integer, half to even, for |x| < 2^22. */
TCNN_INLINE float tcnn_rint(float x)
{
  return (x + 12582912.0f) - 12582912.0f;
}
