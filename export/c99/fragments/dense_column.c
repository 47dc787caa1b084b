/* One column of outputs, the weights of each four taking turns two by two. */
#if LANES
/* Up to where numbers are multiplied before upper parts of sums could be lost. */
#if USES_LONG_COLUMN
#define PART_OF(a, stop) (((stop) - (a) > 496) ? ((a) + 496) : (stop))
#else
#define PART_OF(a, stop) (stop)
#endif
#endif

#if USES_BYTES
#if LANES
/* Four products more for each of four outputs. Lanes of a word have a weight of two
 * outputs, one 256 times the other; the lower ones are added once more by themselves. */
#define ADD_FOUR_OF_BYTES()                                                   \
    do {                                                                      \
        four_t four;                                                          \
        TAKE_FOUR(four, a);                                                   \
        __asm__("ldmia %[w]!, {r4, r5, r6, r8}\n\t"                           \
                "smlad %[q1], r4, %[first], %[q1]\n\t"                        \
                "sxtb16 r4, r4\n\t"                                           \
                "smlad %[q3], r5, %[first], %[q3]\n\t"                        \
                "sxtb16 r5, r5\n\t"                                           \
                "smlad %[q0], r4, %[first], %[q0]\n\t"                        \
                "smlad %[q2], r5, %[first], %[q2]\n\t"                        \
                "smlad %[q1], r6, %[second], %[q1]\n\t"                       \
                "sxtb16 r6, r6\n\t"                                           \
                "smlad %[q3], r8, %[second], %[q3]\n\t"                       \
                "sxtb16 r8, r8\n\t"                                           \
                "smlad %[q0], r6, %[second], %[q0]\n\t"                       \
                "smlad %[q2], r8, %[second], %[q2]"                           \
                : [w] "+r"(w), [q0] "+r"(q0), [q1] "+r"(q1), [q2] "+r"(q2),   \
                  [q3] "+r"(q3)                                               \
                : [first] "r"(four.first), [second] "r"(four.second),         \
                  "m"(*(const reach_t *)(const void *)w)                      \
                : "r4", "r5", "r6", "r8");                                    \
    } while (0)
#endif

/* Adds products of four outputs; returns where the weights of the next ones are. */
INSIDE const int8_t *add_bytes(const dense_t *layer, const int16_t *a, const int8_t *w,
                               int32_t sums[4])
{
    const int16_t *const stop = a + layer->length;
#if LANES
    do {
        const int16_t *const part = PART_OF(a, stop);
        int32_t q0 = 0;
        int32_t q1 = 0;
        int32_t q2 = 0;
        int32_t q3 = 0;
        if (layer->twice != 0u) {
            do {
                ADD_FOUR_OF_BYTES();
                ADD_FOUR_OF_BYTES();
                ADD_FOUR_OF_BYTES();
                ADD_FOUR_OF_BYTES();
            } while (a != part);
        } else {
            do {
                ADD_FOUR_OF_BYTES();
            } while (a != part);
        }
        sums[0] += q0;
        sums[1] += (q1 - q0) >> 8;
        sums[2] += q2;
        sums[3] += (q3 - q2) >> 8;
    } while (a != stop);
#else
    do {
        sums[0] += a[0] * w[0] + a[1] * w[2];
        sums[1] += a[0] * UPPER_OF(w) + a[1] * UPPER_OF(w + 2);
        sums[2] += a[0] * w[4] + a[1] * w[6];
        sums[3] += a[0] * UPPER_OF(w + 4) + a[1] * UPPER_OF(w + 6);
        a += 2;
        w += 8;
    } while (a != stop);
#endif
    return w;
}

