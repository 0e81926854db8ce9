/* A 16-bit element of scratch memory, which may also be accessed as bytes or words. */
#if defined(__GNUC__)
typedef int16_t __attribute__((may_alias)) tcnn_half;
#else
typedef int16_t tcnn_half;
#endif
