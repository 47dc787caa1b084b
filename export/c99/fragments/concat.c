/* Tensors one after the other. */
typedef struct {
    const uint16_t *inner; /* numbers of each input at a time */
    const uint8_t *shifts;
    uint16_t inputs;
    uint16_t outer;
} concat_t;

static void concat_row(const concat_t *layer, const void *const from[], void *values)
{
    int32_t *to = (int32_t *)values;
    uint32_t outer;
    uint32_t input;
    uint32_t i;
    for (outer = 0; outer < layer->outer; ++outer) {
        for (input = 0; input < layer->inputs; ++input) {
            const uint32_t inner = layer->inner[input];
            const int32_t *part = (const int32_t *)from[input] + outer * inner;
            for (i = 0; i < inner; ++i) {
                *to = (int32_t)round_shift(part[i], layer->shifts[input]);
                ++to;
            }
        }
    }
}
