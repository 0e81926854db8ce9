/* Four bytes from any address, the first in the low bits. */
TCNN_INLINE int32_t tcnn_ld32(const int8_t *p)
{
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}
