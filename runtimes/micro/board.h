/* What the firmware needs of a board; mps2.c has it for the Arm MPS2 boards that QEMU emulates. */

#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void board_start(void);

/* The next byte of the UART; -1 at the end of the input (byte 4, Ctrl-D). */
int board_read(void);

void board_write(char byte);

/* A clock that counts up and wraps. */
uint32_t board_ticks(void);

/* The most bytes of the stack that were in use. */
uint32_t board_stack_used(void);

#endif
