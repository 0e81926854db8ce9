/* From reset to main: FPU on, .data copied, .bss cleared. */
#include <stdint.h>

#include "semihosting.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];

int main(void);

void reset(void)
{
    volatile uint32_t *const cpacr = (volatile uint32_t *)0xE000ED88u;
    const uint32_t *from = data_load;

    *cpacr |= 0xFu << 20; /* full access to coprocessors 10 and 11: the FPU */
    __asm volatile("dsb\n\tisb" ::: "memory");
    for (uint32_t *to = data_start; to < data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_start; to < bss_end; to++)
        *to = 0;
    semihosting_exit(main());
}

static void fault(void)
{
    semihosting_print("fault\n");
    semihosting_exit(1);
}

/* NMI, HardFault, MemManage, BusFault, UsageFault; nothing else is enabled. */
__attribute__((section(".vectors"), used)) static void (*const vectors[7])(void) = {
    (void (*)(void))stack_top, reset, fault, fault, fault, fault, fault,
};
