/* What the generated code needs of string.h; -mbulk-memory has instructions for both. */

#ifndef STRING_H
#define STRING_H

#include <stddef.h>

#define memcpy __builtin_memcpy
#define memset __builtin_memset

#endif
