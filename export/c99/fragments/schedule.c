/* The arithmetic and the schedule of a wav2small model.
 *
 * wav2small_config.h and wav2small_model.h have the numbers and tables of one model.
 * A stage makes a row, what a tensor
 * holds for one place in time, as soon as the rows that it needs are there.
 * A line keeps the last rows of a tensor, as many as its readers look back at.
 *
 * Rows of a map lie with their channels side by side: band * channels + channel.
 */
#include "wav2small.h"
#include "wav2small_config.h"

#if defined(__ARM_FEATURE_DSP) || defined(__ARM_FEATURE_SAT)
#include <arm_acle.h>
#endif

/* Vectors of 16 bytes. Compilers for cores without them take the other kernels. */
#if defined(__ARM_FEATURE_MVE) && defined(__ARM_FEATURE_DSP)
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
#else
#define APART
#define INSIDE static inline
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

/* Cores of Arm reverse bits in one instruction. */
#if defined(__ARM_FEATURE_DSP) && defined(__clang__)
#define REVERSES_BITS 1
#else
#define REVERSES_BITS 0
#endif

#define READY 0x77327335u
#define FRACTION 20
#define NO_LINE 0xffffu

/* Shifts to the right must keep the sign. */
typedef char wav2small_shifts_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

/* -- what the tables are made of -------------------------------------------- */

/* Rows of a tensor. Places are bytes from the start of scratch. */
typedef struct {
    uint16_t bytes;        /* of a row */
    uint16_t keep;         /* rows that are kept */
    uint16_t ring;         /* where they are kept, bytes from the start of lines */
    uint16_t push_place;   /* of a new row while samples are pushed */
    uint16_t result_place; /* of the last rows, or of one of them, in a result */
    uint16_t whole;        /* whether all last rows lie there side by side */
    uint16_t period;       /* frames from row to row */
    uint16_t delay;        /* row j is there with frame delay + j * period */
    int32_t extra;         /* n frames have (n + extra) / period rows */
} line_t;

typedef struct {
    uint8_t kind;
    uint8_t part;      /* stages of a part go row by row together in a result */
    uint8_t taps;      /* rows of the first input */
    uint8_t more;      /* further inputs, one row of each */
    uint16_t dilation; /* rows from tap to tap */
    uint16_t stride;   /* rows of the input from row to row */
    uint16_t top;      /* border before the first row */
    uint16_t output;   /* line of its rows; where a pool puts its result */
    uint16_t push_work;
    uint16_t result_work;
    uint16_t period;
    uint16_t delay;
    int32_t extra;
    uint16_t input[MOST_INPUTS];
    uint16_t layer; /* of its kind of constants */
} stage_t;

/* How outputs are made of sums: int8 by the upper word of a product, int8,
 * int32 with shifts below 32, int32. */
enum { NARROW_SHORT, NARROW, WIDE_SHORT, WIDE };

typedef struct {
    const int32_t *start;      /* what sums begin with */
    const int32_t *bias;       /* of int32, what follows the rescaling */
    const int32_t *multiplier;
    const uint8_t *shift;
    int32_t round;             /* zero point, and what rounds before the last shift */
    uint8_t last;              /* shift, of upper words alone */
    uint8_t kind;
} end_t;

/* Convolution or product with a matrix, of int8. What a column is multiplied with
 * lies in one piece of units; neighbours share units. */
typedef struct {
    end_t end;
    const int8_t *weight;
    const uint8_t *nibbles;    /* or two weights in a byte */
    uint16_t length;           /* numbers that a column is multiplied with */
    uint16_t step;             /* numbers from column to column */
    uint16_t pitch;            /* numbers of a unit, with zeros behind them */
    uint16_t units;
    uint16_t hop;              /* columns of the input from unit to unit */
    uint16_t across;           /* columns of the input in a unit */
    uint16_t dilation;         /* columns from one of those to the next */
    uint16_t left;             /* border */
    uint16_t columns_in;
    uint16_t columns_out;
    uint16_t groups;
    uint16_t outputs;          /* of a group */
    uint16_t channels;         /* of a group */
    int16_t zero_in;
    uint8_t taps;
    uint8_t flat;              /* whether weights are taken from flash */
    uint8_t twice;             /* whether 8 divides the length */
    uint8_t thrice;            /* whether 12 does */
} dense_t;

/* Filter of each channel by itself; weights lie tap by tap. */
typedef struct {
    end_t end;
    const int8_t *weight;
    uint16_t channels;
    uint16_t width;            /* taps across */
    uint16_t dilation;         /* across */
    uint16_t stride;           /* across */
    uint16_t left;             /* border */
    uint16_t columns_in;
    uint16_t columns_out;
    int16_t zero_in;
    uint8_t taps;
} filter_t;

typedef struct {
    uint16_t channels;
    uint16_t taps;
    uint16_t width;
    uint16_t stride;
    uint16_t left;
    uint16_t columns_in;
    uint16_t columns_out;
} maximum_t;

typedef struct {
    const int8_t *narrow; /* one of both */
    const int32_t *wide;
    uint16_t count;
} table_t;

/* Operators on two numbers at the same place. */
typedef struct {
    int64_t offset;
    int32_t multiplier[2];
    uint16_t count;
    int16_t zero_in[2];
    int16_t zero_out;
    uint8_t shifts[2];
    uint8_t shift;
    uint8_t before;
    uint8_t wide_in[2];
    uint8_t wide;
    uint8_t last; /* shift of upper words, 0 if they are not enough */
} pair_t;

/* Operators on single int32 numbers. */
typedef struct {
    int32_t three;
    int32_t multiplier;
    uint16_t count;
    int16_t zero_out;
    uint8_t shift;
    uint8_t before;
    uint8_t wide;
} single_t;

/* Product of int32 numbers with a matrix. */
typedef struct {
    const int8_t *weight;
    const int64_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
    uint16_t inputs;
    uint16_t outputs;
    uint16_t rows;
    int16_t zero_out;
    uint8_t before;
    uint8_t wide;
} linear_t;

/* Product of two matrices. */
typedef struct {
    int32_t multiplier;
    uint16_t rows;
    uint16_t terms;
    uint16_t columns;
    int16_t zero_in[2];
    int16_t zero_out;
    uint8_t shifts[2];
    uint8_t wide_in[2];
    uint8_t shift;
    uint8_t before;
    uint8_t wide;
} product_t;

/* Tensors one after the other. */
typedef struct {
    const uint16_t *inner; /* numbers of each input at a time */
    const uint8_t *shifts;
    uint16_t inputs;
    uint16_t outer;
} concat_t;

/* Numbers in another order. */
typedef struct {
    const uint16_t *order;
    uint16_t count;
    uint8_t wide;
} gather_t;

/* Pooling over time. */
typedef struct {
    const uint16_t *target; /* of a mean: where a number of a row is added */
    int32_t multiplier;
    uint16_t count;         /* numbers of the result */
    uint16_t numbers;       /* numbers of a row */
    uint16_t sums;          /* where its sums begin */
    uint16_t references;    /* and its references */
    int16_t zero_in;
    int16_t zero_out;
    uint8_t shift;
    uint8_t before;
    uint8_t last; /* shift of upper words, 0 if they are not enough */
    uint8_t fraction;
    uint8_t wide_in;
    uint8_t wide;
} pool_t;

/* The kinds of stages; a model has USES_.. of those that it has. */
enum {
    FRONT, KEEP, DENSE, FILTER, MAXIMUM, TABLE, SUM, PRODUCT, RELU, HARD_SWISH,
    LINEAR, MATRIX_PRODUCT, CONCAT, GATHER, SOFTMAX_POOL, MEAN_POOL
};

/* Four bytes of weights, or eight weights of half bytes. Lanes of 16 bits take them in
 * the order of the tables; vectors take bytes in their own order, and the lower
 * halves of bytes before the upper ones. */
#if VECTORS
#define FOUR_WEIGHTS(a, b, c, d) a, c, b, d
#define EIGHT_WEIGHTS(a, b, c, d)                                              \
    ((a) & 15) | (((b) & 15) << 4), ((c) & 15) | (((d) & 15) << 4),            \
        ((a) >> 4) | ((b) & 240), ((c) >> 4) | ((d) & 240)
#else
#define FOUR_WEIGHTS(a, b, c, d) a, b, c, d
#define EIGHT_WEIGHTS(a, b, c, d) a, b, c, d
#endif

#include "wav2small_model.h"

/* -- arithmetic ------------------------------------------------------------- */

static int64_t round_shift(int64_t a, uint32_t bits)
{
    return (a + (((int64_t)1 << bits) >> 1)) >> bits;
}

#if USES_RESCALE
static int64_t rescale(int64_t a, int32_t multiplier, uint32_t shift,
                       uint32_t before)
{
    return round_shift(round_shift(a, before) * multiplier, shift);
}
#endif

#if USES_DIVIDE
/* Quotient rounded down, divisor above 0. */
static int64_t divide(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    if ((a % b) < 0) {
        quotient -= 1;
    }
    return quotient;
}
#endif

static int8_t saturate(int64_t a)
{
    return (int8_t)((a > 127) ? 127 : ((a < -128) ? -128 : a));
}

#if USES_SATURATE_SHORT
static int8_t saturate_short(int32_t a)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    /* what __ssat of arm_acle.h is, which GCC itself warns of */
    return (int8_t)__builtin_arm_ssat(a, 8);
#elif defined(__ARM_FEATURE_SAT)
    return (int8_t)__ssat(a, 8);
#else
    return (int8_t)((a > 127) ? 127 : ((a < -128) ? -128 : a));
#endif
}
#endif

/* Upper word of a product, which cores have instructions for. */
static inline int32_t upper(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}

/* Copies bytes to a place before them or elsewhere. */
static inline void copy(void *to, const void *from, uint32_t bytes)
{
    uint8_t *new_place = (uint8_t *)to;
    const uint8_t *old_place = (const uint8_t *)from;
#if defined(__ARM_FEATURE_UNALIGNED)
    ROLLED
    for (; bytes >= 16u; bytes -= 16u) {
        uint32_t words[4];
        __builtin_memcpy(&words[0], old_place, 4);
        __builtin_memcpy(&words[1], old_place + 4, 4);
        __builtin_memcpy(&words[2], old_place + 8, 4);
        __builtin_memcpy(&words[3], old_place + 12, 4);
        __builtin_memcpy(new_place, &words[0], 4);
        __builtin_memcpy(new_place + 4, &words[1], 4);
        __builtin_memcpy(new_place + 8, &words[2], 4);
        __builtin_memcpy(new_place + 12, &words[3], 4);
        old_place += 16;
        new_place += 16;
    }
#endif
    ROLLED
    for (; bytes != 0u; --bytes) {
        *new_place = *old_place;
        ++new_place;
        ++old_place;
    }
}

#if USES_FETCH
static int32_t fetch(const void *values, uint32_t wide, uint32_t place)
{
    return (wide != 0u) ? ((const int32_t *)values)[place]
                        : (int32_t)((const int8_t *)values)[place];
}
#endif

#if USES_STORE
/* A number that was rescaled. */
static void store(void *values, uint32_t wide, uint32_t place, int64_t a,
                  int32_t zero)
{
    if (wide != 0u) {
        ((int32_t *)values)[place] = (int32_t)a;
    } else {
        ((int8_t *)values)[place] = saturate(a + zero);
    }
}
#endif

