#if defined(__GNUC__)
#define TCNN_INLINE static inline __attribute__((always_inline))
#else
#define TCNN_INLINE static inline
#endif
