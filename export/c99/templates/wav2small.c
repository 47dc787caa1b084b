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

/* Functions with the loops that take the time stay on their own: compilers then
 * keep more of their numbers in registers. */
#if defined(__GNUC__)
#define APART __attribute__((noinline))
#else
#define APART
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

/* Convolution or product with a matrix, of int8. */
typedef struct {
    const int8_t *weight;      /* of four outputs, then of those that are left */
    const uint8_t *nibbles;    /* or `length` / 2 bytes of two weights */
    const int32_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
    uint16_t length;           /* of a patch: taps * width * channels and zeros */
    uint16_t groups;
    uint16_t outputs;          /* of a group */
    uint16_t channels;         /* of a group */
    uint16_t width;            /* taps across */
    uint16_t dilation;         /* across */
    uint16_t stride;           /* across */
    uint16_t left;             /* border */
    uint16_t columns_in;
    uint16_t columns_out;
    int16_t zero_in;
    int16_t zero_out;
    uint8_t taps;
    uint8_t wide;              /* whether the output is int32 */
    uint8_t fast;              /* whether products are used from bit 32 on */
    uint8_t solid;             /* whether neighbours across lie side by side */
} dense_t;

/* Filter of each channel by itself; weights lie tap by tap. */
typedef dense_t filter_t;

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
    uint8_t fraction;
    uint8_t wide_in;
    uint8_t wide;
} pool_t;

/* The kinds of stages; a model has USES_.. of those that it has. */
enum {
    FRONT, KEEP, DENSE, FILTER, MAXIMUM, TABLE, SUM, PRODUCT, RELU, HARD_SWISH,
    LINEAR, MATRIX_PRODUCT, CONCAT, GATHER, SOFTMAX_POOL, MEAN_POOL
};

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
#if defined(__ARM_FEATURE_SAT)
    return (int8_t)__ssat(a, 8);
#else
    return (int8_t)((a > 127) ? 127 : ((a < -128) ? -128 : a));
#endif
}
#endif

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

static uint32_t bit_length(uint64_t a)
{
    uint32_t bits = 0;
    uint32_t rest;
    uint32_t step;
    if ((a >> 32) != 0u) {
        bits = 32;
        a >>= 32;
    }
    rest = (uint32_t)a;
    for (step = 16; step != 0u; step >>= 1) {
        if ((rest >> step) != 0u) {
            rest >>= step;
            bits += step;
        }
    }
    return bits + rest;
}

/* Logarithm to base 2 of high * 2^32 + low, which is not 0, in steps of 2^-20. */
static int32_t log2_of(uint64_t high, uint64_t low)
{
    uint32_t more = 0;
    uint32_t exponent;
    uint32_t rest;
    uint32_t place;
    int32_t from;
    int32_t step;
    uint64_t a = high;
    if ((high >> 25) != 0u) {
        more = 32;
    } else {
        a = (high << 32) | low;
    }
    exponent = bit_length(a) - 1u;
    rest = (uint32_t)((exponent >= 24u) ? (a >> (exponent - 24u))
                                        : (a << (24u - exponent)));
    rest -= (uint32_t)1 << 24;
    place = rest >> 16;
    from = log_table[place];
    step = log_table[place + 1u] - from;
    return (int32_t)((exponent + more) << FRACTION) + from +
           (int32_t)(((int64_t)step * (int64_t)(rest & 0xffffu) + 32768) >> 16);
}

static int32_t scaled(int64_t product)
{
    return (int32_t)((product + ((int64_t)1 << 30)) >> 31);
}

