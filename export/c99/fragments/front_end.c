/* -- front end -------------------------------------------------------------- */

#if NORMALISED
#define SIGNAL_GAIN state->level.gain
#else
#define SIGNAL_GAIN 0
#endif

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
    uint32_t last_word = low;
    uint32_t exponent = 95;
    uint32_t zeros;
    uint32_t place;
    uint32_t part;
    int32_t from;
    int32_t step;
    while (upper_word == 0u) {
        upper_word = lower_word;
        lower_word = last_word;
        last_word = 0;
        exponent -= 32u;
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

#include "fourier.c"

/* Place of a number in the order of reversed bits. */
static inline uint32_t reversed(uint32_t n)
{
#if NAMES_INSTRUCTIONS
    __asm__("rbit %0, %0" : "+r"(n));
    return n >> FOURIER_UNUSED_BITS;
#else
    n = ((n >> 1) & 0x55555555u) | ((n & 0x55555555u) << 1);
    n = ((n >> 2) & 0x33333333u) | ((n & 0x33333333u) << 2);
    n = ((n >> 4) & 0x0f0f0f0fu) | ((n & 0x0f0f0f0fu) << 4);
    n = ((n >> 8) & 0x00ff00ffu) | ((n & 0x00ff00ffu) << 8);
    return ((n >> 16) | (n << 16)) >> FOURIER_UNUSED_BITS;
#endif
}

SPARED static inline int32_t window_at(uint32_t n)
{
#if WINDOW_SYMMETRIC
    return window[(n < (uint32_t)WINDOW_LENGTH / 2u) ? n
                                                     : (uint32_t)WINDOW_LENGTH - n];
#else
    return window[n];
#endif
}

/* A sample times the window, in 14 bits more. */
SPARED static inline int32_t windowed(const wav2small_state *state, int16_t sample,
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

/* Puts a number and adds its size to a sum. */
SPARED static inline void put_sized(int32_t *to, int32_t value, uint64_t *loudness)
{
#if NAMES_INSTRUCTIONS
    /* one instruction multiplies and adds to 64 bits */
    int32_t sign = (value >> 31) | 1;
    OPAQUE(sign);
    *loudness += (uint64_t)((int64_t)value * sign);
#else
    *loudness += (uint32_t)(value ^ (value >> 31)) + ((uint32_t)value >> 31);
#endif
    *to = value;
}

#if WINDOW_IN_FOURS && FOURIER_LENGTH >= 32
#define PUTS_FOUR VECTORS
#else
#define PUTS_FOUR 0
#endif

#if PUTS_FOUR
/* A number for each of four samples times the window, in the order of reversed bits:
 * they lie a quarter of the length apart. */
INSIDE uint64_t put_windowed(int32_t *to, int32x4_t heard, int32x4_t factor, uint32x4_t apart,
                         uint64_t loudness)
{
    const int32x4_t value = vrmulhq_s32(vshlq_n_s32(heard, 16), factor);
    vstrwq_scatter_shifted_offset_s32(to, apart, value);
    return vaddlvaq_u32(loudness, vreinterpretq_u32_s32(vabsq_s32(value)));
}

/* The same as below, four samples at a time. */
INSIDE uint64_t put_samples(const wav2small_state *state, const int16_t *samples,
                            uint32_t most, int32_t *values)
{
    static const uint32_t places[4] = {0, FOURIER_LENGTH / 2, FOURIER_LENGTH / 4,
                                       FOURIER_LENGTH / 4 * 3};
    enum { HALF = WINDOW_LENGTH / 2 };
    const uint32x4_t apart = vldrwq_u32(places);
    const uint32x4_t back = vddupq_n_u32(3, 1);
    const int32_t *factor = window;
    uint64_t loudness = 0;
    uint32_t n = 0;
    (void)state;
    if (most >= (uint32_t)WINDOW_LENGTH) {
        ROLLED
        for (; n < (uint32_t)HALF; n += 4u) {
            loudness = put_windowed(values + reversed(n), vldrhq_s32(samples + n),
                                vldrwq_s32(factor), apart, loudness);
            factor += 4;
        }
        factor = window + (HALF - 3);
        ROLLED
        for (; n < (uint32_t)WINDOW_LENGTH; n += 4u) {
            loudness = put_windowed(values + reversed(n), vldrhq_s32(samples + n),
                                vldrwq_gather_shifted_offset_s32(factor, back), apart,
                                loudness);
            factor -= 4;
        }
    }
    for (; n < (uint32_t)FOURIER_LENGTH; n += 4u) {
        const mve_pred16_t lanes = vctp32q((n < most) ? (most - n) : 0u);
        const int32x4_t some =
            (n < (uint32_t)HALF)
                ? vldrwq_z_s32(window + n, lanes)
                : vldrwq_gather_shifted_offset_z_s32(
                      window + ((int32_t)WINDOW_LENGTH - 3 - (int32_t)n), back, lanes);
        loudness = put_windowed(values + reversed(n), vldrhq_z_s32(samples + n, lanes), some,
                            apart, loudness);
    }
    return loudness;
}
#else
/* Puts samples times the window, zeros behind the last one, in the order of reversed
 * bits, and gives the sum of their sizes. Eight that are an eighth of the length apart
 * come to lie side by side. */
INSIDE uint64_t put_samples(const wav2small_state *state, const int16_t *samples,
                            uint32_t most, int32_t *values)
{
    enum { EIGHTH = FOURIER_LENGTH / 8 };
    uint64_t loudness = 0;
    uint32_t n;
    ROLLED
    for (n = 0; n < (uint32_t)EIGHTH; ++n) {
        const int16_t *from = samples + ((n < most) ? n : 0u);
        int32_t *to = values + reversed(n);
        OPAQUE(from);
        OPAQUE(to);
#define PUT_SAMPLE(i, j)                                            \
    put_sized(to + (j),                                             \
              (n + (i) * EIGHTH < most)                             \
                  ? windowed(state, from[(i) * EIGHTH],             \
                             window_at(n + (i) * EIGHTH))           \
                  : 0,                                              \
              &loudness)
        PUT_SAMPLE(0, 0);
        PUT_SAMPLE(1, 4);
        PUT_SAMPLE(2, 2);
        PUT_SAMPLE(3, 6);
        PUT_SAMPLE(4, 1);
        PUT_SAMPLE(5, 5);
        PUT_SAMPLE(6, 3);
        PUT_SAMPLE(7, 7);
    }
    return loudness;
}
#endif

#if NORMALISED
#define TAKES_PAIRS 0
#else
#define TAKES_PAIRS (NAMES_INSTRUCTIONS && !VECTORS)
#endif
#if WINDOW_LENGTH < FOURIER_LENGTH
#define PUTS_PAIRS 0
#else
#if FOURIER_LENGTH >= 32
#define PUTS_PAIRS TAKES_PAIRS
#else
#define PUTS_PAIRS 0
#endif
#endif

#if PUTS_PAIRS
/* The same of a whole window. Two samples lie in a word; they come to lie half of the
 * length apart. */
INSIDE uint64_t put_pairs(const int16_t *samples, int32_t *values)
{
    enum { EIGHTH = FOURIER_LENGTH / 8 };
    uint64_t loudness = 0;
    uint32_t n;
    ROLLED
    for (n = 0; n < (uint32_t)EIGHTH; n += 2u) {
        const int16_t *from = samples + n;
        int32_t *to = values + reversed(n);
        uint32_t both;
        OPAQUE(from);
        OPAQUE(to);
#define PUT_PAIR(i, j)                                                              \
    __builtin_memcpy(&both, from + (i) * EIGHTH, 4);                                \
    put_sized(to + (j),                                                             \
              upper_rounded((int32_t)(both << 16), window_at(n + (i) * EIGHTH)),    \
              &loudness);                                                           \
    put_sized(to + ((j) + FOURIER_LENGTH / 2),                                      \
              upper_rounded((int32_t)(both & 0xffff0000u),                          \
                            window_at(n + 1u + (i) * EIGHTH)),                      \
              &loudness)
        PUT_PAIR(0, 0);
        PUT_PAIR(1, 4);
        PUT_PAIR(2, 2);
        PUT_PAIR(3, 6);
        PUT_PAIR(4, 1);
        PUT_PAIR(5, 5);
        PUT_PAIR(6, 3);
        PUT_PAIR(7, 7);
    }
    return loudness;
}
#endif

/* Samples from an offset on, zeros behind them, to a spectrum; returns its exponent. */
APART static int32_t spectrum(const wav2small_state *state, uint32_t offset,
                              int32_t *values)
{
    const int16_t *samples = state->samples + offset;
    const uint32_t most = (offset < state->fill) ? (state->fill - offset) : 0u;
    uint64_t loudness;
    int32_t exponent;
    if (most >= (uint32_t)WINDOW_LENGTH) {
#if PUTS_PAIRS
        loudness = put_pairs(samples, values);
#else
        loudness = put_samples(state, samples, WINDOW_LENGTH, values);
#endif
    } else {
        loudness = put_samples(state, samples, most, values);
    }
    exponent = 30 - (int32_t)bit_length(loudness);
    transform(values, exponent);
    return exponent;
}

/* Logarithm of the power of so many bins, in steps of 2^-20; of none, one that is below
 * all floors. */
APART static int32_t band_level(const int32_t *values, uint32_t first, uint32_t count,
                                const uint16_t *weight)
{
    uint32_t k = first;
    uint32_t left = count;
    uint64_t low = 0;
    uint64_t high = 0;
    int32_t level = -0x40000000;
#if POWERS_IN_PLACE
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
#if NAMES_INSTRUCTIONS
    {
        uint32_t sums[4] = {0, 0, 0, 0};
#define BIN                          \
    "ldr r4, [%[up]], #4\n\t"        \
    "ldrh r5, [%[weight]], #2\n\t"   \
    "ldr r6, [%[down]], #-4\n\t"     \
    "umlal %[a], %[b], r4, r5\n\t"   \
    "umlal %[c], %[d], r6, r5\n\t"
#define ADD_BINS(bins)                                                              \
    __asm__ volatile(bins                                                           \
                     : [a] "+r"(sums[0]), [b] "+r"(sums[1]), [c] "+r"(sums[2]),     \
                       [d] "+r"(sums[3]), [up] "+r"(up), [down] "+r"(down),         \
                       [weight] "+r"(weight)                                        \
                     :                                                              \
                     : "r4", "r5", "r6", "memory")
        ROLLED
        for (; left >= 4u; left -= 4u) {
            ADD_BINS(BIN BIN BIN BIN);
        }
        ROLLED
        for (; left != 0u; --left) {
            ADD_BINS(BIN);
        }
        low = ((uint64_t)sums[1] << 32) | sums[0];
        high = ((uint64_t)sums[3] << 32) | sums[2];
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
        level = log2_of(high, (uint32_t)low);
    }
    return level;
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

/* Frames that the level of the past counts; those of silence are not among the others. */
#if VOICE_STAGES
#define LEVELS(state) ((state)->clock)
#else
#define LEVELS(state) ((state)->frames)
#endif

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
        const uint32_t count = mel_count[band];
        int32_t found = band_level(work, mel_first[band], count, weight);
        found -= log_offset[band] + less;
        found = (found > LOG_FLOOR) ? found : LOG_FLOOR;
        level[band] = found;
        weight += count;
#if PAST_FRAMES
        sum += found;
#endif
    }
#if PAST_FRAMES
    {
        past_t *ended = (past_t *)(void *)(state->scratch.bytes + ENDED_PLACE);
        const uint32_t heard = LEVELS(state);
        uint32_t count = heard + ahead + 1u;
        now->past += sum;
        if (count > (uint32_t)PAST_FRAMES) {
            const uint32_t gone = count - 1u - (uint32_t)PAST_FRAMES;
            count = PAST_FRAMES;
            if ((now->frames != 0u) && (gone >= heard)) {
                now->past -= ended[gone - heard];
            } else {
                now->past -= state->past[gone % (uint32_t)PAST_FRAMES];
            }
        }
        if (now->frames != 0u) {
            ended[ahead] = (past_t)sum;
        } else {
            state->past[heard % (uint32_t)PAST_FRAMES] = (past_t)sum;
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

#if VOICE_STAGES
/* Goes on by a frame without a row: it counts with the level of the one before. */
static void leave_out(wav2small_state *state)
{
#if PAST_FRAMES
    past_t *place = &state->past[state->clock % (uint32_t)PAST_FRAMES];
    const past_t last = state->past[(state->clock - 1u) % (uint32_t)PAST_FRAMES];
    state->past_total += last;
    if (state->clock >= (uint32_t)PAST_FRAMES) {
        state->past_total -= *place;
    }
    *place = last;
#else
    (void)state;
#endif
}
#endif