#if NORMALISED
#define SIGNAL_GAIN state->level.gain
#else
#define SIGNAL_GAIN 0
#endif

/* -- front end -------------------------------------------------------------- */

/* Bits in front of the first one of a number that is not 0. */
static inline uint32_t leading_zeros(uint32_t a)
{
#if defined(__GNUC__)
    return (uint32_t)__builtin_clz((unsigned int)a);
#else
    uint32_t bits = 0;
    while ((a >> 31) == 0u) {
        a <<= 1;
        ++bits;
    }
    return bits;
#endif
}

static uint32_t bit_length(uint64_t a)
{
    const uint32_t high = (uint32_t)(a >> 32);
    const uint32_t low = (uint32_t)a;
    if (high != 0u) {
        return 64u - leading_zeros(high);
    }
    return (low != 0u) ? (32u - leading_zeros(low)) : 0u;
}

/* Logarithm to base 2 of high * 2^32 + low, which is not 0, in steps of 2^-20. */
static int32_t log2_of(uint64_t high, uint32_t low)
{
    uint32_t upper_word = (uint32_t)(high >> 32);
    uint32_t lower_word = (uint32_t)high;
    uint32_t exponent = 95;
    uint32_t zeros;
    uint32_t place;
    uint32_t part;
    int32_t from;
    int32_t step;
    if (upper_word == 0u) {
        upper_word = lower_word;
        lower_word = low;
        exponent = 63;
    }
    if (upper_word == 0u) {
        upper_word = lower_word;
        lower_word = 0;
        exponent = 31;
    }
    zeros = leading_zeros(upper_word);
    /* the first one has bit 31 now */
    upper_word = (upper_word << zeros) | ((lower_word >> 1) >> (31u - zeros));
    place = (upper_word >> 23) & 255u;
    part = (upper_word >> 7) & 0xffffu;
    from = log_table[place];
    step = log_table[place + 1u] - from;
    return (int32_t)((exponent - zeros) << FRACTION) + from +
           (int32_t)(((uint32_t)step * part + 32768u) >> 16);
}

/* Upper word of a product, rounded. */
static inline int32_t upper_rounded(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
}

/* A number times the root of one half, rounded. */
static inline int32_t times_root(int32_t a)
{
    int32_t factor = FOURIER_TWO_ROOTS;
    /* compilers multiply by constants in ways of their own */
    OPAQUE(factor);
    return a + upper_rounded(a, factor);
}

/* Four numbers in the order of reversed bits to their spectrum. */
static inline void transform_four(int32_t *x, int32_t a, int32_t b, int32_t c, int32_t d)
{
    x[0] = (a + b) + (c + d);
    x[1] = a - b;
    x[2] = (a + b) - (c + d);
    x[3] = d - c;
}

/* Scales eight numbers and makes of them the spectrum of all, or two of four each. */
static inline void transform_eight(int32_t *x, uint32_t up, int32_t half, uint32_t down,
                                   uint32_t whole)
{
    int32_t v[8];
    uint32_t i;
    for (i = 0; i < 8u; ++i) {
        v[i] = ((int32_t)((uint32_t)x[i] << up) + half) >> down;
    }
    if (whole != 0u) {
        const int32_t even = (v[0] + v[1]) + (v[2] + v[3]);
        const int32_t real = v[0] - v[1];
        const int32_t imaginary = v[3] - v[2];
        const int32_t one = v[4] + v[5];
        const int32_t three = v[6] + v[7];
        const int32_t total = times_root((v[4] - v[5]) - (v[6] - v[7]));
        const int32_t turned = times_root((v[4] - v[5]) + (v[6] - v[7]));
        x[0] = even + (one + three);
        x[1] = real + total;
        x[2] = (v[0] + v[1]) - (v[2] + v[3]);
        x[3] = real - total;
        x[4] = even - (one + three);
        x[5] = -imaginary - turned;
        x[6] = three - one;
        x[7] = imaginary - turned;
    } else {
        transform_four(x, v[0], v[1], v[2], v[3]);
        transform_four(x + 4, v[4], v[5], v[6], v[7]);
    }
}

/* Whether a block is transformed: its number ends in an even number of ones. */
static inline uint32_t is_block(uint32_t number)
{
    uint32_t even = 1;
    while ((number & 1u) != 0u) {
        number >>= 1;
        even ^= 1u;
    }
    return even;
}

#if FOURIER_LENGTH > 8
/* Bins of a block from those of its half and its two quarters. */
INSIDE void join(int32_t *x, const uint32_t size)
{
    const uint32_t step = 4u * ((uint32_t)FOURIER_LENGTH / size);
    const uint32_t half = size / 2u;
    const uint32_t quarter = size / 4u;
    const uint32_t eighth = size / 8u;
    const int32_t *factor = twiddles + step - 4u;
    int32_t *up = x;
    int32_t *down = x + quarter;
    OPAQUE(factor);
    {
        const int32_t first = up[0];
        const int32_t one = up[half];
        const int32_t three = up[half + quarter];
        up[0] = first + (one + three);
        up[half] = first - (one + three);
        up[half + quarter] = three - one;
    }
    ++up;
    --down;
    do {
        /* bins k, half - k, quarter - k and quarter + k */
        const int32_t a = up[half];
        const int32_t b = down[half];
        const int32_t c = up[half + quarter];
        const int32_t d = down[half + quarter];
        /* halves of the turned numbers, whose products have no more than 32 bits */
        const int32_t one = upper_rounded(a, factor[0]) + upper_rounded(b, factor[1]);
        const int32_t first = upper_rounded(b, factor[0]) - upper_rounded(a, factor[1]);
        const int32_t three = upper_rounded(c, factor[2]) + upper_rounded(d, factor[3]);
        const int32_t third = upper_rounded(d, factor[2]) - upper_rounded(c, factor[3]);
        const int32_t real = 2 * (one + three);
        const int32_t imaginary = 2 * (first + third);
        const int32_t other_real = 2 * (first - third);
        const int32_t other_imaginary = 2 * (one - three);
        int32_t same = up[0];
        int32_t other = down[quarter];
        up[0] = same + real;
        down[quarter] = same - real;
        down[half + quarter] = imaginary + other;
        up[half] = imaginary - other;
        same = down[0];
        other = up[quarter];
        down[0] = same - other_real;
        up[quarter] = same + other_real;
        up[half + quarter] = other - other_imaginary;
        down[half] = -other - other_imaginary;
        ++up;
        --down;
        factor += step;
        OPAQUE(up);
        OPAQUE(down);
    } while (up != down);
    {
        const int32_t real = x[eighth];
        const int32_t imaginary = x[half - eighth];
        const int32_t one = x[half + eighth];
        const int32_t three = x[size - eighth];
        const int32_t total = times_root(one - three);
        const int32_t turned = times_root(one + three);
        x[eighth] = real + total;
        x[half - eighth] = real - total;
        x[size - eighth] = imaginary - turned;
        x[half + eighth] = -imaginary - turned;
    }
}

/* All blocks of a size. Compilers know each size, so that offsets are no variables. */
INSIDE void join_all(int32_t *values, const uint32_t size)
{
    uint32_t number;
    for (number = 0; number < (uint32_t)FOURIER_LENGTH / size; ++number) {
        if (is_block(number) != 0u) {
            join(values + number * size, size);
        }
    }
}
#endif

/* Fourier transform of real numbers in the order of reversed bits, in place,
 * scaled by a power of two before: real parts of bins 0 .. half, imaginary parts of
 * bins half - 1 .. 1. */
APART static void transform(int32_t *values, int32_t exponent)
{
    const uint32_t up = (exponent > 0) ? (uint32_t)exponent : 0u;
    const uint32_t down = (exponent < 0) ? (uint32_t)-exponent : 0u;
    const int32_t half = (int32_t)(((uint32_t)1 << down) >> 1);
    uint32_t number;
    for (number = 0; number < (uint32_t)FOURIER_LENGTH / 8u; ++number) {
        transform_eight(values + 8u * number, up, half, down, is_block(number));
    }
#if FOURIER_LENGTH >= 16
    join_all(values, 16);
#endif
#if FOURIER_LENGTH >= 32
    join_all(values, 32);
#endif
#if FOURIER_LENGTH >= 64
    join_all(values, 64);
#endif
#if FOURIER_LENGTH >= 128
    join_all(values, 128);
#endif
#if FOURIER_LENGTH >= 256
    join_all(values, 256);
#endif
#if FOURIER_LENGTH >= 512
    join_all(values, 512);
#endif
#if FOURIER_LENGTH >= 1024
    join_all(values, 1024);
#endif
}

/* Place of a number in the order of reversed bits. */
static inline uint32_t reversed(uint32_t n)
{
#if REVERSES_BITS
    return __builtin_bitreverse32(n) >> FOURIER_UNUSED_BITS;
#else
    n = ((n >> 1) & 0x55555555u) | ((n & 0x55555555u) << 1);
    n = ((n >> 2) & 0x33333333u) | ((n & 0x33333333u) << 2);
    n = ((n >> 4) & 0x0f0f0f0fu) | ((n & 0x0f0f0f0fu) << 4);
    n = ((n >> 8) & 0x00ff00ffu) | ((n & 0x00ff00ffu) << 8);
    return ((n >> 16) | (n << 16)) >> FOURIER_UNUSED_BITS;
#endif
}

static inline int32_t window_at(uint32_t n)
{
#if WINDOW_SYMMETRIC
    return window[(n <= (uint32_t)WINDOW_LENGTH / 2u) ? n
                                                      : (uint32_t)WINDOW_LENGTH - n];
#else
    return window[n];
#endif
}

/* Absolute value: the sign makes one less of it. */
static inline uint32_t size_of(int32_t a)
{
    return (uint32_t)(a ^ (a >> 31)) + ((uint32_t)a >> 31);
}

/* A sample times the window, in 14 bits more. */
static inline int32_t windowed(const wav2small_state *state, int16_t sample,
                               int32_t factor)
{
#if NORMALISED
    const int64_t centred = (int64_t)sample * 2048 - state->level.mean;
    return (int32_t)((centred * factor + ((int64_t)1 << 26)) >> 27);
#else
    (void)state;
    return upper_rounded((int32_t)((uint32_t)sample << 16), factor);
#endif
}

