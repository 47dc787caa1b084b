/* Weights of one or four outputs, in the order of flash. */
APART static void unpack(const dense_t *layer, uint32_t first, uint32_t count,
                         int16_t *to)
{
    const int16_t *const end = to + count;
#if USES_BYTES
    if (layer->weight != NULL) {
        const int8_t *weight = layer->weight + first;
#if LANES
#define UNPACK_EIGHT                     \
    "ldrd r6, r8, [%[from]], #8\n\t"     \
    "sxtb16 r4, r6\n\t"                  \
    "sxtb16 r5, r6, ror #8\n\t"          \
    "sxtb16 r6, r8\n\t"                  \
    "sxtb16 r8, r8, ror #8\n\t"          \
    "stmia %[to]!, {r4, r5, r6, r8}\n\t"
        /* 16 divides the count of four outputs */
        const int16_t *const stop = end - (count % 16u);
        while (to != stop) {
            __asm__ volatile(UNPACK_EIGHT UNPACK_EIGHT
                             : [to] "+r"(to), [from] "+r"(weight)
                             :
                             : "r4", "r5", "r6", "r8", "memory");
        }
#endif
        while (to != end) {
            to[0] = weight[0];
            to[1] = weight[2];
            to[2] = weight[1];
            to[3] = weight[3];
            weight += 4;
            to += 4;
        }
    }
#endif
#if USES_NIBBLES
    if (layer->nibbles != NULL) {
        const uint8_t *weight = layer->nibbles + first / 2u;
        const uint32_t four = (count != layer->length) ? 1u : 0u;
        do {
            uint32_t i;
            for (i = 0; i < 4u; ++i) {
                /* bytes are those of 2 numbers of four outputs, or of 8 of one */
                int16_t *at = to + 4u * (i & 1u) + (i >> 1);
                at[0] = (int16_t)((weight[i] & 15) - 8);
                at[2] = (int16_t)((weight[i] >> 4) - 8);
                if (((i & 1u) & four) != 0u) {
                    at[2] = (int16_t)((int8_t)weight[i] >> 4);
                }
            }
            weight += 4;
            to += 8;
        } while (to != end);
    }
#endif
}

/* Four products more for each of four outputs. */
#if LANES
#define ADD_TWO_BY_FOUR(two)                                                    \
    __asm__("ldmia %[w]!, {r4, r5, r6, r8}\n\t"                                 \
            "smlad %[s0], r4, %[both], %[s0]\n\t"                               \
            "smlad %[s1], r5, %[both], %[s1]\n\t"                               \
            "smlad %[s2], r6, %[both], %[s2]\n\t"                               \
            "smlad %[s3], r8, %[both], %[s3]"                                   \
            : [w] "+r"(w), [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2),         \
              [s3] "+r"(s3)                                                     \
            : [both] "r"(two), "m"(*(const reach_t *)(const void *)w)           \
            : "r4", "r5", "r6", "r8")
#define ADD_FOUR_BY_FOUR()            \
    do {                              \
        four_t four;                  \
        TAKE_FOUR(four, a);           \
        ADD_TWO_BY_FOUR(four.first);  \
        ADD_TWO_BY_FOUR(four.second); \
    } while (0)
#else
#define ADD_TWO_BY_FOUR(k)                         \
    do {                                           \
        s0 += a[k] * w[0] + a[(k) + 1] * w[1];     \
        s1 += a[k] * w[2] + a[(k) + 1] * w[3];     \
        s2 += a[k] * w[4] + a[(k) + 1] * w[5];     \
        s3 += a[k] * w[6] + a[(k) + 1] * w[7];     \
        w += 8;                                    \
    } while (0)
#define ADD_FOUR_BY_FOUR()  \
    do {                    \
        ADD_TWO_BY_FOUR(0); \
        ADD_TWO_BY_FOUR(2); \
        a += 4;             \
    } while (0)
#endif

#define ADD_TWELVE_BY_FOUR() \
    do {                     \
        ADD_FOUR_BY_FOUR();  \
        ADD_FOUR_BY_FOUR();  \
        ADD_FOUR_BY_FOUR();  \
    } while (0)

/* All columns of four outputs. */
APART static void four_outputs(const dense_t *layer, uint32_t output, const int16_t *x,
                               const int16_t *weights, void *values)
{
    const end_t *const end = &layer->end;
    const int32_t *const start = end->start + output;
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t length = layer->length;
    const uint32_t twelves = layer->twelves;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int16_t *const stop = x + length;
        const int16_t *a = x;
        const int16_t *w = weights;
        int32_t s0 = start[0];
        int32_t s1 = start[1];
        int32_t s2 = start[2];
        int32_t s3 = start[3];
        if (twelves > 1u) {
            do {
                ADD_TWELVE_BY_FOUR();
                ADD_TWELVE_BY_FOUR();
            } while (a != stop);
        } else if (twelves != 0u) {
            do {
                ADD_TWELVE_BY_FOUR();
            } while (a != stop);
        } else {
            do {
                ADD_FOUR_BY_FOUR();
            } while (a != stop);
        }
        put_four(end, output, s0, s1, s2, s3, values, place);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* Four products more for each of two columns. */
#define ADD_FOUR_BY_TWO()                    \
    do {                                     \
        four_t four;                         \
        four_t weight;                       \
        TAKE_FOUR(weight, w);                \
        TAKE_FOUR(four, a);                  \
        s0 = add_products(s0, four, weight); \
        TAKE_FOUR(four, b);                  \
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
        if (layer->twelves != 0u) {
            do {
                ADD_FOUR_BY_TWO();
                ADD_FOUR_BY_TWO();
                ADD_FOUR_BY_TWO();
            } while (a != stop);
        } else {
            do {
                ADD_FOUR_BY_TWO();
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
