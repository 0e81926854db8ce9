/* Four bytes to any address, the low bits first. */
TCNN_INLINE void tcnn_st32(int8_t *p, int32_t v)
{
  __builtin_memcpy(p, &v, 4);
}
