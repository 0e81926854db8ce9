/* Samples from the file "inputs" through a network to the file "outputs", over semihosting.
   Each output record ends with NAME_run's result and the SysTick ticks that it took. */
#include "@NAME@.h"
#include <stdint.h>

#define OPEN 1
#define CLOSE 2
#define WRITE 5
#define READ 6
#define EXIT 0x18

#define SYSTICK ((volatile uint32_t *)0xE000E010u)

@BUFFERS@

static int semihost(int operation, const void *argument)
{
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uintptr_t block[3] = {(uintptr_t)name, mode, length};
    return semihost(OPEN, block);
}

/* The number of bytes that were NOT read or written. */
static int transfer(int operation, int handle, void *data, uint32_t bytes)
{
    const uintptr_t block[3] = {(uintptr_t)handle, (uintptr_t)data, bytes};
    return semihost(operation, block);
}

int main(void)
{
    const int in = open_file("inputs", 6, 1), out = open_file("outputs", 7, 5);
    int failed = in < 0 || out < 0;
    SYSTICK[1] = 0xFFFFFFu;
    SYSTICK[0] = 5;
    while (!failed) {
        uint32_t record[2];
@READ@
        SYSTICK[2] = 0;
        const uint32_t start = SYSTICK[2];
        record[0] = (uint32_t)@CALL@;
        record[1] = (start - SYSTICK[2]) & 0xFFFFFFu;
@WRITE@
        failed |= transfer(WRITE, out, record, sizeof record) != 0;
    }
    semihost(CLOSE, &out);
    semihost(EXIT, (const void *)(uintptr_t)(failed ? 0x20023 : 0x20026));
    return 0;
}
