/* Element-wise product of two tensors. */
typedef struct {
    int32_t multiplier;
    uint16_t count;
    int16_t zero_in[2];
    int16_t zero_out;
    uint8_t shifts[2];
    uint8_t shift;
    uint8_t before;
    uint8_t wide_in[2];
    uint8_t wide;
} product_t;

static void product_row(const product_t *layer, const void *const from[], void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const int32_t x = fetch(from[0], layer->wide_in[0], i) - layer->zero_in[0];
        const int32_t y = fetch(from[1], layer->wide_in[1], i) - layer->zero_in[1];
        const int64_t product =
            round_shift(x, layer->shifts[0]) * round_shift(y, layer->shifts[1]);
        store(values, layer->wide, i,
              rescale(product, layer->multiplier, layer->shift, layer->before),
              layer->zero_out);
    }
}
