/* The Arm MPS2 boards AN385 (Cortex-M3), AN386 (M4) and AN500 (M7): start, UART0, timer 0.

   Registers: CMSDK, Arm DDI 0479C. Under `qemu-system-arm -icount shift=0` an instruction takes
   1 ns, and a tick of the 25 MHz timer is 40 instructions. */

#include "board.h"

#include <stddef.h>

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004) /* bit 0: full to send, bit 1: a byte is there */
#define UART_CONTROL REGISTER(0x40004008)
#define UART_DIVIDER REGISTER(0x40004010)
#define TIMER_CONTROL REGISTER(0x40000000)
#define TIMER_VALUE REGISTER(0x40000004) /* counts down */
#define TIMER_RELOAD REGISTER(0x40000008)
#define CPACR REGISTER(0xE000ED88)
#define END_OF_INPUT 4
#define PAINT 0xA5A5A5A5u

extern uint32_t stack_top[], stack_bottom[], data_start[], data_end[], data_image[];
extern uint32_t bss_start[], bss_end[];

int main(void);
static void stop(void);

static void start(void);

/* Where the core begins; every fault ends the program. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*start)(void);
    void (*others[14])(void);
} vectors = { stack_top, start, { stop, stop, stop, stop, stop } };

static void start(void)
{
#ifdef __ARM_FP
    CPACR |= 0xFu << 20;
    __asm volatile("dsb\n isb");
#endif
    for (uint32_t *to = data_start, *from = data_image; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    for (uint32_t *to = stack_bottom; to < (uint32_t *)__builtin_frame_address(0) - 16;)
        *to++ = PAINT;
    main();
    stop();
}

void board_start(void)
{
    UART_DIVIDER = 16;
    UART_CONTROL = 3;
    TIMER_RELOAD = 0xFFFFFFFFu;
    TIMER_VALUE = 0xFFFFFFFFu;
    TIMER_CONTROL = 1;
}

int board_read(void)
{
    while (!(UART_STATE & 2))
        continue;
    const int byte = (int)(UART_DATA & 0xFF);
    return byte == END_OF_INPUT ? -1 : byte;
}

void board_write(char byte)
{
    while (UART_STATE & 1)
        continue;
    UART_DATA = (uint32_t)byte;
}

uint32_t board_ticks(void) { return 0xFFFFFFFFu - TIMER_VALUE; }

uint32_t board_stack_used(void)
{
    const uint32_t *at = stack_bottom;
    while (at < stack_top && *at == PAINT)
        at++;
    return (uint32_t)(stack_top - at) * 4;
}

/* Ends the emulator by semihosting (SYS_EXIT). A real board would wait here. */
static void stop(void)
{
    register uint32_t operation __asm("r0") = 0x18;
    register uint32_t reason __asm("r1") = 0x20026;
    __asm volatile("bkpt 0xAB" : : "r"(operation), "r"(reason) : "memory");
    for (;;)
        continue;
}
