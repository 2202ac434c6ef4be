/* What the generated code needs of math.h; both are instructions of WebAssembly. */

#ifndef MATH_H
#define MATH_H

#define INFINITY __builtin_inff()
#define sqrtf __builtin_sqrtf
#define fabsf __builtin_fabsf

#endif