/* Samples from an offset on, zeros behind them, to a spectrum; returns its exponent. */
APART static int32_t spectrum(const wav2small_state *state, uint32_t offset,
                              int32_t *values)
{
    const int16_t *samples = state->samples + offset;
    uint32_t most = (offset < state->fill) ? (state->fill - offset) : 0u;
    uint32_t n;
    uint64_t loudness = 0;
    int32_t exponent;
    most = (most < (uint32_t)WINDOW_LENGTH) ? most : (uint32_t)WINDOW_LENGTH;
#if WINDOW_SYMMETRIC
    if (most == (uint32_t)WINDOW_LENGTH) {
        const int16_t *up = samples;
        const int16_t *down = samples + WINDOW_LENGTH;
        const int32_t middle = windowed(state, samples[WINDOW_LENGTH / 2],
                                        window[WINDOW_LENGTH / 2]);
        const int32_t first = windowed(state, samples[0], window[0]);
        loudness = size_of(middle) + size_of(first);
        values[0] = first;
        for (n = 1; n < (uint32_t)WINDOW_LENGTH / 2u; ++n) {
            const int32_t factor = window[n];
            int32_t one;
            int32_t two;
            ++up;
            --down;
            one = windowed(state, *up, factor);
            two = windowed(state, *down, factor);
            loudness += size_of(one) + size_of(two);
            values[reversed(n)] = one;
            values[reversed((uint32_t)WINDOW_LENGTH - n)] = two;
        }
        values[reversed((uint32_t)WINDOW_LENGTH / 2u)] = middle;
        most = WINDOW_LENGTH;
    } else
#endif
    {
        for (n = 0; n < most; ++n) {
            const int32_t value = windowed(state, samples[n], window_at(n));
            loudness += size_of(value);
            values[reversed(n)] = value;
        }
    }
    ROLLED
    for (n = most; n < (uint32_t)FOURIER_LENGTH; ++n) {
        values[reversed(n)] = 0;
    }
    exponent = 30 - (int32_t)bit_length(loudness);
    transform(values, exponent);
    return exponent;
}

#if MEL_WITHOUT_ENDS
/* Powers of bins, lower words at k, upper words where the imaginary part was. */
APART static void powers(int32_t *values)
{
    int32_t *up = values + 1;
    int32_t *down = values + (uint32_t)FOURIER_LENGTH - 1u;
    while (up != down) {
        const uint64_t power =
            (uint64_t)((int64_t)*up * *up) + (uint64_t)((int64_t)*down * *down);
        *(uint32_t *)up = (uint32_t)power;
        *(uint32_t *)down = (uint32_t)(power >> 32);
        ++up;
        --down;
    }
}
#endif

/* Logarithm of the power of a band, in steps of 2^-20. */
APART static int32_t band_level(const int32_t *values, uint32_t band,
                                const uint16_t *weight, int32_t less)
{
    uint32_t k = mel_first[band];
    uint32_t left = mel_count[band];
    uint64_t low = 0;
    uint64_t high = 0;
    int32_t level = LOG_FLOOR;
#if MEL_WITHOUT_ENDS
    const uint32_t *up = (const uint32_t *)values + k;
    const uint32_t *down = (const uint32_t *)values + ((uint32_t)FOURIER_LENGTH - k);
#if VECTORS
    /* upper words lie in the other direction */
    const uint32x4_t back = vddupq_n_u32(12, 4);
    for (; left != 0u; left -= (left < 4u) ? left : 4u) {
        const mve_pred16_t lanes = vctp32q(left);
        const uint32x4_t factors = vldrhq_z_u32(weight, lanes);
        low = vmlaldavaq_p_u32(low, vldrwq_z_u32(up, lanes), factors, lanes);
        high = vmlaldavaq_p_u32(
            high, vldrwq_gather_offset_z_u32(down - 3, back, lanes), factors, lanes);
        up += 4;
        down -= 4;
        weight += 4;
    }
#else
    ROLLED
    for (; left != 0u; --left) {
        low += (uint64_t)*up * *weight;
        high += (uint64_t)*down * *weight;
        ++up;
        --down;
        ++weight;
    }
#endif
#else
    for (; left != 0u; --left) {
        const int64_t real = values[k];
        /* the first and the last bin are real */
        const int64_t imaginary = ((k == 0u) || (k == (uint32_t)FOURIER_LENGTH / 2u))
                                      ? 0
                                      : values[(uint32_t)FOURIER_LENGTH - k];
        const uint64_t power = (uint64_t)(real * real + imaginary * imaginary);
        low += (uint64_t)*weight * (uint32_t)power;
        high += (uint64_t)*weight * (uint32_t)(power >> 32);
        ++weight;
        ++k;
    }
#endif
    high += low >> 32;
    if ((high != 0u) || ((uint32_t)low != 0u)) {
        level = log2_of(high, (uint32_t)low) - log_offset[band] - less;
    }
    return (level > LOG_FLOOR) ? level : LOG_FLOOR;
}

/* What is known where a row is computed. */
typedef struct {
    uint32_t frame;  /* that would have come */
    uint32_t heard;  /* frames of the signal so far; of a result */
    uint32_t frames; /* frames of a signal that ends here, 0 if it goes on */
#if PAST_FRAMES
    int64_t past; /* sum of the levels of the past */
#endif
} moment_t;

/* Row of the log-mel map. */
APART static void front(wav2small_state *state, moment_t *now, int8_t *row, int32_t *work)
{
    int32_t *level = work + FOURIER_LENGTH;
    const uint32_t ahead = (now->frames != 0u) ? (now->frame - now->heard) : 0u;
    const int32_t less =
        spectrum(state, ahead * (uint32_t)HOP_LENGTH, work) * (2 << FRACTION) + SIGNAL_GAIN;
    const uint16_t *weight = mel_weight;
    int32_t past = 0;
    uint32_t band;
#if PAST_FRAMES
    int64_t sum = 0;
#endif
#if MEL_WITHOUT_ENDS
    powers(work);
#endif
    for (band = 0; band < (uint32_t)BANDS; ++band) {
        level[band] = band_level(work, band, weight, less);
        weight += mel_count[band];
#if PAST_FRAMES
        sum += level[band];
#endif
    }
#if PAST_FRAMES
    {
        past_t *ended = (past_t *)(void *)(state->scratch.bytes + ENDED_PLACE);
        uint32_t count = now->frame + 1u;
        now->past += sum;
        if (now->frame >= (uint32_t)PAST_FRAMES) {
            const uint32_t gone = now->frame - (uint32_t)PAST_FRAMES;
            count = PAST_FRAMES;
            if ((now->frames != 0u) && (gone >= now->heard)) {
                now->past -= ended[gone - now->heard];
            } else {
                now->past -= state->past[gone % (uint32_t)PAST_FRAMES];
            }
        }
        if (now->frames != 0u) {
            ended[ahead] = (past_t)sum;
        } else {
            state->past[now->frame % (uint32_t)PAST_FRAMES] = (past_t)sum;
        }
        count *= (uint32_t)BANDS;
        past = (int32_t)divide(2 * now->past + (int64_t)count, 2 * (int64_t)count);
    }
#else
    (void)now;
#endif
    for (band = 0; band < (uint32_t)BANDS; ++band) {
        const int64_t product = (int64_t)(level[band] - past) * LEVEL_MULTIPLIER;
        row[band] = saturate((product + LEVEL_OFFSET) >> LEVEL_SHIFT);
    }
}

/* -- layers ----------------------------------------------------------------- */

#if USES_DENSE || USES_FILTER
static inline int8_t short_output(int32_t sum, int32_t multiplier, int32_t round,
                                  uint32_t last)
{
    return saturate_short((upper(sum, multiplier) + round) >> last);
}

/* Output of a sum in the other ways. */
APART static void long_output(const end_t *end, uint32_t output, int32_t sum,
                              void *values, uint32_t place)
{
    const int32_t multiplier = end->multiplier[output];
    const uint32_t shift = end->shift[output];
    if (end->kind == (uint8_t)WIDE_SHORT) {
        const int64_t product =
            (int64_t)sum * multiplier + (int32_t)(((uint32_t)1 << shift) >> 1);
        const uint32_t low = (uint32_t)product >> shift;
        const uint32_t high = (uint32_t)(product >> 32) << (32u - shift);
        ((int32_t *)values)[place] = (int32_t)(low | high) + end->bias[output];
    } else {
        const int64_t value = rescale(sum, multiplier, shift, 0);
        if (end->kind == (uint8_t)WIDE) {
            ((int32_t *)values)[place] = (int32_t)value + end->bias[output];
        } else {
            ((int8_t *)values)[place] = saturate(value + end->round);
        }
    }
}

static inline void put_output(const end_t *end, uint32_t output, int32_t sum,
                              void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        ((int8_t *)values)[place] =
            short_output(sum, end->multiplier[output], end->round, end->last);
    } else {
        long_output(end, output, sum, values, place);
    }
}
#endif

#if VECTORS && (USES_DENSE || USES_FILTER)
/* Four outputs as short_output makes one. */
static inline int32x4_t short_outputs(int32x4_t sums, int32x4_t multiplier, int32_t round,
                                      int32_t last)
{
    const int32x4_t scaled =
        vshlq_r_s32(vaddq_n_s32(vmulhq_s32(sums, multiplier), round), -last);
    return vmaxq_s32(vminq_s32(scaled, vdupq_n_s32(127)), vdupq_n_s32(-128));
}
#endif

#if USES_DENSE
/* A number that columns are multiplied with. */
#if VECTORS
typedef int8_t number_t;

/* Outputs that lie side by side. */
static inline void put_four(const end_t *end, uint32_t output, int32_t s0, int32_t s1,
                            int32_t s2, int32_t s3, void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        int32x4_t sums = vdupq_n_s32(s0);
        sums = vsetq_lane_s32(s1, sums, 1);
        sums = vsetq_lane_s32(s2, sums, 2);
        sums = vsetq_lane_s32(s3, sums, 3);
        vstrbq_s32((int8_t *)values + place,
                   short_outputs(sums, vldrwq_s32(end->multiplier + output), end->round,
                                 end->last));
    } else {
        long_output(end, output, s0, values, place);
        long_output(end, output + 1u, s1, values, place + 1u);
        long_output(end, output + 2u, s2, values, place + 2u);
        long_output(end, output + 3u, s3, values, place + 3u);
    }
}
#else
typedef int16_t number_t;

/* Outputs that lie side by side. */
static inline void put_two(const end_t *end, uint32_t output, int32_t first,
                           int32_t second, void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        const int32_t *const multiplier = end->multiplier + output;
        const int32_t round = end->round;
        const uint32_t last = end->last;
        int8_t *narrow = (int8_t *)values + place;
        const int8_t value = short_output(first, multiplier[0], round, last);
        narrow[1] = short_output(second, multiplier[1], round, last);
        narrow[0] = value;
    } else {
        long_output(end, output, first, values, place);
        long_output(end, output + 1u, second, values, place + 1u);
    }
}

/* Four numbers of 16 bits, and four or eight weights as they lie in flash. */
#if defined(__ARM_FEATURE_DSP)
typedef struct {
    uint32_t first;  /* two of them */
    uint32_t second;
} four_t;
typedef uint32_t packed_t;

/* Two words at a multiple of 4, so many bytes from where a pointer leads. */
#if defined(__GNUC__) && defined(__thumb2__)
/* compilers tend to make two instructions of it; what is read, at most */
typedef struct __attribute__((may_alias)) {
    uint32_t words[24];
} reach_t;
#define LOAD_WORDS(four, from, place)               \
    __asm__("ldrd %0, %1, [%2, %3]"                 \
            : "=r"((four).first), "=r"((four).second) \
            : "r"(from), "i"(place), "m"(*(const reach_t *)(const void *)(from)))
#else
#define LOAD_WORDS(four, from, place) \
    __builtin_memcpy(&(four), (const uint8_t *)(const void *)(from) + (place), 8)
#endif
#define LOAD_FOUR(four, from, place) LOAD_WORDS(four, from, 2 * (place))

#if USES_COLUMNS && USES_BYTES
static inline void store_four(int16_t *to, four_t four)
{
    __builtin_memcpy(__builtin_assume_aligned(to, 4), &four, sizeof four);
}
#endif

