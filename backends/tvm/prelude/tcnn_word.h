/* A 32-bit word of a packed array or of scratch memory, which may also be accessed as bytes. */
#if defined(__GNUC__)
typedef int32_t __attribute__((may_alias)) tcnn_word;
#else
typedef int32_t tcnn_word;
#endif