#if FOURIER_LENGTH > 8
/* Bins k, half - k, quarter - k and quarter + k of a block, for all k above 0. */
static inline void butterflies(int32_t *x, uint32_t size)
{
    const uint32_t step = 4u * ((uint32_t)FOURIER_LENGTH / size);
    const int32_t *factor = twiddles + step - 4u;
    const uint32_t half = size / 2u;
    const uint32_t quarter = size / 4u;
    int32_t *up = x + 1;
    int32_t *down = x + half - 1u;
    int32_t *left = x + quarter - 1u;
    int32_t *right = x + quarter + 1u;
    while (up < left) {
        const int32_t a = up[half];
        const int32_t b = left[half];
        const int32_t c = right[half];
        const int32_t d = down[half];
        const int32_t one = scaled((int64_t)a * factor[0] + (int64_t)b * factor[1]);
        const int32_t three = scaled((int64_t)c * factor[2] + (int64_t)d * factor[3]);
        const int32_t first = scaled((int64_t)b * factor[0] + (int64_t)-a * factor[1]);
        const int32_t third = scaled((int64_t)d * factor[2] + (int64_t)-c * factor[3]);
        int32_t same = *up;
        int32_t other = *down;
        *up = same + (one + three);
        *down = same - (one + three);
        down[half] = (first + third) + other;
        up[half] = (first + third) - other;
        same = *left;
        other = *right;
        *left = same - (first - third);
        *right = same + (first - third);
        right[half] = other - (one - three);
        left[half] = -other - (one - three);
        ++up;
        --down;
        --left;
        ++right;
        factor += step;
    }
}

/* The same with sizes that compilers know, so that offsets are no variables. */
APART static void all_butterflies(int32_t *x, uint32_t size)
{
    switch (size) {
#if FOURIER_LENGTH >= 1024
    case 1024:
        butterflies(x, 1024);
        break;
#endif
#if FOURIER_LENGTH >= 512
    case 512:
        butterflies(x, 512);
        break;
#endif
#if FOURIER_LENGTH >= 256
    case 256:
        butterflies(x, 256);
        break;
#endif
#if FOURIER_LENGTH >= 128
    case 128:
        butterflies(x, 128);
        break;
#endif
#if FOURIER_LENGTH >= 64
    case 64:
        butterflies(x, 64);
        break;
#endif
#if FOURIER_LENGTH >= 32
    case 32:
        butterflies(x, 32);
        break;
#endif
    default:
        butterflies(x, 16);
        break;
    }
}
#endif

/* Bins of a block from those of its half and its two quarters. */
static void join(int32_t *x, uint32_t size)
{
    const uint32_t half = size / 2u;
    const uint32_t quarter = size / 4u;
    const uint32_t eighth = size / 8u;
    const int32_t first = x[0];
    int32_t one = x[half];
    int32_t three = x[half + quarter];
    x[0] = first + (one + three);
    x[half] = first - (one + three);
    x[half + quarter] = three - one;
    if (eighth != 0u) {
        const int32_t real = x[eighth];
        const int32_t imaginary = x[half - eighth];
        int32_t total;
        int32_t turned;
        one = x[half + eighth];
        three = x[size - eighth];
        total = scaled((int64_t)(one - three) * FOURIER_ROOT);
        turned = scaled((int64_t)(one + three) * FOURIER_ROOT);
        x[eighth] = real + total;
        x[half - eighth] = real - total;
        x[size - eighth] = imaginary - turned;
        x[half + eighth] = -imaginary - turned;
    }
#if FOURIER_LENGTH > 8
    if (eighth > 1u) {
        all_butterflies(x, size);
    }
#endif
}

/* Fourier transform of real numbers in the order of reversed bits, in place:
 * real parts of bins 0 .. half, imaginary parts of bins half - 1 .. 1. */
static void transform(int32_t *values)
{
    uint32_t size;
    for (size = 2; size <= (uint32_t)FOURIER_LENGTH; size *= 2u) {
        /* blocks whose number ends in an even number of ones */
        uint32_t start = 0;
        uint32_t step = 2u * size;
        while (start < (uint32_t)FOURIER_LENGTH) {
            uint32_t place;
            for (place = start; place < (uint32_t)FOURIER_LENGTH; place += step) {
                if (size == 2u) {
                    const int32_t first = values[place];
                    const int32_t second = values[place + 1u];
                    values[place] = first + second;
                    values[place + 1u] = first - second;
                } else {
                    join(values + place, size);
                }
            }
            start = 2u * step - size;
            step *= 4u;
        }
    }
}

static int32_t window_at(uint32_t n)
{
#if WINDOW_SYMMETRIC
    return window[(n <= (uint32_t)WINDOW_LENGTH / 2u) ? n
                                                      : (uint32_t)WINDOW_LENGTH - n];
#else
    return window[n];
#endif
}