static inline int32_t add_products(int32_t sum, four_t a, four_t b)
{
    sum = __smlad((int16x2_t)a.first, (int16x2_t)b.first, sum);
    return __smlad((int16x2_t)a.second, (int16x2_t)b.second, sum);
}

/* Weights of two outputs. */
#define LOAD_PACKED(a, b, from, place)     \
    do {                                   \
        four_t words_;                     \
        LOAD_WORDS(words_, from, place);   \
        (a) = words_.first;                \
        (b) = words_.second;               \
    } while (0)
#else
typedef struct {
    int16_t a;
    int16_t b;
    int16_t c;
    int16_t d;
} four_t;
typedef const void *packed_t;


#define LOAD_FOUR(four, from, place)   \
    do {                               \
        (four).a = (from)[(place)];    \
        (four).b = (from)[(place) + 1]; \
        (four).c = (from)[(place) + 2]; \
        (four).d = (from)[(place) + 3]; \
    } while (0)

#if USES_COLUMNS && USES_BYTES
static inline void store_four(int16_t *to, four_t four)
{
    to[0] = four.a;
    to[1] = four.b;
    to[2] = four.c;
    to[3] = four.d;
}
#endif

static inline int32_t add_products(int32_t sum, four_t x, four_t y)
{
    return sum + x.a * y.a + x.b * y.b + x.c * y.c + x.d * y.d;
}

#define LOAD_PACKED(a, b, from, place)  \
    do {                                \
        (a) = (from) + (place);         \
        (b) = (from) + (place) + 4;     \
    } while (0)
#endif

#if USES_BYTES
/* Weights of a byte; the second and the third have changed places. */
static inline four_t widened(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    const uint32_t turned = (packed >> 8) | (packed << 24);
    const four_t four = {(uint32_t)__sxtb16((int8x4_t)packed),
                         (uint32_t)__sxtb16((int8x4_t)turned)};
#else
    const int8_t *at = (const int8_t *)packed;
    const four_t four = {at[0], at[2], at[1], at[3]};
#endif
    return four;
}
#endif

#if USES_NIBBLES
/* Of eight weights plus 8: bytes have those at 0, 2; 4, 6; 1, 3; 5, 7. */
static inline four_t first_four(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    const four_t four = {packed & 0x000f000fu, (packed >> 4) & 0x000f000fu};
#else
    const uint8_t *at = (const uint8_t *)packed;
    const four_t four = {at[0] & 15, at[2] & 15, at[0] >> 4, at[2] >> 4};
#endif
    return four;
}

static inline four_t second_four(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    return first_four(packed >> 8);
#else
    return first_four((const uint8_t *)packed + 1);
#endif
}
#endif

#endif

/* Numbers of a tap that columns are multiplied with; zero_in for border. */
APART static void fill_tap(const dense_t *layer, const int8_t *row, uint32_t place,
                           number_t *to)
{
    const uint32_t channels = layer->channels;
    const uint32_t hop = layer->hop;
    const uint32_t stride = hop * channels * layer->groups;
#if !VECTORS
    const uint32_t fours = channels / 4u;
    const uint32_t rest = channels % 4u;
#endif
    const uint32_t gap = layer->pitch - channels;
    const uint32_t columns_in = (row != NULL) ? layer->columns_in : 0u;
    const number_t zero = (number_t)layer->zero_in;
    uint32_t offset = place * channels * layer->groups;
    uint32_t left = layer->units;
    if (channels == 1u) {
        ROLLED
        do {
            *to = (place < columns_in) ? row[offset] : zero;
            to += gap + 1u;
            place += hop;
            offset += stride;
            --left;
        } while (left != 0u);
        return;
    }
    ROLLED
    do {
#if VECTORS
        const int8_t *from = (place < columns_in) ? (row + offset) : NULL;
        uint32_t i;
        for (i = channels; i != 0u;) {
            const uint32_t some = (i < 16u) ? i : 16u;
            const mve_pred16_t lanes = vctp8q(i);
            int8x16_t numbers = vdupq_n_s8(zero);
            if (from != NULL) {
                numbers = vldrbq_z_s8(from, lanes);
                from += some;
            }
            vstrbq_p_s8(to, numbers, lanes);
            to += some;
            i -= some;
        }
#else
        uint32_t i;
        if (place < columns_in) {
            const int8_t *from = row + offset;
            ROLLED
            for (i = fours; i != 0u; --i) {
                const int16_t a = from[0];
                const int16_t b = from[1];
                const int16_t c = from[2];
                const int16_t d = from[3];
                to[0] = a;
                to[1] = b;
                to[2] = c;
                to[3] = d;
                from += 4;
                to += 4;
            }
            ROLLED
            for (i = rest; i != 0u; --i) {
                *to = *from;
                ++from;
                ++to;
            }
        } else {
            ROLLED
            for (i = channels; i != 0u; --i) {
                *to = zero;
                ++to;
            }
        }
#endif
        to += gap;
        place += hop;
        offset += stride;
        --left;
    } while (left != 0u);
}

/* Numbers of a group that columns are multiplied with. */
static void fill(const dense_t *layer, const void *const rows[], uint32_t group,
                 number_t *to)
{
    const uint32_t channels = layer->channels;
    number_t *at = to;
    /* a place before the first column wraps around and is large */
    uint32_t place = 0u - (uint32_t)layer->left;
    uint32_t across;
    uint32_t filled;
    for (across = 0; across < layer->across; ++across) {
        uint32_t tap;
        for (tap = 0; tap < layer->taps; ++tap) {
            const int8_t *row = (const int8_t *)rows[tap];
            fill_tap(layer, (row != NULL) ? (row + group * channels) : NULL, place, at);
            at += channels;
        }
        place += layer->dilation;
    }
    for (filled = (uint32_t)(at - to); filled < layer->pitch; ++filled) {
        uint32_t unit;
        at = to + filled;
        for (unit = 0; unit < layer->units; ++unit) {
            *at = 0;
            at += layer->pitch;
        }
    }
}

#if VECTORS
#if USES_BYTES
/* All columns of four outputs, whose weights take turns word by word. */
APART static void four_outputs(const dense_t *layer, uint32_t output, const int8_t *x,
                               void *values)
{
    const end_t *const end = &layer->end;
    const int32_t *const start = end->start + output;
    const int8_t *const weight = layer->weight + output * layer->length;
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t blocks = layer->length / 16u;
    const uint32_t rest = layer->length % 16u;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int8_t *a = x;
        const int8_t *w = weight;
        int32_t s0 = start[0];
        int32_t s1 = start[1];
        int32_t s2 = start[2];
        int32_t s3 = start[3];
        uint32_t i;
        for (i = blocks; i != 0u; --i) {
            const int8x16_t numbers = vldrbq_s8(a);
            const int32x4x4_t four = vld4q_s32((const int32_t *)(const void *)w);
            s0 = vmladavaq_s8(s0, numbers, vreinterpretq_s8_s32(four.val[0]));
            s1 = vmladavaq_s8(s1, numbers, vreinterpretq_s8_s32(four.val[1]));
            s2 = vmladavaq_s8(s2, numbers, vreinterpretq_s8_s32(four.val[2]));
            s3 = vmladavaq_s8(s3, numbers, vreinterpretq_s8_s32(four.val[3]));
            a += 16;
            w += 64;
        }
        if (rest != 0u) {
            const mve_pred16_t lanes = vctp8q(rest);
            const int8x16_t numbers = vldrbq_z_s8(a, lanes);
            /* 16 bytes from word to word of an output */
            const uint32x4_t apart = vshlq_n_u32(vidupq_n_u32(0, 8), 1);
            const int32_t *words = (const int32_t *)(const void *)w;
            s0 = vmladavaq_s8(s0, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words, apart, lanes)));
            s1 = vmladavaq_s8(s1, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 1, apart, lanes)));
            s2 = vmladavaq_s8(s2, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 2, apart, lanes)));
            s3 = vmladavaq_s8(s3, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 3, apart, lanes)));
        }
        put_four(end, output, s0, s1, s2, s3, values, place);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* All columns of one output. */
APART static void one_output(const dense_t *layer, uint32_t output, const int8_t *x,
                             void *values)
{
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    uint32_t left;
    uint32_t place = output;
    for (left = layer->columns_out; left != 0u; --left) {
        const int8_t *a = x;
        const int8_t *w = layer->weight + output * layer->length;
        int32_t sum = layer->end.start[output];
        int32_t i;
        for (i = layer->length; i > 0; i -= 16) {
            const mve_pred16_t lanes = vctp8q((uint32_t)i);
            sum = vmladavaq_s8(sum, vldrbq_z_s8(a, lanes), vldrbq_z_s8(w, lanes));
            a += 16;
            w += 16;
        }
        put_output(&layer->end, output, sum, values, place);
        x += layer->step;
        place += outputs;
    }
}
#endif

#if USES_NIBBLES
/* Products with the lower and the upper halves of bytes, which hold weights plus 8. */
static inline int32_t add_lower(int32_t sum, int8x16_t numbers, int32x4_t weights)
{
    const int8x16_t both = vreinterpretq_s8_s32(weights);
    return vmladavaq_s8(sum, numbers, vandq_s8(both, vdupq_n_s8(15)));
}

static inline int32_t add_upper(int32_t sum, int8x16_t numbers, int32x4_t weights)
{
    const uint8x16_t both = vreinterpretq_u8_s32(weights);
    return vmladavaq_s8(sum, numbers, vreinterpretq_s8_u8(vshrq_n_u8(both, 4)));
}

/* All columns of four outputs: words have those of the first two or of the others. */
APART static void four_outputs_of_nibbles(const dense_t *layer, uint32_t output,
                                          const int8_t *x, void *values)
{
    const end_t *const end = &layer->end;
    const int32_t *const start = end->start + output;
    const uint8_t *const weight = layer->nibbles + output * (layer->length / 2u);
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t blocks = layer->length / 16u;
    const uint32_t rest = layer->length % 16u;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int8_t *a = x;
        const int32_t *w = (const int32_t *)(const void *)weight;
        int32_t s0 = start[0];
        int32_t s1 = start[1];
        int32_t s2 = start[2];
        int32_t s3 = start[3];
        int32_t less = 0;
        uint32_t i;
        for (i = blocks; i != 0u; --i) {
            const int8x16_t numbers = vldrbq_s8(a);
            const int32x4x2_t two = vld2q_s32(w);
            s0 = add_lower(s0, numbers, two.val[0]);
            s1 = add_upper(s1, numbers, two.val[0]);
            s2 = add_lower(s2, numbers, two.val[1]);
            s3 = add_upper(s3, numbers, two.val[1]);
            less = vaddvaq_s8(less, numbers);
            a += 16;
            w += 8;
        }
        if (rest != 0u) {
            const mve_pred16_t lanes = vctp8q(rest);
            const int8x16_t numbers = vldrbq_z_s8(a, lanes);
            const uint32x4_t apart = vidupq_n_u32(0, 8);
            const int32x4_t one = vldrwq_gather_offset_z_s32(w, apart, lanes);
            const int32x4_t other = vldrwq_gather_offset_z_s32(w + 1, apart, lanes);
            s0 = add_lower(s0, numbers, one);
            s1 = add_upper(s1, numbers, one);
            s2 = add_lower(s2, numbers, other);
            s3 = add_upper(s3, numbers, other);
            less = vaddvaq_s8(less, numbers);
        }
        less *= 8;
        put_four(end, output, s0 - less, s1 - less, s2 - less, s3 - less, values, place);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* All columns of one output: words have eight weights of it. */
APART static void one_output_of_nibbles(const dense_t *layer, uint32_t output,
                                        const int8_t *x, void *values)
{
    const uint8_t *const weight = layer->nibbles + output * (layer->length / 2u);
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32x4_t turns = vidupq_n_u32(0, 8);
    uint32_t left;
    uint32_t place = output;
    for (left = layer->columns_out; left != 0u; --left) {
        const int32_t *a = (const int32_t *)(const void *)x;
        const int32_t *w = (const int32_t *)(const void *)weight;
        int32_t sum = layer->end.start[output];
        int32_t less = 0;
        int32_t i;
        for (i = layer->length / 8; i > 0; i -= 4) {
            const mve_pred16_t lanes = vctp32q((uint32_t)i);
            const int32x4_t weights = vldrwq_z_s32(w, lanes);
            const int8x16_t first =
                vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(a, turns, lanes));
            const int8x16_t second =
                vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(a + 1, turns, lanes));
            sum = add_upper(add_lower(sum, first, weights), second, weights);
            less = vaddvaq_s8(vaddvaq_s8(less, first), second);
            a += 8;
            w += 4;
        }
        put_output(&layer->end, output, sum - 8 * less, values, place);
        x += layer->step;
        place += outputs;
    }
}
#endif

