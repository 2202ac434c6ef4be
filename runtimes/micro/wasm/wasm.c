/* The generated code as a module for JavaScript: fill cells(), call solve(), read the answer. */

#include <stddef.h>

#include "model.h"

static trm_puzzle puzzle;
static trm_solution solution;

#define EXPORT(name) __attribute__((export_name(#name)))

EXPORT(length) int32_t length(void) { return TRM_SEQ_LEN; }

EXPORT(cells) int32_t *cells(void) { return puzzle.inputs; }

/* Steps; the answer is at answer(). 0: an id is out of range, or padding before a cell. */
EXPORT(solve) int32_t solve(void)
{
    trm_solve(&puzzle, NULL, &solution);
    return solution.steps;
}

EXPORT(answer) int32_t *answer(void) { return solution.answer; }

EXPORT(reason) int32_t reason(void) { return (int32_t)solution.reason; }
