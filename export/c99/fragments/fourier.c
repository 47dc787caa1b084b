/* A number times the root of one half, rounded. */
static inline int32_t times_root(int32_t a)
{
    int32_t factor = FOURIER_TWO_ROOTS;
    /* compilers multiply by constants in ways of their own */
    OPAQUE(factor);
    return plus_upper_rounded(a, a, factor);
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
SPARED static inline void transform_eight(int32_t *x, uint32_t up, int32_t half,
                                          uint32_t down, uint32_t whole)
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
    const uint32_t zero = (number + 1u) & (0u - (number + 1u)); /* its lowest one */
    return zero & 0x55555555u;
}

#if FOURIER_LENGTH > 8
/* Puts a bin where its parts belong; or its power, the lower word first. */
INSIDE void put_bin(int32_t *first, int32_t *second, int32_t real, int32_t imaginary,
                    const uint32_t as_power)
{
    if (as_power != 0u) {
        const uint64_t power = (uint64_t)((int64_t)real * real) +
                               (uint64_t)((int64_t)imaginary * imaginary);
        *(uint32_t *)first = (uint32_t)power;
        *(uint32_t *)second = (uint32_t)(power >> 32);
    } else {
        *first = real;
        *second = imaginary;
    }
}

#if VECTORS
#include "fourier_vectors.c"
#endif

/* Bins of a block from those of its half and its two quarters. The powers of all but
 * the first and the last bin take their places in the last block, if mel bands need no
 * more. */
INSIDE void join(int32_t *x, const uint32_t size)
{
    const uint32_t last = (size == (uint32_t)FOURIER_LENGTH) ? POWERS_IN_PLACE : 0u;
    const uint32_t step = 4u * ((uint32_t)FOURIER_LENGTH / size);
    const uint32_t half = size / 2u;
    const uint32_t quarter = size / 4u;
    const uint32_t eighth = size / 8u;
    const int32_t *factor = twiddles + step - 4u;
    int32_t *up = x;
    int32_t *down = x + quarter;
    OPAQUE(factor);
#if VECTORS
    if (size >= 32u) {
        join_bins(x, size, factor, step, last);
    }
#endif
    {
        const int32_t first = up[0];
        const int32_t one = up[half];
        const int32_t three = up[half + quarter];
        up[0] = first + (one + three);
        up[half] = first - (one + three);
        put_bin(&x[quarter], &x[half + quarter], x[quarter], three - one, last);
    }
    ++up;
    --down;
#if VECTORS
    if (size >= 32u) {
        up = down; /* they are there */
    }
#endif
    while (up != down) {
        /* bins k, half - k, quarter - k and quarter + k */
        const int32_t a = up[half];
        const int32_t b = down[half];
        const int32_t c = up[half + quarter];
        const int32_t d = down[half + quarter];
        /* halves of the turned numbers, whose products have no more than 32 bits */
        const int32_t one =
            plus_upper_rounded(upper_rounded(b, factor[1]), a, factor[0]);
        const int32_t first = upper_rounded(b, factor[0]) - upper_rounded(a, factor[1]);
        const int32_t three =
            plus_upper_rounded(upper_rounded(d, factor[3]), c, factor[2]);
        const int32_t third = upper_rounded(d, factor[2]) - upper_rounded(c, factor[3]);
        const int32_t real = 2 * (one + three);
        const int32_t imaginary = 2 * (first + third);
        const int32_t other_real = 2 * (first - third);
        const int32_t other_imaginary = 2 * (three - one);
        int32_t same = up[0];
        int32_t other = down[quarter];
        put_bin(&up[0], &down[half + quarter], same + real, imaginary + other, last);
        put_bin(&down[quarter], &up[half], same - real, imaginary - other, last);
        same = down[0];
        other = up[quarter];
        put_bin(&down[0], &up[half + quarter], same - other_real,
                other_imaginary + other, last);
        put_bin(&up[quarter], &down[half], same + other_real, other_imaginary - other,
                last);
        ++up;
        --down;
        factor += step;
        OPAQUE(up);
        OPAQUE(down);
        OPAQUE(factor);
    }
    {
        const int32_t real = x[eighth];
        const int32_t imaginary = x[half - eighth];
        const int32_t one = x[half + eighth];
        const int32_t three = x[size - eighth];
        const int32_t total = times_root(one - three);
        const int32_t turned = times_root(one + three);
        put_bin(&x[eighth], &x[size - eighth], real + total, imaginary - turned, last);
        put_bin(&x[half - eighth], &x[half + eighth], real - total,
                -imaginary - turned, last);
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

#if FOURIER_LENGTH >= 32
#define BEGINS_FOUR VECTORS
#else
#define BEGINS_FOUR 0
#endif

#if FOURIER_LENGTH >= 64
#define JOINS_FOUR VECTORS
#else
#define JOINS_FOUR 0
#endif

#if BEGINS_FOUR
#include "fourier_begin_vectors.c"
#else
/* Scales all numbers and makes of them the spectra of all eights. */
INSIDE void begin_blocks(int32_t *values, uint32_t up, int32_t half, uint32_t down)
{
    uint32_t number;
    for (number = 0; number < (uint32_t)FOURIER_LENGTH / 8u; ++number) {
        OPAQUE(values);
        transform_eight(values, up, half, down, is_block(number));
        values += 8;
    }
}
#endif

/* Fourier transform of real numbers in the order of reversed bits, in place,
 * scaled by a power of two before: real parts of bins 0 .. half, imaginary parts of
 * bins half - 1 .. 1; or the words of powers in their places. */
APART static void transform(int32_t *values, int32_t exponent)
{
#if BEGINS_FOUR
    begin_four_blocks(values, exponent);
#else
    if (exponent >= 0) {
        begin_blocks(values, (uint32_t)exponent, 0, 0);
    } else {
        const uint32_t down = (uint32_t)-exponent;
        begin_blocks(values, 0, (int32_t)(((uint32_t)1 << down) >> 1), down);
    }
#endif
#if JOINS_FOUR
    join_sixteens(values);
#else
#if FOURIER_LENGTH >= 16
    join_all(values, 16);
#endif
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
