/* Classifies the images of samples.h; the exit status is 1 if the network reports an error. */
#include <math.h>
#include <stdint.h>

#include "digits.h"
#include "samples.h"
#include "semihosting.h"

static uint8_t arena[DIGITS_ARENA_SIZE] __attribute__((aligned(DIGITS_ARENA_ALIGN)));

/* A pixel 0..16, which the network wants as 0..1, to the network's int8. */
static int8_t quantized(uint8_t pixel)
{
    const float scaled = (float)pixel / 16.0f / DIGITS_INPUT_SCALE;
    const long q = lrintf(scaled) + DIGITS_INPUT_ZERO_POINT;

    return (int8_t)(q < -128 ? -128 : q > 127 ? 127 : q);
}

/* The most probable class, or the negative error code of the network. */
static int classify(const uint8_t image[PIXELS])
{
    int8_t input[PIXELS], output[CLASSES];
    int best = 0;

    for (int i = 0; i < PIXELS; i++)
        input[i] = quantized(image[i]);
    const int status = digits_run(input, output, arena);
    if (status != 0)
        return status;
    for (int i = 1; i < CLASSES; i++)
        if (output[i] > output[best])
            best = i;
    return best;
}

int main(void)
{
    int right = 0, failed = 0;

    for (int i = 0; i < SAMPLES; i++) {
        const int predicted = classify(images[i]);

        semihosting_print("label ");
        semihosting_print_number(labels[i]);
        semihosting_print(", predicted ");
        semihosting_print_number(predicted);
        semihosting_print("\n");
        right += predicted == labels[i];
        failed |= predicted < 0;
    }
    semihosting_print_number(right);
    semihosting_print(" of ");
    semihosting_print_number(SAMPLES);
    semihosting_print(" right\n");
    return failed;
}
