/* Declarations only, for compilers that come without a libc: what their runtime library and
   tinycc_nn's math.c have. */
#ifndef TINYCC_MATH_H
#define TINYCC_MATH_H
#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#define HUGE_VALF (__builtin_huge_valf())
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
float ceilf(float x);
float cosf(float x);
float erff(float x);
float exp2f(float x);
float expf(float x);
float fabsf(float x);
float floorf(float x);
float fmaf(float x, float y, float z);
float fmaxf(float x, float y);
float fminf(float x, float y);
float fmodf(float x, float y);
float log10f(float x);
float log2f(float x);
float logf(float x);
float nearbyintf(float x);
float powf(float x, float y);
float rintf(float x);
float roundf(float x);
float sinf(float x);
float sqrtf(float x);
float tanf(float x);
float tanhf(float x);
float truncf(float x);
long lrintf(float x);
double ceil(double x);
double exp(double x);
double fabs(double x);
double floor(double x);
double fmod(double x, double y);
double log(double x);
double round(double x);
double sqrt(double x);
double trunc(double x);
#endif