/* All outputs of a group. */
static void all_outputs(const dense_t *layer, uint32_t output, const int8_t *x,
                        void *values)
{
    uint32_t left = layer->outputs;
    while (left != 0u) {
        const uint32_t some = (left < 4u) ? 1u : 4u;
#if USES_BYTES
        if (layer->weight != NULL) {
            if (some == 4u) {
                four_outputs(layer, output, x, values);
            } else {
                one_output(layer, output, x, values);
            }
        }
#endif
#if USES_NIBBLES
        if (layer->nibbles != NULL) {
            if (some == 4u) {
                four_outputs_of_nibbles(layer, output, x, values);
            } else {
                one_output_of_nibbles(layer, output, x, values);
            }
        }
#endif
        output += some;
        left -= some;
    }
}
#endif

#if USES_COLUMNS && !VECTORS
/* Weights of one or four outputs, in the order of flash. */
APART static void unpack(const dense_t *layer, uint32_t first, uint32_t count,
                         int16_t *to)
{
    const int16_t *const end = to + count;
#if USES_BYTES
    if (layer->weight != NULL) {
        const int8_t *weight = layer->weight + first;
        if ((count & 4u) != 0u) {
            to[0] = weight[0];
            to[1] = weight[2];
            to[2] = weight[1];
            to[3] = weight[3];
            weight += 4;
            to += 4;
        }
        while (to != end) {
            packed_t a;
            packed_t b;
            LOAD_PACKED(a, b, weight, 0);
            store_four(to, widened(a));
            store_four(to + 4, widened(b));
            weight += 8;
            to += 8;
        }
    }
#endif
#if USES_NIBBLES
    if (layer->nibbles != NULL) {
        const uint8_t *weight = layer->nibbles + first / 2u;
        do {
            uint32_t i;
            for (i = 0; i < 4u; ++i) {
                int16_t *at = to + 4u * (i & 1u) + (i >> 1);
                at[0] = (int16_t)((weight[i] & 15) - 8);
                at[2] = (int16_t)((weight[i] >> 4) - 8);
            }
            weight += 4;
            to += 8;
        } while (to != end);
    }
#endif
}

/* Four products more for each of four outputs. */
#define ADD_FOUR_BY_FOUR(k)                \
    do {                                   \
        four_t four;                       \
        four_t weight;                     \
        LOAD_FOUR(four, a, k);             \
        LOAD_FOUR(weight, w, 4 * (k));     \
        s0 = add_products(s0, four, weight); \
        LOAD_FOUR(weight, w, 4 * (k) + 4); \
        s1 = add_products(s1, four, weight); \
        LOAD_FOUR(weight, w, 4 * (k) + 8); \
        s2 = add_products(s2, four, weight); \
        LOAD_FOUR(weight, w, 4 * (k) + 12); \
        s3 = add_products(s3, four, weight); \
    } while (0)

/* All columns of four outputs. */
APART static void four_outputs(const dense_t *layer, uint32_t output, const int16_t *x,
                               const int16_t *weights, void *values)
{
    const end_t *const end = &layer->end;
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t length = layer->length;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int16_t *const stop = x + length;
        const int16_t *a = x;
        const int16_t *w = weights;
        int32_t s0 = end->start[output];
        int32_t s1 = end->start[output + 1u];
        int32_t s2 = end->start[output + 2u];
        int32_t s3 = end->start[output + 3u];
        if (layer->thrice != 0u) {
            do {
                ADD_FOUR_BY_FOUR(0);
                ADD_FOUR_BY_FOUR(4);
                ADD_FOUR_BY_FOUR(8);
                a += 12;
                w += 48;
            } while (a != stop);
        } else {
            do {
                ADD_FOUR_BY_FOUR(0);
                a += 4;
                w += 16;
            } while (a != stop);
        }
        put_two(end, output, s0, s1, values, place);
        put_two(end, output + 2u, s2, s3, values, place + 2u);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* Four products more for each of two columns. */
#define ADD_FOUR_BY_TWO(k)                 \
    do {                                   \
        four_t four;                       \
        four_t weight;                     \
        LOAD_FOUR(weight, w, k);           \
        LOAD_FOUR(four, a, k);             \
        s0 = add_products(s0, four, weight); \
        LOAD_FOUR(four, b, k);             \
        s1 = add_products(s1, four, weight); \
    } while (0)

/* All columns of one output. */
APART static void one_output(const dense_t *layer, uint32_t output, const int16_t *x,
                             const int16_t *weights, void *values)
{
    const end_t *const end = &layer->end;
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t length = layer->length;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    while (left != 0u) {
        /* two columns, but for a last one, which is taken twice */
        const uint32_t other = (left > 1u) ? layer->step : 0u;
        const int16_t *const stop = x + length;
        const int16_t *a = x;
        const int16_t *b = x + other;
        const int16_t *w = weights;
        int32_t s0 = end->start[output];
        int32_t s1 = s0;
        if (layer->thrice != 0u) {
            do {
                ADD_FOUR_BY_TWO(0);
                ADD_FOUR_BY_TWO(4);
                ADD_FOUR_BY_TWO(8);
                a += 12;
                b += 12;
                w += 12;
            } while (a != stop);
        } else {
            do {
                ADD_FOUR_BY_TWO(0);
                a += 4;
                b += 4;
                w += 4;
            } while (a != stop);
        }
        put_output(end, output, s0, values, place);
        if (left == 1u) {
            break;
        }
        put_output(end, output, s1, values, place + outputs);
        x += 2u * other;
        place += 2u * outputs;
        left -= 2u;
    }
}
#endif

#if USES_COLUMN && !VECTORS
/* One column of outputs, the weights of each four taking turns word by word. */
#if USES_BYTES
#define ADD_FOUR_OF_BYTES(k)                         \
    do {                                             \
        four_t four;                                 \
        packed_t first;                              \
        packed_t second;                             \
        LOAD_FOUR(four, a, k);                       \
        LOAD_PACKED(first, second, w, 4 * (k));      \
        s0 = add_products(s0, four, widened(first)); \
        s1 = add_products(s1, four, widened(second)); \
        LOAD_PACKED(first, second, w, 4 * (k) + 8);  \
        s2 = add_products(s2, four, widened(first)); \
        s3 = add_products(s3, four, widened(second)); \
    } while (0)

APART static void one_column(const dense_t *layer, uint32_t output, const int16_t *x,
                             void *values, uint32_t place)
{
    const end_t *const end = &layer->end;
    const int16_t *const stop = x + layer->length;
    const int8_t *w = layer->weight + output * layer->length;
    uint32_t left = layer->outputs;
    while (left >= 4u) {
        const int16_t *a = x;
        int32_t s0 = end->start[output];
        int32_t s1 = end->start[output + 1u];
        int32_t s2 = end->start[output + 2u];
        int32_t s3 = end->start[output + 3u];
        if (layer->twice != 0u) {
            do {
                ADD_FOUR_OF_BYTES(0);
                ADD_FOUR_OF_BYTES(4);
                a += 8;
                w += 32;
            } while (a != stop);
        } else {
            do {
                ADD_FOUR_OF_BYTES(0);
                a += 4;
                w += 16;
            } while (a != stop);
        }
        put_two(end, output, s0, s1, values, place);
        put_two(end, output + 2u, s2, s3, values, place + 2u);
        output += 4u;
        place += 4u;
        left -= 4u;
    }
    for (; left != 0u; --left) {
        const int16_t *at = x;
        int32_t sum = end->start[output];
        while (at != stop) {
            sum += at[0] * w[0] + at[1] * w[2] + at[2] * w[1] + at[3] * w[3];
            at += 4;
            w += 4;
        }
        put_output(end, output, sum, values, place);
        ++output;
        ++place;
    }
}
#endif

#if USES_NIBBLES
#define ADD_FOUR_OF_NIBBLES(k)                          \
    do {                                                \
        four_t four;                                    \
        packed_t first;                                 \
        packed_t second;                                \
        LOAD_FOUR(four, a, k);                          \
        LOAD_PACKED(first, second, w, 2 * (k));         \
        s0 = add_products(s0, four, first_four(first)); \
        s1 = add_products(s1, four, second_four(first)); \
        s2 = add_products(s2, four, first_four(second)); \
        s3 = add_products(s3, four, second_four(second)); \
    } while (0)

APART static void one_column_of_nibbles(const dense_t *layer, uint32_t output,
                                        const int16_t *x, void *values, uint32_t place)
{
    const end_t *const end = &layer->end;
    const int16_t *const stop = x + layer->length;
    const uint8_t *w = layer->nibbles + output * (layer->length / 2u);
    uint32_t left = layer->outputs;
    int32_t less = 0;
    const int16_t *at;
    for (at = x; at != stop; at += 4) {
        less += at[0] + at[1] + at[2] + at[3];
    }
    less *= 8;
    while (left >= 4u) {
        const int16_t *a = x;
        int32_t s0 = end->start[output] - less;
        int32_t s1 = end->start[output + 1u] - less;
        int32_t s2 = end->start[output + 2u] - less;
        int32_t s3 = end->start[output + 3u] - less;
        do {
            ADD_FOUR_OF_NIBBLES(0);
            ADD_FOUR_OF_NIBBLES(4);
            a += 8;
            w += 16;
        } while (a != stop);
        put_two(end, output, s0, s1, values, place);
        put_two(end, output + 2u, s2, s3, values, place + 2u);
        output += 4u;
        place += 4u;
        left -= 4u;
    }
    for (; left != 0u; --left) {
        int32_t sum = end->start[output] - less;
        for (at = x; at != stop; at += 8) {
            uint32_t i;
            for (i = 0; i < 4u; ++i) {
                const int16_t *two = at + 4u * (i & 1u) + (i >> 1);
                sum += (w[i] & 15) * two[0] + (w[i] >> 4) * two[2];
            }
            w += 4;
        }
        put_output(end, output, sum, values, place);
        ++output;
        ++place;
    }
}
#endif
#endif

static void dense(const dense_t *layer, const void *const rows[], void *values,
                  int16_t *work)
{
    uint32_t group;
    uint32_t output = 0;
    for (group = 0; group < layer->groups; ++group) {
        const uint32_t end = output + layer->outputs;
#if VECTORS
        int8_t *const numbers = (int8_t *)(void *)work;
        fill(layer, rows, group, numbers);
        all_outputs(layer, output, numbers, values);
        output = end;
#else
        fill(layer, rows, group, work);
#if USES_COLUMN
        if (layer->flat != 0u) {
            const int16_t *x = work;
            uint32_t place = output;
            uint32_t column;
            for (column = 0; column < layer->columns_out; ++column) {
#if USES_BYTES
                if (layer->weight != NULL) {
                    one_column(layer, output, x, values, place);
                }
#endif
#if USES_NIBBLES
                if (layer->nibbles != NULL) {
                    one_column_of_nibbles(layer, output, x, values, place);
                }
#endif
                x += layer->step;
                place += (uint32_t)layer->groups * layer->outputs;
            }
            output = end;
        }
#endif
#if USES_COLUMNS
        if (layer->flat == 0u) {
            int16_t *const weights = work + (uint32_t)layer->units * layer->pitch;
            const uint32_t length = layer->length;
            while (output != end) {
                if (end - output >= 4u) {
                    unpack(layer, output * length, 4u * length, weights);
                    four_outputs(layer, output, work, weights, values);
                    output += 4u;
                } else {
                    unpack(layer, output * length, length, weights);
                    one_output(layer, output, work, weights, values);
                    output += 1u;
                }
            }
        }
#endif
#endif
    }
}
#endif

#if USES_FILTER
#if VECTORS
/* Four channels at a time. */
APART static void filter_vectors(const filter_t *layer, const int8_t *const from[],
                                 int8_t *values)
{
    const uint32_t channels = layer->channels;
    const uint32_t count = (uint32_t)layer->taps * layer->width;
    const int32_t round = layer->end.round;
    const int32_t last = layer->end.last;
    uint32_t channel;
    for (channel = 0; channel < channels; channel += 4u) {
        const mve_pred16_t lanes = vctp32q(channels - channel);
        const int8_t *weight = layer->weight + channel;
        int32x4_t sums = vldrwq_z_s32(layer->end.start + channel, lanes);
        uint32_t i;
        for (i = 0; i < count; ++i) {
            const int32x4_t factor = vldrbq_z_s32(weight, lanes);
            const int32x4_t numbers = (from[i] != NULL)
                                          ? vldrbq_z_s32(from[i] + channel, lanes)
                                          : vdupq_n_s32(layer->zero_in);
            sums = vaddq_s32(sums, vmulq_s32(numbers, factor));
            weight += channels;
        }
        vstrbq_p_s32(values + channel,
                     short_outputs(sums,
                                   vldrwq_z_s32(layer->end.multiplier + channel, lanes),
                                   round, last),
                     lanes);
    }
}
#else
/* Three taps, none of which is border. */
APART static void filter_three(const filter_t *layer, const int8_t *const from[],
                               int8_t *values)
{
    const int8_t *weight = layer->weight;
    const int8_t *a = from[0];
    const int8_t *b = from[1];
    const int8_t *c = from[2];
    const int32_t *start = layer->end.start;
    const int32_t *multiplier = layer->end.multiplier;
    const int32_t round = layer->end.round;
    const uint32_t last = layer->end.last;
    const uint32_t channels = layer->channels;
    const int8_t *const stop = a + channels;
    ROLLED
    do {
        const int32_t sum = *start + weight[0] * *a + weight[channels] * *b +
                            weight[2u * channels] * *c;
        *values = short_output(sum, *multiplier, round, last);
        ++weight;
        ++a;
        ++b;
        ++c;
        ++start;
        ++multiplier;
        ++values;
    } while (a != stop);
}
#endif

APART static void filter(const filter_t *layer, const void *const rows[], int8_t *values)
{
    const end_t *const end = &layer->end;
    const uint32_t channels = layer->channels;
    const uint32_t count = (uint32_t)layer->taps * layer->width;
    const int8_t *from[MOST_WINDOW];
    uint32_t column;
    uint32_t channel;
    uint32_t place = 0;
    for (column = 0; column < layer->columns_out; ++column) {
        const uint32_t brief = (end->kind == (uint8_t)NARROW_SHORT) ? 1u : 0u;
#if !VECTORS
        uint32_t whole = brief;
#endif
        uint32_t i = 0;
        uint32_t tap;
        uint32_t across;
        for (tap = 0; tap < layer->taps; ++tap) {
            uint32_t at = column * layer->stride - layer->left;
            for (across = 0; across < layer->width; ++across) {
                from[i] = NULL;
                if ((rows[tap] != NULL) && (at < layer->columns_in)) {
                    from[i] = (const int8_t *)rows[tap] + at * channels;
                }
#if !VECTORS
                else {
                    whole = 0;
                }
#endif
                at += layer->dilation;
                ++i;
            }
        }
#if VECTORS
        if (brief != 0u) {
            filter_vectors(layer, from, values + place);
            place += channels;
            continue;
        }
#else
        if ((count == 3u) && (whole != 0u)) {
            filter_three(layer, from, values + place);
            place += channels;
            continue;
        }
#endif
        for (channel = 0; channel < channels; ++channel) {
            int32_t sum = end->start[channel];
            for (i = 0; i < count; ++i) {
                const int32_t value =
                    (from[i] != NULL) ? from[i][channel] : layer->zero_in;
                sum += layer->weight[i * channels + channel] * value;
            }
            put_output(end, channel, sum, values, place);
            ++place;
        }
    }
}
#endif

#if USES_MAXIMUM
static void maximum(const maximum_t *layer, const void *const rows[], int8_t *values)
{
    const uint32_t channels = layer->channels;
    uint32_t column;
    uint32_t channel;
    for (column = 0; column < layer->columns_out; ++column) {
        const uint32_t first = column * layer->stride - layer->left;
        for (channel = 0; channel < channels; ++channel) {
            int8_t most = -128;
            uint32_t tap;
            uint32_t across;
            for (tap = 0; tap < layer->taps; ++tap) {
                for (across = 0; across < layer->width; ++across) {
                    const uint32_t place = first + across;
                    if ((rows[tap] != NULL) && (place < layer->columns_in)) {
                        const int8_t value =
                            ((const int8_t *)rows[tap])[place * channels + channel];
                        most = (value > most) ? value : most;
                    }
                }
            }
            values[column * channels + channel] = most;
        }
    }
}
#endif

#if USES_TABLE
static void look_up(const table_t *layer, const int8_t *from, void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const uint32_t place = (uint32_t)(from[i] + 128);
        if (layer->wide != NULL) {
            ((int32_t *)values)[i] = layer->wide[place];
        } else {
            ((int8_t *)values)[i] = layer->narrow[place];
        }
    }
}
#endif