/* Place of a number in the order of reversed bits, from that of the one before. */
static uint32_t next_reversed(uint32_t n, uint32_t place)
{
#if REVERSES_BITS
    (void)place;
    return __builtin_bitreverse32(n) >> FOURIER_UNUSED_BITS;
#else
    uint32_t bit = (uint32_t)FOURIER_LENGTH / 2u;
    (void)n;
    while ((place & bit) != 0u) {
        place ^= bit;
        bit >>= 1;
    }
    return place | bit;
#endif
}

/* Samples from an offset on, zeros behind them, to a spectrum; returns its exponent. */
APART static int32_t spectrum(const wav2small_state *state, uint32_t offset,
                        int32_t *values)
{
    const int16_t *samples = state->samples + offset;
    uint32_t most = (offset < state->fill) ? (state->fill - offset) : 0u;
    uint32_t n;
    uint32_t place = 0;
    uint64_t loudness = 0;
    int32_t exponent;
    most = (most < (uint32_t)WINDOW_LENGTH) ? most : (uint32_t)WINDOW_LENGTH;
    for (n = 0; n < most; ++n) {
#if NORMALISED
        const int64_t sample = (int64_t)samples[n] * 2048 - state->level.mean;
        const int32_t value =
            (int32_t)((sample * window_at(n) + ((int64_t)1 << 26)) >> 27);
#else
        const int32_t value =
            (int32_t)(((int64_t)samples[n] * window_at(n) + 32768) >> 16);
#endif
        loudness += (uint32_t)((value < 0) ? -value : value);
        values[place] = value;
        place = next_reversed(n + 1u, place);
    }
    for (; n < (uint32_t)FOURIER_LENGTH; ++n) {
        values[place] = 0;
        place = next_reversed(n + 1u, place);
    }
    exponent = 30 - (int32_t)bit_length(loudness);
    if (exponent > 0) {
        const int32_t factor = (int32_t)((uint32_t)1 << exponent);
        for (n = 0; n < (uint32_t)FOURIER_LENGTH; ++n) {
            values[n] *= factor;
        }
    } else if (exponent < 0) {
        for (n = 0; n < (uint32_t)FOURIER_LENGTH; ++n) {
            values[n] = (int32_t)round_shift(values[n], (uint32_t)-exponent);
        }
    } else {
        /* it fits as it is */
    }
    transform(values);
    return exponent;
}

