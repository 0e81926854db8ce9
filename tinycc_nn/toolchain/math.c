/* Functions of math.h that compiler-rt lacks, in single precision. Relative error below 1e-6
   unless said otherwise. */
#include <math.h>

/* To the nearest integer, ties to even: adding 2^23 leaves no bits for a fraction. */
float rintf(float x)
{
    const float big = 8388608.0f;
    volatile float sum;
    if (!(fabsf(x) < big)) {
        return x;
    }
    sum = fabsf(x) + big;
    return __builtin_copysignf(sum - big, x);
}

float nearbyintf(float x)
{
    return rintf(x);
}

long lrintf(float x)
{
    return (long)rintf(x);
}

/* tanh x = 1 - 2 / (e^2x + 1); near zero its series, where that difference would cancel. */
float tanhf(float x)
{
    const float a = fabsf(x), q = x * x;
    float y;
    if (a < 0.25f) {
        y = a + a * q * (-1.0f / 3 + q * (2.0f / 15 + q * (-17.0f / 315 + q * (62.0f / 2835))));
    } else {
        y = a > 10.0f ? 1.0f : 1.0f - 2.0f / (expf(2.0f * a) + 1.0f);
    }
    return isnan(x) ? x : __builtin_copysignf(y, x);
}

/* Abramowitz and Stegun 7.1.26: absolute error below 5e-7. */
float erff(float x)
{
    const float a = fabsf(x), t = 1.0f / (1.0f + 0.3275911f * a);
    const float p =
        t * (0.254829592f +
             t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    return isnan(x) ? x : __builtin_copysignf(1.0f - p * expf(-a * a), x);
}

/* Through double precision, so that the exponent's error does not grow with it. */
float powf(float x, float y)
{
    const float whole = truncf(y);
    const int odd = whole == y && fmodf(whole, 2.0f) != 0.0f;
    float magnitude;
    if (y == 0.0f || x == 1.0f) {
        return 1.0f;
    }
    if (x < 0.0f && whole != y) {
        return NAN;
    }
    magnitude = (float)exp((double)y * log((double)fabsf(x)));
    return x < 0.0f && odd ? -magnitude : magnitude;
}