#if USES_SUM
APART static void add(const pair_t *layer, const void *a, const void *b, void *values)
{
    const uint32_t count = layer->count;
    uint32_t i;
    if (layer->last != 0u) {
        /* int8 alone, 8 bits higher, so that upper words are enough */
        const int8_t *left = (const int8_t *)a;
        const int8_t *right = (const int8_t *)b;
        int8_t *to = (int8_t *)values;
        const int8_t *const end = left + count;
        const int32_t one = layer->multiplier[0];
        const int32_t two = layer->multiplier[1];
        const int32_t zero_one = layer->zero_in[0] * 256;
        const int32_t zero_two = layer->zero_in[1] * 256;
        const uint32_t last = layer->last;
        const int32_t round =
            (int32_t)(((uint32_t)layer->zero_out << last) + (((uint32_t)1 << last) >> 1));
        ROLLED
        do {
            const int64_t sum = (int64_t)(*left * 256 - zero_one) * one +
                                (int64_t)(*right * 256 - zero_two) * two;
            *to = saturate_short(((int32_t)(sum >> 32) + round) >> last);
            ++left;
            ++right;
            ++to;
        } while (left != end);
        return;
    }
    for (i = 0; i < count; ++i) {
        const int64_t left = fetch(a, layer->wide_in[0], i);
        const int64_t right = fetch(b, layer->wide_in[1], i);
        const int64_t sum = left * layer->multiplier[0] +
                            right * layer->multiplier[1] + layer->offset;
        store(values, layer->wide, i, sum >> layer->shift, layer->zero_out);
    }
}
#endif

#if USES_PRODUCT
static void multiply(const pair_t *layer, const void *a, const void *b, void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const int32_t x = fetch(a, layer->wide_in[0], i) - layer->zero_in[0];
        const int32_t y = fetch(b, layer->wide_in[1], i) - layer->zero_in[1];
        const int64_t product =
            round_shift(x, layer->shifts[0]) * round_shift(y, layer->shifts[1]);
        store(values, layer->wide, i,
              rescale(product, layer->multiplier[0], layer->shift, layer->before),
              layer->zero_out);
    }
}
#endif

#if USES_RELU
static void rectify(const single_t *layer, const int32_t *from, int32_t *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        values[i] = (from[i] > 0) ? from[i] : 0;
    }
}
#endif

#if USES_HARD_SWISH
static void hard_swish(const single_t *layer, const int32_t *from, void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const int64_t x = from[i];
        const int64_t most = 2 * (int64_t)layer->three;
        int64_t gate = x + layer->three;
        gate = (gate < 0) ? 0 : ((gate > most) ? most : gate);
        store(values, layer->wide, i,
              rescale(x * gate, layer->multiplier, layer->shift, layer->before),
              layer->zero_out);
    }
}
#endif

#if USES_LINEAR
static void linear(const linear_t *layer, const int32_t *from, void *values)
{
    uint32_t row;
    uint32_t output;
    uint32_t i;
    uint32_t place = 0;
    for (row = 0; row < layer->rows; ++row) {
        const int8_t *weight = layer->weight;
        for (output = 0; output < layer->outputs; ++output) {
            const int32_t multiplier = layer->multiplier[output];
            const uint32_t shift = layer->shift[output];
            const int64_t bias = layer->bias[output];
            int64_t sum = 0;
            for (i = 0; i < layer->inputs; ++i) {
                sum += (int64_t)*weight * from[i];
                ++weight;
            }
            if (layer->wide != 0u) {
                sum = rescale(sum, multiplier, shift, layer->before) + bias;
            } else {
                sum = rescale(sum + bias, multiplier, shift, layer->before);
            }
            store(values, layer->wide, place, sum, layer->zero_out);
            ++place;
        }
        from += layer->inputs;
    }
}
#endif

#if USES_MATRIX_PRODUCT
static void matrix_product(const product_t *layer, const void *a, const void *b,
                           void *values)
{
    uint32_t i;
    uint32_t j;
    uint32_t k;
    for (i = 0; i < layer->rows; ++i) {
        for (j = 0; j < layer->columns; ++j) {
            int64_t sum = 0;
            for (k = 0; k < layer->terms; ++k) {
                const int32_t x =
                    fetch(a, layer->wide_in[0], i * layer->terms + k) -
                    layer->zero_in[0];
                const int32_t y =
                    fetch(b, layer->wide_in[1], k * layer->columns + j) -
                    layer->zero_in[1];
                sum += round_shift(x, layer->shifts[0]) *
                       round_shift(y, layer->shifts[1]);
            }
            store(values, layer->wide, i * layer->columns + j,
                  rescale(sum, layer->multiplier, layer->shift, layer->before),
                  layer->zero_out);
        }
    }
}
#endif

