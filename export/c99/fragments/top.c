/* The arithmetic and the schedule of the model of wav2small.h.
 *
 * wav2small_config.h and wav2small_model.h have its numbers and tables; this file has
 * what they need and nothing else.
 * A stage makes a row, what a tensor
 * holds for one place in time, as soon as the rows that it needs are there.
 * A line keeps the last rows of a tensor, as many as its readers look back at.
 *
 * Rows of a map lie with their channels side by side: band * channels + channel.
 */
#include "wav2small.h"
#include "wav2small_config.h"

#include <limits.h>

#if CHAR_BIT != 8
#error "a byte must have 8 bits"
#endif
#if INT_MAX < 2147483647
#error "an int must have 32 bits: products and shifts are computed in it"
#endif

#if defined(__ARM_FEATURE_DSP) || defined(__ARM_FEATURE_SAT)
#include <arm_acle.h>
#endif

/* Vectors of 16 bytes. Compilers for cores without them take the other kernels, and so
 * do blobs, which have weights in one order for all cores. */
#if defined(__ARM_FEATURE_MVE) && defined(__ARM_FEATURE_DSP) && !defined(WAV2SMALL_BLOB)
#include <arm_mve.h>
#define VECTORS 1
#else
#define VECTORS 0
#endif

/* Functions with the loops that take the time stay on their own: compilers then
 * keep more of their numbers in registers. */
#if defined(__GNUC__)
#define APART __attribute__((noinline))
#define INSIDE static inline __attribute__((always_inline))
/* Kernels with vectors take the place of some callers. */
#define SPARED __attribute__((unused))
#else
#define APART
#define INSIDE static inline
#define SPARED
#endif

/* Compilers take short loops for long ones and make them longer. */
#if defined(__clang__)
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED
#endif

/* A variable that compilers shall not see through. */
#if defined(__GNUC__)
#define OPAQUE(variable) __asm__("" : "+r"(variable))
#else
#define OPAQUE(variable) ((void)(variable))
#endif

/* Words with two numbers of 16 bits, whose products one instruction adds, and
 * instructions that compilers do not find by themselves. They need more registers than
 * compilers leave free where nothing is optimised. */
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && defined(__thumb2__) && \
    defined(__OPTIMIZE__)
#define NAMES_INSTRUCTIONS 1
#else
#define NAMES_INSTRUCTIONS 0
#endif
#define LANES (NAMES_INSTRUCTIONS && !VECTORS)

#define READY 0x77327335u
#define FRACTION 20
#define NO_LINE 0xffffu

/* Shifts to the right must keep the sign. */
typedef char wav2small_shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];
