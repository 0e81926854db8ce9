/* (total + 2^(shift-1) >> shift) + zero, limited to [low, high], for 1 <= shift <= 32. */
TCNN_INLINE int32_t tcnn_rounding64(int64_t total, int32_t shift, int32_t zero, int32_t low,
                                    int32_t high)
{
  int64_t v = ((total + ((int64_t)1 << (shift - 1))) >> shift) + zero;
  v = v < low ? low : v;
  return (int32_t)(v > high ? high : v);
}