#if USES_CONCAT
static void concatenate(const concat_t *layer, const void *const from[],
                        int32_t *values)
{
    uint32_t outer;
    uint32_t input;
    uint32_t i;
    for (outer = 0; outer < layer->outer; ++outer) {
        for (input = 0; input < layer->inputs; ++input) {
            const uint32_t inner = layer->inner[input];
            const int32_t *part = (const int32_t *)from[input] + outer * inner;
            for (i = 0; i < inner; ++i) {
                *values = (int32_t)round_shift(part[i], layer->shifts[input]);
                ++values;
            }
        }
    }
}
#endif

#if USES_GATHER
static void gather(const gather_t *layer, const void *from, void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        if (layer->wide != 0u) {
            ((int32_t *)values)[i] = ((const int32_t *)from)[layer->order[i]];
        } else {
            ((int8_t *)values)[i] = ((const int8_t *)from)[layer->order[i]];
        }
    }
}
#endif

/* Computes what has no memory of its own. */
static void compute(uint32_t kind, uint32_t layer, const void *const from[],
                    void *values, int16_t *work)
{
    switch (kind) {
#if USES_DENSE
    case DENSE:
        dense(&dense_layers[layer], from, values, work);
        break;
#endif
#if USES_FILTER
    case FILTER:
        filter(&filter_layers[layer], from, (int8_t *)values);
        break;
#endif
#if USES_MAXIMUM
    case MAXIMUM:
        maximum(&maximum_layers[layer], from, (int8_t *)values);
        break;
#endif
#if USES_TABLE
    case TABLE:
        look_up(&table_layers[layer], (const int8_t *)from[0], values);
        break;
#endif
#if USES_SUM
    case SUM:
        add(&pair_layers[layer], from[0], from[1], values);
        break;
#endif
#if USES_PRODUCT
    case PRODUCT:
        multiply(&pair_layers[layer], from[0], from[1], values);
        break;
#endif
#if USES_RELU
    case RELU:
        rectify(&single_layers[layer], (const int32_t *)from[0],
                (int32_t *)values);
        break;
#endif
#if USES_HARD_SWISH
    case HARD_SWISH:
        hard_swish(&single_layers[layer], (const int32_t *)from[0], values);
        break;
#endif
#if USES_LINEAR
    case LINEAR:
        linear(&linear_layers[layer], (const int32_t *)from[0], values);
        break;
#endif
#if USES_MATRIX_PRODUCT
    case MATRIX_PRODUCT:
        matrix_product(&product_layers[layer], from[0], from[1], values);
        break;
#endif
#if USES_CONCAT
    case CONCAT:
        concatenate(&concat_layers[layer], from, (int32_t *)values);
        break;
#endif
#if USES_GATHER
    case GATHER:
        gather(&gather_layers[layer], from[0], values);
        break;
#endif
    default:
        /* a table of this model names no other kind */
        break;
    }
    (void)layer;
    (void)from;
    (void)values;
    (void)work;
}

/* -- pooling ---------------------------------------------------------------- */

#if USES_SOFTMAX_POOL
/* Adds a row to sums: numerators, then denominators, and their references. */
APART static void softmax_add(const pool_t *pool, int64_t *sums, int32_t *references,
                              const int32_t *value, const int32_t *score, uint32_t row)
{
    const uint32_t count = pool->count;
    const uint32_t last = pool->last;
    uint32_t i;
    for (i = 0; i < count; ++i) {
        int64_t logarithm;
        int32_t needed;
        uint32_t below;
        uint32_t place;
        uint32_t weight;
        if (last != 0u) {
            const int32_t half = (int32_t)(((uint32_t)1 << last) >> 1);
            logarithm = (upper(score[i], pool->multiplier) + half) >> last;
            needed = -((-(int32_t)logarithm) >> 16);
        } else {
            logarithm = rescale(score[i], pool->multiplier, pool->shift, pool->before);
            needed = (int32_t)(-((-logarithm) >> 16));
        }
        if (row == 0u) {
            references[i] = needed;
        }
        if (needed > references[i]) {
            const uint32_t rise = (uint32_t)(needed - references[i]);
            const uint32_t drop = (rise < 62u) ? rise : 62u;
            sums[i] = round_shift(sums[i], drop);
            sums[count + i] = round_shift(sums[count + i], drop);
            references[i] = needed;
        }
        if (last != 0u) {
            below = (uint32_t)(references[i] * 65536 - (int32_t)logarithm);
        } else {
            const uint64_t far = (uint64_t)((int64_t)references[i] * 65536 - logarithm);
            /* there is nothing left that far below */
            below = (far < 0x7fffffffu) ? (uint32_t)far : 0x7fffffffu;
        }
        place = (below >> 8) & 255u;
        /* the table holds what is missing to 65536 */
        weight = 65536u - exp_table[place] -
                 ((((uint32_t)exp_table[place + 1u] - exp_table[place]) * (below & 255u) +
                   128u) >>
                  8);
        below >>= 16;
        weight = (below < 18u) ? ((weight + (((uint32_t)1 << below) >> 1)) >> below) : 0u;
        sums[i] += (int64_t)(int32_t)weight * value[i];
        sums[count + i] += (int64_t)weight;
    }
}

static void softmax_result(const pool_t *pool, const int64_t *sums, int32_t *values)
{
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t denominator = sums[pool->count + i];
        values[i] = (int32_t)divide(sums[i] + denominator / 2, denominator);
    }
}
#endif

#if USES_MEAN_POOL
static void mean_add(const pool_t *pool, int64_t *sums, const void *from)
{
    uint32_t i;
    for (i = 0; i < pool->numbers; ++i) {
        sums[pool->target[i]] += fetch(from, pool->wide_in, i) - pool->zero_in;
    }
}

static void mean_result(const pool_t *pool, const int64_t *sums, uint32_t rows,
                        void *values)
{
    const int64_t count = (int64_t)rows * (pool->numbers / pool->count);
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t total = sums[i] * ((int64_t)1 << pool->fraction);
        const int64_t mean = divide(total + count / 2, count);
        store(values, pool->wide, i,
              rescale(mean, pool->multiplier, pool->shift, pool->before),
              pool->zero_out);
    }
}
#endif

/* -- schedule --------------------------------------------------------------- */

/* Rows of a signal that has so many frames. */
static uint32_t rows_of(uint32_t period, int32_t extra, uint32_t frames)
{
    const int32_t places = (int32_t)frames + extra;
    return (places > 0) ? ((uint32_t)places / period) : 0u;
}

/* Row of a line, NULL for border. */
static const void *row_at(const wav2small_state *state, const line_t *line,
                          uint32_t row, const moment_t *now)
{
    uint32_t heard;
    if (row >= 0x80000000u) {
        return NULL; /* before the first one */
    }
    if (now->frames == 0u) {
        if (now->frame == line->delay + row * line->period) {
            return state->scratch.bytes + line->push_place;
        }
    } else {
        if (row >= rows_of(line->period, line->extra, now->frames)) {
            return NULL;
        }
        heard = (now->heard > line->delay)
                    ? ((now->heard - line->delay - 1u) / line->period + 1u)
                    : 0u;
        if (row >= heard) {
            return state->scratch.bytes + line->result_place +
                   ((line->whole != 0u) ? ((row - heard) * line->bytes) : 0u);
        }
    }
    return state->lines.bytes + line->ring + (row % line->keep) * line->bytes;
}

/* Makes a row. */
static void run(wav2small_state *state, const stage_t *stage, uint32_t row,
                moment_t *now)
{
    const void *from[MOST_TAPS];
    int8_t *bytes = state->scratch.bytes;
    uint32_t i;
    void *values = NULL;
    const uint32_t work = (now->frames == 0u) ? stage->push_work : stage->result_work;
    for (i = 0; i < stage->taps; ++i) {
        from[i] = row_at(state, &lines[stage->input[0]],
                         row * stage->stride + i * stage->dilation - stage->top, now);
    }
    for (i = 0; i < stage->more; ++i) {
        from[stage->taps + i] = row_at(state, &lines[stage->input[1u + i]], row, now);
    }
    if (stage->kind < (uint32_t)SOFTMAX_POOL) {
        const line_t *line = &lines[stage->output];
        uint32_t place = line->push_place;
        if (now->frames != 0u) {
            place = line->result_place;
            if (line->whole != 0u) {
                const uint32_t heard =
                    (now->heard > line->delay)
                        ? ((now->heard - line->delay - 1u) / line->period + 1u)
                        : 0u;
                place += (row - heard) * line->bytes;
            }
        }
        values = bytes + place;
    }
    switch (stage->kind) {
    case FRONT:
        front(state, now, (int8_t *)values, (int32_t *)(void *)(bytes + work));
        break;
#if USES_KEEP
    case KEEP: {
        const line_t *line = &lines[stage->input[0]];
        copy(state->lines.bytes + line->ring + (row % line->keep) * line->bytes, from[0],
             line->bytes);
        break;
    }
#endif
#if USES_SOFTMAX_POOL
    case SOFTMAX_POOL: {
        const pool_t *pool = &pool_layers[stage->layer];
        int64_t *sums = state->sums + pool->sums;
        int32_t *references = state->references + pool->references;
        if (now->frames != 0u) {
            sums = (int64_t *)(void *)(bytes + work);
            references = (int32_t *)(void *)(sums + 2u * pool->count);
        }
        softmax_add(pool, sums, references, (const int32_t *)from[0],
                    (const int32_t *)from[1], row);
        break;
    }
#endif
#if USES_MEAN_POOL
    case MEAN_POOL: {
        const pool_t *pool = &pool_layers[stage->layer];
        mean_add(pool,
                 (now->frames != 0u) ? (int64_t *)(void *)(bytes + work)
                                     : (state->sums + pool->sums),
                 from[0]);
        break;
    }
#endif
    default:
        compute(stage->kind, stage->layer, from, values,
                (int16_t *)(void *)(bytes + work));
        break;
    }
#if defined(WAV2SMALL_TRACE)
    if (values != NULL) {
        WAV2SMALL_TRACE((int)(stage - stages), row, values);
    }
#endif
}

/* Makes the rows that come with a frame, of all stages. */
static void advance(wav2small_state *state)
{
    moment_t now;
    uint32_t i;
    now.frame = state->frames;
    now.heard = state->frames;
    now.frames = 0;
#if PAST_FRAMES
    now.past = state->past_total;
#endif
    for (i = 0; i < (uint32_t)STAGES; ++i) {
        const stage_t *stage = &stages[i];
        if (now.frame >= stage->delay) {
            const uint32_t since = now.frame - stage->delay;
            if ((since % stage->period) == 0u) {
                run(state, stage, since / stage->period, &now);
            }
        }
    }
#if PAST_FRAMES
    state->past_total = now.past;
#endif
    state->frames += 1u;
}

