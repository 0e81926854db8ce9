/* Declarations only, for compilers that come without a libc. */
#ifndef TINYCC_STDLIB_H
#define TINYCC_STDLIB_H
#include <stddef.h>
int abs(int x);
long labs(long x);
#endif