/* Logarithm of the power of a band, in steps of 2^-20. */
APART static int32_t band_level(const int32_t *values, uint32_t band,
                          const uint16_t *weight, int32_t less)
{
    const uint32_t end = (uint32_t)mel_first[band] + mel_count[band];
    uint64_t low = 0;
    uint64_t high = 0;
    uint32_t k;
    int32_t level = LOG_FLOOR;
    for (k = mel_first[band]; k < end; ++k) {
        const int64_t real = values[k];
#if MEL_WITHOUT_ENDS
        const int64_t imaginary = values[(uint32_t)FOURIER_LENGTH - k];
#else
        /* the first and the last bin are real */
        const int64_t imaginary = ((k == 0u) || (k == (uint32_t)FOURIER_LENGTH / 2u))
                                      ? 0
                                      : values[(uint32_t)FOURIER_LENGTH - k];
#endif
        const uint64_t power = (uint64_t)(real * real + imaginary * imaginary);
        low += (uint64_t)*weight * (uint32_t)power;
        high += (uint64_t)*weight * (uint32_t)(power >> 32);
        ++weight;
    }
    high += low >> 32;
    low &= 0xffffffffu;
    if ((high != 0u) || (low != 0u)) {
        level = log2_of(high, low) - log_offset[band] - less;
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
/* Outputs of a layer from their sums. */
static void finish(const dense_t *layer, uint32_t output, uint32_t count,
                   const int32_t *sums, void *values, uint32_t place)
{
    const int32_t *multiplier = layer->multiplier + output;
    const int32_t *bias = layer->bias + output;
    const uint8_t *shift = layer->shift + output;
    const int32_t zero = layer->zero_out;
    uint32_t i;
    if (layer->fast != 0u) {
        /* the last shift, by 1, rounds, and the zero point goes with it */
        const int32_t round = 1 + 2 * zero;
        int8_t *narrow = (int8_t *)values + place;
        for (i = 0; i < count; ++i) {
            const int64_t product = (int64_t)(sums[i] + bias[i]) * multiplier[i];
            const int32_t high = (int32_t)(product >> 32);
            narrow[i] = saturate_short(((high >> shift[i]) + round) >> 1);
        }
    } else if (layer->wide != 0u) {
        int32_t *wide = (int32_t *)values + place;
        for (i = 0; i < count; ++i) {
            wide[i] = (int32_t)rescale(sums[i], multiplier[i], shift[i], 0) + bias[i];
        }
    } else {
        int8_t *narrow = (int8_t *)values + place;
        for (i = 0; i < count; ++i) {
            narrow[i] = saturate(
                rescale(sums[i] + bias[i], multiplier[i], shift[i], 0) + zero);
        }
    }
}
#endif

#if USES_DENSE
#if defined(__ARM_FEATURE_DSP)
static uint32_t load(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return word;
}

#if USES_BYTES
static int32_t add_four(int32_t sum, uint32_t word, uint32_t a, uint32_t b)
{
    sum = __smlad(__sxtb16((int8x4_t)word), (int16x2_t)a, sum);
    return __smlad(__sxtb16((int8x4_t)((word >> 8) | (word << 24))), (int16x2_t)b, sum);
}
#endif
#endif

#if USES_BYTES
/* Sums of four outputs: four weights of the first, of the second, of the third,
 * of the fourth, and on. In each four the second and the third have changed places. */
APART static void dot_four(const int8_t *weight, const int16_t *patch, uint32_t length,
                     int32_t sums[4])
{
    const int16_t *end = patch + length;
    int32_t s0 = 0;
    int32_t s1 = 0;
    int32_t s2 = 0;
    int32_t s3 = 0;
    while (patch != end) {
#if defined(__ARM_FEATURE_DSP)
        const uint32_t a = load(patch);
        const uint32_t b = load(patch + 2);
        s0 = add_four(s0, load(weight), a, b);
        s1 = add_four(s1, load(weight + 4), a, b);
        s2 = add_four(s2, load(weight + 8), a, b);
        s3 = add_four(s3, load(weight + 12), a, b);
#else
        const int32_t a = patch[0];
        const int32_t b = patch[2];
        const int32_t c = patch[1];
        const int32_t d = patch[3];
        s0 += weight[0] * a + weight[1] * b + weight[2] * c + weight[3] * d;
        s1 += weight[4] * a + weight[5] * b + weight[6] * c + weight[7] * d;
        s2 += weight[8] * a + weight[9] * b + weight[10] * c + weight[11] * d;
        s3 += weight[12] * a + weight[13] * b + weight[14] * c + weight[15] * d;
#endif
        patch += 4;
        weight += 16;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

static int32_t dot(const int8_t *weight, const int16_t *patch, uint32_t length)
{
    int32_t sum = 0;
    uint32_t k;
    for (k = 0; k < length; k += 4u) {
#if defined(__ARM_FEATURE_DSP)
        sum = add_four(sum, load(weight + k), load(patch + k), load(patch + k + 2u));
#else
        sum += weight[k] * patch[k] + weight[k + 1u] * patch[k + 2u] +
               weight[k + 2u] * patch[k + 1u] + weight[k + 3u] * patch[k + 3u];
#endif
    }
    return sum;
}
#endif

#if USES_NIBBLES
/* Weights plus 8, two in a byte; of eight weights the bytes hold
 * those at 0, 2; 4, 6; 1, 3; 5, 7. */
static int32_t dot_nibbles(const uint8_t *weight, const int16_t *patch,
                           uint32_t length)
{
    int32_t sum = 0;
    uint32_t k;
    for (k = 0; k < length; k += 8u) {
#if defined(__ARM_FEATURE_DSP)
        const uint32_t word = load(weight);
        const uint32_t mask = 0x000f000fu;
        sum = __smlad((int16x2_t)(word & mask), (int16x2_t)load(patch + k), sum);
        sum = __smlad((int16x2_t)((word >> 4) & mask),
                      (int16x2_t)load(patch + k + 2u), sum);
        sum = __smlad((int16x2_t)((word >> 8) & mask),
                      (int16x2_t)load(patch + k + 4u), sum);
        sum = __smlad((int16x2_t)((word >> 12) & mask),
                      (int16x2_t)load(patch + k + 6u), sum);
#else
        uint32_t i;
        for (i = 0; i < 4u; ++i) {
            const int16_t *x = patch + k + 4u * (i & 1u) + (i >> 1);
            const int32_t both = weight[i];
            sum += (both & 15) * x[0] + (both >> 4) * x[2];
        }
#endif
        weight += 4;
    }
    return sum;
}
#endif

/* What a layer multiplies with its weights for one column of a group. */
APART static void fill_patch(const dense_t *layer, const void *const rows[],
                       uint32_t column, uint32_t group, int16_t *patch)
{
    const uint32_t channels = layer->channels;
    const uint32_t stride = channels * layer->groups;
    const int32_t zero = layer->zero_in;
    const int16_t *end = patch + layer->length;
    uint32_t tap;
    uint32_t across;
    uint32_t i;
    for (tap = 0; tap < layer->taps; ++tap) {
        const int8_t *row = (const int8_t *)rows[tap];
        /* a place before the first column wraps around and is large */
        uint32_t place = column * layer->stride - layer->left;
        uint32_t width = 1;
        for (across = 0; across < layer->width; across += width) {
            uint32_t count = channels;
            width = 1;
            if ((row == NULL) || (place >= layer->columns_in)) {
                for (i = 0; i < count; ++i) {
                    patch[i] = 0;
                }
            } else {
                const int8_t *from = row + place * stride + group * channels;
                if (layer->solid != 0u) {
                    /* the columns that follow lie behind it */
                    width = layer->columns_in - place;
                    if (width > layer->width - across) {
                        width = layer->width - across;
                    }
                    count = width * channels;
                }
                for (i = 0; i < count; ++i) {
                    patch[i] = (int16_t)(from[i] - zero);
                }
            }
            patch += count;
            place += width * layer->dilation;
        }
    }
    while (patch != end) {
        *patch = 0;
        ++patch;
    }
}

APART static void dense(const dense_t *layer, const void *const rows[], void *values,
                  int16_t *patch)
{
    const uint32_t length = layer->length;
    uint32_t column;
    uint32_t group;
    uint32_t place = 0;
    for (column = 0; column < layer->columns_out; ++column) {
        uint32_t output = 0;
        for (group = 0; group < layer->groups; ++group) {
            const uint32_t end = output + layer->outputs;
            int32_t sums[4];
            fill_patch(layer, rows, column, group, patch);
#if USES_BYTES
            if (layer->weight != NULL) {
                for (; output + 4u <= end; output += 4u) {
                    dot_four(layer->weight + output * length, patch, length, sums);
                    finish(layer, output, 4, sums, values, place);
                    place += 4u;
                }
                for (; output < end; ++output) {
                    sums[0] = dot(layer->weight + output * length, patch, length);
                    finish(layer, output, 1, sums, values, place);
                    ++place;
                }
            }
#endif
#if USES_NIBBLES
            if (layer->nibbles != NULL) {
                int32_t total = 0;
                uint32_t i;
                for (i = 0; i < length; ++i) {
                    total += patch[i];
                }
                for (; output < end; ++output) {
                    sums[0] = dot_nibbles(layer->nibbles + output * (length / 2u),
                                          patch, length) -
                              8 * total;
                    finish(layer, output, 1, sums, values, place);
                    ++place;
                }
            }
#endif
        }
    }
}
#endif

#if USES_FILTER
APART static void filter(const filter_t *layer, const void *const rows[], void *values)
{
    const uint32_t channels = layer->groups;
    const int32_t zero = layer->zero_in;
    const int8_t *from[MOST_WINDOW];
    const int8_t *weight[MOST_WINDOW];
    uint32_t column;
    uint32_t channel;
    for (column = 0; column < layer->columns_out; ++column) {
        uint32_t count = 0;
        uint32_t tap;
        uint32_t across;
        for (tap = 0; tap < layer->taps; ++tap) {
            uint32_t place = column * layer->stride - layer->left;
            for (across = 0; across < layer->width; ++across) {
                if ((rows[tap] != NULL) && (place < layer->columns_in)) {
                    from[count] = (const int8_t *)rows[tap] + place * channels;
                    weight[count] =
                        layer->weight + (tap * layer->width + across) * channels;
                    ++count;
                }
                place += layer->dilation;
            }
        }
        for (channel = 0; channel < channels; ++channel) {
            int32_t sum = 0;
            for (tap = 0; tap < count; ++tap) {
                sum += weight[tap][channel] * (from[tap][channel] - zero);
            }
            finish(layer, channel, 1, &sum, values, column * channels + channel);
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
    if ((layer->wide_in[0] | layer->wide_in[1] | layer->wide) == 0) {
        const int8_t *left = (const int8_t *)a;
        const int8_t *right = (const int8_t *)b;
        const int32_t one = layer->multiplier[0];
        const int32_t two = layer->multiplier[1];
        const int64_t offset = layer->offset;
        const uint32_t shift = layer->shift;
        const int32_t zero = layer->zero_out;
        for (i = 0; i < count; ++i) {
            const int64_t sum =
                offset + (int64_t)left[i] * one + (int64_t)right[i] * two;
            ((int8_t *)values)[i] = saturate((sum >> shift) + zero);
        }
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
        filter(&filter_layers[layer], from, values);
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
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t logarithm =
            rescale(score[i], pool->multiplier, pool->shift, pool->before);
        const int32_t needed = (int32_t)(-((-logarithm) >> 16));
        int64_t numerator = sums[i];
        int64_t denominator = sums[pool->count + i];
        uint64_t below;
        uint32_t place;
        int64_t weight;
        if (row == 0u) {
            references[i] = needed;
        }
        if (needed > references[i]) {
            const uint32_t rise = (uint32_t)(needed - references[i]);
            const uint32_t drop = (rise < 62u) ? rise : 62u;
            numerator = round_shift(numerator, drop);
            denominator = round_shift(denominator, drop);
            references[i] = needed;
        }
        below = (uint64_t)((int64_t)references[i] * 65536 - logarithm);
        place = (uint32_t)(below >> 8) & 255u;
        /* the table holds what is missing to 65536 */
        weight = 65536 - (int64_t)exp_table[place] -
                 (int64_t)((((uint32_t)exp_table[place + 1u] - exp_table[place]) *
                                ((uint32_t)below & 255u) +
                            128u) >>
                           8);
        below >>= 16;
        weight = round_shift(weight, (below < 62u) ? (uint32_t)below : 62u);
        sums[i] = numerator + weight * value[i];
        sums[pool->count + i] = denominator + weight;
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
        int8_t *to = state->lines.bytes + line->ring + (row % line->keep) * line->bytes;
        const int8_t *new_row = (const int8_t *)from[0];
        for (i = 0; i < line->bytes; ++i) {
            to[i] = new_row[i];
        }
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
    level->gain = log2_of(high, low) - 2 * log2_of(0, number) - (38 << FRACTION);
    return WAV2SMALL_OK;
}

wav2small_status wav2small_init(wav2small_state *state, const wav2small_level *level)
{
    if ((state == NULL) || (level == NULL)) {
        return WAV2SMALL_NO_POINTER;
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
        size_t i;
        size_t taken;
        if (state->skip != 0u) {
            taken = (count < state->skip) ? count : (size_t)state->skip;
            state->skip = (uint16_t)(state->skip - taken);
        } else {
            const size_t room = (size_t)WINDOW_LENGTH - state->fill;
            taken = (count < room) ? count : room;
            for (i = 0; i < taken; ++i) {
                state->samples[state->fill + i] = samples[i];
            }
            state->fill = (uint16_t)(state->fill + taken);
            if (state->fill == (uint16_t)WINDOW_LENGTH) {
                advance(state);
#if HOP_LENGTH < WINDOW_LENGTH
                for (i = (size_t)HOP_LENGTH; i < (size_t)WINDOW_LENGTH; ++i) {
                    state->samples[i - (size_t)HOP_LENGTH] = state->samples[i];
                }
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
