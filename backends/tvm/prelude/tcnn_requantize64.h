/* (acc * m + 2^(shift-1) >> shift) + zero, limited to [low, high], for 1 <= shift <= 32. */
TCNN_INLINE int8_t tcnn_requantize64(int32_t acc, int32_t m, int32_t shift, int32_t zero,
                                     int32_t low, int32_t high)
{
  int64_t v = (((int64_t)acc * m + ((int64_t)1 << (shift - 1))) >> shift) + zero;
  v = v < low ? low : v;
  return (int8_t)(v > high ? high : v);
}