APART static void one_column(const dense_t *layer, uint32_t output, const int16_t *x,
                             void *values, uint32_t place)
{
    const end_t *const end = &layer->end;
    const int8_t *w = layer->weight + output * layer->length;
    uint32_t left = layer->outputs;
    while (left >= 4u) {
        int32_t sums[4] = {0, 0, 0, 0};
        const int32_t *start;
        w = add_bytes(layer, x, w, sums);
        start = end->start + output;
        put_four(end, output, sums[0] + start[0], sums[1] + start[1], sums[2] + start[2],
                 sums[3] + start[3], values, place);
        output += 4u;
        place += 4u;
        left -= 4u;
    }
    for (; left != 0u; --left) {
        const int16_t *at = x;
        int32_t sum = end->start[output];
        while (at != x + layer->length) {
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
#if LANES
/* Lanes of a word have a weight of four outputs, each 16 times the one before. */
#define ADD_TWO_OF_NIBBLES(word, two)                                                  \
    __asm__("smlad %[q3], %[w], %[both], %[q3]\n\t"                                    \
            "bic %[w], %[w], #0xf000f000\n\t"                                          \
            "smlad %[q2], %[w], %[both], %[q2]\n\t"                                    \
            "uxtb16 %[w], %[w]\n\t"                                                    \
            "smlad %[q1], %[w], %[both], %[q1]\n\t"                                    \
            "and %[w], %[w], #0x000f000f\n\t"                                          \
            "smlad %[q0], %[w], %[both], %[q0]"                                        \
            : [w] "+r"(word), [q0] "+r"(q0), [q1] "+r"(q1), [q2] "+r"(q2), [q3] "+r"(q3) \
            : [both] "r"(two))
#define ADD_FOUR_OF_NIBBLES()                        \
    do {                                             \
        four_t four;                                 \
        four_t words;                                \
        TAKE_FOUR(four, a);                          \
        TAKE_WORDS(words, w);                        \
        ADD_TWO_OF_NIBBLES(words.first, four.first); \
        ADD_TWO_OF_NIBBLES(words.second, four.second); \
    } while (0)
#endif

/* Adds products of four outputs, with 8 more than the weight of the first three. */
INSIDE const uint8_t *add_nibbles(const dense_t *layer, const int16_t *a,
                                  const uint8_t *w, int32_t sums[4])
{
    const int16_t *const stop = a + layer->length;
#if LANES
    do {
        const int16_t *const part = PART_OF(a, stop);
        int32_t q0 = 0;
        int32_t q1 = 0;
        int32_t q2 = 0;
        int32_t q3 = 0;
        if (layer->twice != 0u) {
            do {
                ADD_FOUR_OF_NIBBLES();
                ADD_FOUR_OF_NIBBLES();
                ADD_FOUR_OF_NIBBLES();
                ADD_FOUR_OF_NIBBLES();
            } while (a != part);
        } else {
            do {
                ADD_FOUR_OF_NIBBLES();
                ADD_FOUR_OF_NIBBLES();
            } while (a != part);
        }
        sums[0] += q0;
        sums[1] += (q1 - q0) >> 4;
        sums[2] += (q2 - q1) >> 8;
        sums[3] += (q3 - q2) >> 12;
    } while (a != stop);
#else
    do {
        sums[0] += a[0] * (w[0] & 15) + a[1] * (w[2] & 15);
        sums[1] += a[0] * (w[0] >> 4) + a[1] * (w[2] >> 4);
        sums[2] += a[0] * (w[1] & 15) + a[1] * (w[3] & 15);
        sums[3] += a[0] * ((int8_t)w[1] >> 4) + a[1] * ((int8_t)w[3] >> 4);
        a += 2;
        w += 4;
    } while (a != stop);
#endif
    return w;
}

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
        int32_t sums[4] = {0, 0, 0, 0};
        const int32_t *start;
        w = add_nibbles(layer, x, w, sums);
        start = end->start + output;
        put_four(end, output, sums[0] + start[0] - less, sums[1] + start[1] - less,
                 sums[2] + start[2] - less, sums[3] + start[3], values, place);
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