/* Begins the pools of a part of a result with what they have so far. */
static void open_pool(wav2small_state *state, const stage_t *stage)
{
#if USES_SOFTMAX_POOL || USES_MEAN_POOL
    const pool_t *pool = &pool_layers[stage->layer];
    int64_t *sums = (int64_t *)(void *)(state->scratch.bytes + stage->result_work);
    const uint32_t softmax = (stage->kind == (uint32_t)SOFTMAX_POOL) ? 1u : 0u;
    const uint32_t count = pool->count * (1u + softmax);
    uint32_t i;
    for (i = 0; i < count; ++i) {
        sums[i] = state->sums[pool->sums + i];
    }
#if USES_SOFTMAX_POOL
    if (softmax != 0u) {
        int32_t *references = (int32_t *)(void *)(sums + count);
        for (i = 0; i < pool->count; ++i) {
            references[i] = state->references[pool->references + i];
        }
    }
#endif
#else
    (void)state;
    (void)stage;
#endif
}

/* Makes numbers of the sums of a pool. */
static void close_pool(wav2small_state *state, const stage_t *stage, uint32_t rows)
{
#if USES_SOFTMAX_POOL || USES_MEAN_POOL
    const pool_t *pool = &pool_layers[stage->layer];
    int8_t *bytes = state->scratch.bytes;
    const int64_t *sums = (const int64_t *)(const void *)(bytes + stage->result_work);
    void *values = bytes + lines[stage->output].result_place;
#if USES_SOFTMAX_POOL
    if (stage->kind == (uint32_t)SOFTMAX_POOL) {
        softmax_result(pool, sums, (int32_t *)values);
    }
#endif
#if USES_MEAN_POOL
    if (stage->kind == (uint32_t)MEAN_POOL) {
        mean_result(pool, sums, rows, values);
    }
#endif
#else
    (void)state;
    (void)stage;
#endif
    (void)rows;
}

/* Makes the rows that are still to come of the stages from one to another. */
static void end_part(wav2small_state *state, uint32_t start, uint32_t stop,
                     moment_t *now)
{
    uint32_t end = now->heard;
    uint32_t i;
    for (i = start; i < stop; ++i) {
        const stage_t *stage = &stages[i];
        const uint32_t rows = rows_of(stage->period, stage->extra, now->frames);
        const uint32_t until = stage->delay + rows * stage->period;
        end = (until > end) ? until : end;
        if (stage->kind >= (uint32_t)SOFTMAX_POOL) {
            open_pool(state, stage);
        }
    }
    for (now->frame = now->heard; now->frame < end; now->frame += 1u) {
        for (i = start; i < stop; ++i) {
            const stage_t *stage = &stages[i];
            if ((now->frame >= stage->delay) && (stage->kind != (uint32_t)KEEP)) {
                const uint32_t since = now->frame - stage->delay;
                const uint32_t row = since / stage->period;
                if (((since % stage->period) == 0u) &&
                    (row < rows_of(stage->period, stage->extra, now->frames))) {
                    run(state, stage, row, now);
                }
            }
        }
    }
    for (i = start; i < stop; ++i) {
        const stage_t *stage = &stages[i];
        if (stage->kind >= (uint32_t)SOFTMAX_POOL) {
            close_pool(state, stage,
                       rows_of(stage->period, stage->extra, now->frames));
        }
    }
}

/* Computes what follows the pooling. */
static void run_head(wav2small_state *state)
{
#if HEAD_STAGES
    uint32_t i;
    uint32_t input;
    int8_t *bytes = state->scratch.bytes;
    for (i = 0; i < (uint32_t)HEAD_STAGES; ++i) {
        const stage_t *stage = &stages[STAGES + i];
        const void *from[MOST_INPUTS];
        for (input = 0; input < 1u + (uint32_t)stage->more; ++input) {
            from[input] = bytes + lines[stage->input[input]].result_place;
        }
        compute(stage->kind, stage->layer, from,
                bytes + lines[stage->output].result_place,
                (int16_t *)(void *)(bytes + stage->result_work));
    }
#else
    (void)state;
#endif
}

/* -- what is called --------------------------------------------------------- */

static wav2small_status check(const wav2small_state *state)
{
    if (state == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    return (state->ready == READY) ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
}

static void begin(wav2small_state *state)
{
    uint32_t i;
    state->count = 0;
    state->frames = 0;
    state->fill = PADDING_BEFORE;
    state->skip = 0;
    for (i = 0; i < (uint32_t)WINDOW_LENGTH; ++i) {
        state->samples[i] = 0;
    }
#if PAST_FRAMES
    state->past_total = 0;
#endif
    for (i = 0; i < (uint32_t)SUMS; ++i) {
        state->sums[i] = 0;
    }
}

#if NORMALISED
/* a full scale of 2^15 in the mean's 11 bits, and twice what a logarithm can be */
#define MAX_MEAN (1 << 26)
#define MAX_GAIN (128 << FRACTION)

wav2small_status wav2small_measure(const int16_t *samples, size_t count,
                                   wav2small_level *level)
{
    int64_t total = 0;
    uint64_t squares = 0;
    uint64_t size;
    uint64_t number;
    uint64_t high;
    uint64_t low;
    uint64_t more;
    size_t i;
    if ((samples == NULL) || (level == NULL)) {
        return WAV2SMALL_NO_POINTER;
    }
    if (count < (size_t)WAV2SMALL_MIN_SAMPLES) {
        return WAV2SMALL_TOO_SHORT;
    }
    if (count > (size_t)WAV2SMALL_MAX_SAMPLES) {
        return WAV2SMALL_TOO_LONG;
    }
    for (i = 0; i < count; ++i) {
        total += samples[i];
        squares += (uint64_t)((int32_t)samples[i] * samples[i]);
    }
    number = count;
    size = (uint64_t)((total < 0) ? -total : total);
    /* number * squares - size * size in two words, the lower one of 32 bits */
    low = number * (squares & 0xffffffffu);
    high = number * (squares >> 32) + (low >> 32);
    low &= 0xffffffffu;
    more = (size & 0xffffffffu) * (size & 0xffffffffu);
    high -= (((size >> 32) * (size >> 32)) << 32) +
            2u * (size >> 32) * (size & 0xffffffffu) + (more >> 32);
    if (low < (more & 0xffffffffu)) {
        low += (uint64_t)1 << 32;
        high -= 1u;
    }
    low -= more & 0xffffffffu;
    /* 8 bits higher, and the floor */
    low <<= 8;
    high = (high << 8) + (low >> 32);
    low &= 0xffffffffu;
    more = (uint64_t)POWER_FLOOR * ((number * number) & 0xffffffffu);
    low += more & 0xffffffffu;
    high += (uint64_t)POWER_FLOOR * ((number * number) >> 32) + (more >> 32) +
            (low >> 32);
    low &= 0xffffffffu;
    level->mean = (int32_t)divide(total * 4096 + (int64_t)number, 2 * (int64_t)number);
    level->gain = log2_of(high, (uint32_t)low) - 2 * log2_of(0, (uint32_t)number) - (38 << FRACTION);
    return WAV2SMALL_OK;
}

wav2small_status wav2small_init(wav2small_state *state, const wav2small_level *level)
{
    if ((state == NULL) || (level == NULL)) {
        return WAV2SMALL_NO_POINTER;
    }
    /* what is beyond 16-bit samples would overflow where it is used */
    if ((level->mean < -MAX_MEAN) || (level->mean > MAX_MEAN) ||
        (level->gain < -MAX_GAIN) || (level->gain > MAX_GAIN)) {
        return WAV2SMALL_NO_LEVEL;
    }
    state->level = *level;
    state->ready = READY;
    begin(state);
    return WAV2SMALL_OK;
}
#else
wav2small_status wav2small_init(wav2small_state *state)
{
    if (state == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    state->ready = READY;
    begin(state);
    return WAV2SMALL_OK;
}
#endif

wav2small_status wav2small_reset(wav2small_state *state)
{
    const wav2small_status status = check(state);
    if (status == WAV2SMALL_OK) {
        begin(state);
    }
    return status;
}

wav2small_status wav2small_push(wav2small_state *state, const int16_t *samples,
                                size_t count)
{
    const wav2small_status status = check(state);
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if ((samples == NULL) && (count != 0u)) {
        return WAV2SMALL_NO_POINTER;
    }
    if (count > (size_t)WAV2SMALL_MAX_SAMPLES - state->count) {
        return WAV2SMALL_TOO_LONG;
    }
    state->count += (uint32_t)count;
    while (count != 0u) {
        size_t taken;
        if (state->skip != 0u) {
            taken = (count < state->skip) ? count : (size_t)state->skip;
            state->skip = (uint16_t)(state->skip - taken);
        } else {
            const size_t room = (size_t)WINDOW_LENGTH - state->fill;
            taken = (count < room) ? count : room;
            copy(state->samples + state->fill, samples, 2u * (uint32_t)taken);
            state->fill = (uint16_t)(state->fill + taken);
            if (state->fill == (uint16_t)WINDOW_LENGTH) {
                advance(state);
#if HOP_LENGTH < WINDOW_LENGTH
                copy(state->samples, state->samples + HOP_LENGTH,
                     2u * (WINDOW_LENGTH - HOP_LENGTH));
                state->fill = WINDOW_LENGTH - HOP_LENGTH;
#else
                state->fill = 0;
                state->skip = HOP_LENGTH - WINDOW_LENGTH;
#endif
            }
        }
        samples += taken;
        count -= taken;
    }
    return WAV2SMALL_OK;
}

wav2small_status wav2small_integers(wav2small_state *state,
                                    int32_t integers[WAV2SMALL_SCORES])
{
    const wav2small_status status = check(state);
    moment_t now;
    uint32_t i;
    uint32_t start = 0;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (integers == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if (state->count < (uint32_t)WAV2SMALL_MIN_SAMPLES) {
        return WAV2SMALL_TOO_SHORT;
    }
    now.frame = state->frames;
    now.heard = state->frames;
    now.frames = ((uint32_t)PADDING + state->count - (uint32_t)WINDOW_LENGTH) /
                     (uint32_t)HOP_LENGTH +
                 1u;
#if PAST_FRAMES
    now.past = state->past_total;
#endif
    for (i = 1; i <= (uint32_t)STAGES; ++i) {
        if ((i == (uint32_t)STAGES) || (stages[i].part != stages[start].part)) {
            end_part(state, start, i, &now);
            start = i;
        }
    }
    run_head(state);
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
#if SCORES_WIDE
        integers[i] = ((const int32_t *)(const void *)(state->scratch.bytes +
                                                       SCORES_PLACE))[i];
#else
        integers[i] = state->scratch.bytes[SCORES_PLACE + i];
#endif
    }
    return WAV2SMALL_OK;
}

wav2small_status wav2small_result(wav2small_state *state,
                                  float scores[WAV2SMALL_SCORES])
{
    int32_t integers[WAV2SMALL_SCORES];
    wav2small_status status = check(state);
    uint32_t i;
    if ((status == WAV2SMALL_OK) && (scores == NULL)) {
        status = WAV2SMALL_NO_POINTER;
    }
    if (status == WAV2SMALL_OK) {
        status = wav2small_integers(state, integers);
    }
    if (status == WAV2SMALL_OK) {
        for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
            scores[i] = (float)(integers[i] - WAV2SMALL_ZERO_POINT) * WAV2SMALL_STEP;
        }
    }
    return status;
}
