/* Output to the debugger or emulator (Arm, "Semihosting for AArch32 and AArch64"). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

void semihosting_print(const char *text);
void semihosting_print_number(int number);
__attribute__((noreturn)) void semihosting_exit(int status);

#endif
