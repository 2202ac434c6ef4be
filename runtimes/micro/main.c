/* Firmware: a puzzle a line comes in over the UART, a line a step goes out, then the answer.

   In:   the cells as token ids, by the alphabet below:  .2..4..1...3.1..
   Out:  step 1 1.70 370123 2143341243211234      (step, score, ticks of the clock, cells)
         answer 1 halted 2143341243211234
   or:   refused

   Works with any folder of `trm-export c`; what is of the board is in board.h. */

#include <stdint.h>
#include <string.h>

#include "board.h"
#include "model.h"

#ifndef TRM_ALPHABET
#error "The tokens of this model are no single characters: feed trm_solve yourself."
#endif

static const char *const reasons[] = { "halted", "max_steps", "", "cancelled", "nonfinite" };
static char line[TRM_SEQ_LEN + 3];
static uint32_t begun; /* when the present step began */

static void put(const char *text)
{
    while (*text)
        board_write(*text++);
}

static void put_number(long value)
{
    char digits[16];
    int n = 0;
    if (value < 0) {
        board_write('-');
        value = -value;
    }
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        board_write(digits[--n]);
}

/* Two decimals: printf with floats would need more flash than the model's code. */
static void put_score(float value)
{
    const long hundredths = (long)(value * 100.0f + (value < 0.0f ? -0.5f : 0.5f));
    if (hundredths < 0)
        board_write('-');
    const long size = hundredths < 0 ? -hundredths : hundredths;
    put_number(size / 100);
    board_write('.');
    board_write((char)('0' + size / 10 % 10));
    board_write((char)('0' + size % 10));
}

static void put_cells(const int32_t *cells)
{
    for (int i = 0; i < TRM_SEQ_LEN; i++)
        board_write(TRM_ALPHABET[cells[i]]);
}

static bool on_step(const trm_solution *so_far, void *context)
{
    const uint32_t ticks = board_ticks() - begun;
    (void)context;
    put("step ");
    put_number(so_far->steps);
    board_write(' ');
    put_score(so_far->q_halt);
    board_write(' ');
    put_number((long)ticks);
    board_write(' ');
    put_cells(so_far->answer);
    board_write('\n');
    begun = board_ticks();
    return true;
}

/* A line without its end; false at the end of the input. */
static bool read_line(void)
{
    size_t n = 0;
    for (int c = board_read(); c != '\n'; c = board_read()) {
        if (c < 0)
            return false;
        if (c != '\r' && n + 1 < sizeof line)
            line[n++] = (char)c;
    }
    line[n] = '\0';
    return true;
}

/* The token ids of the line; false for another length or another character. */
static bool read_puzzle(trm_puzzle *puzzle)
{
    if (strlen(line) != TRM_SEQ_LEN)
        return false;
    for (int i = 0; i < TRM_SEQ_LEN; i++) {
        const char *found = strchr(TRM_ALPHABET, line[i]);
        if (found == NULL || line[i] == '?')
            return false;
        puzzle->inputs[i] = (int32_t)(found - TRM_ALPHABET);
    }
    return true;
}

int main(void)
{
    static trm_puzzle puzzle;
    static trm_solution solution;
    static const trm_options options = { TRM_THRESHOLD, TRM_MAX_STEPS, on_step, NULL };
    board_start();
    put("ready\n");
    while (read_line()) {
        if (!read_puzzle(&puzzle)) {
            put("refused\n");
            continue;
        }
        begun = board_ticks();
        trm_solve(&puzzle, &options, &solution);
        put("answer ");
        put_number(solution.steps);
        board_write(' ');
        put(reasons[solution.reason]);
        board_write(' ');
        put_cells(solution.answer);
        board_write('\n');
    }
    put("stack ");
    put_number((long)board_stack_used());
    board_write('\n');
    return 0;
}
