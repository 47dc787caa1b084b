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
