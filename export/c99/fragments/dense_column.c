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
