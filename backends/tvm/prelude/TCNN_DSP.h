#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
#define TCNN_DSP 1
#else
#define TCNN_DSP 0
#endif
