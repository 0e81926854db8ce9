/* Reset handler and vector table of a minimal application. */
#include <stdint.h>

extern uint32_t tinycc_stack_top[], tinycc_data_load[], tinycc_data_start[], tinycc_data_end[];
extern uint32_t tinycc_bss_start[], tinycc_bss_end[];
int main(void);

__attribute__((noreturn)) void Reset_Handler(void);

__attribute__((noreturn, used)) static void Fault_Handler(void)
{
    for (;;) {
    }
}

/* newlib's own keeps errno in a kilobyte of state that a kernel has no use for. */
int *__errno(void);

int *__errno(void)
{
    static int value;
    return &value;
}

/* volatile: a compiler would make these loops calls of memcpy and memset. */
__attribute__((noreturn)) void Reset_Handler(void)
{
    volatile uint32_t *to = tinycc_data_start;
    const uint32_t *from = tinycc_data_load;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to CP10 and CP11 */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    while (to < tinycc_data_end) {
        *to++ = *from++;
    }
    for (to = tinycc_bss_start; to < tinycc_bss_end;) {
        *to++ = 0;
    }
    (void)main();
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)tinycc_stack_top, (uintptr_t)Reset_Handler,  (uintptr_t)Fault_Handler,
    (uintptr_t)Fault_Handler,    (uintptr_t)Fault_Handler,  (uintptr_t)Fault_Handler,
    (uintptr_t)Fault_Handler,    (uintptr_t)Fault_Handler,  0, 0, 0,
    (uintptr_t)Fault_Handler,    (uintptr_t)Fault_Handler,  0,
    (uintptr_t)Fault_Handler,    (uintptr_t)Fault_Handler,
};
