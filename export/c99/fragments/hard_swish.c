typedef struct {
    int32_t three;
    int32_t multiplier;
    uint16_t count;
    int16_t zero_out;
    uint8_t shift;
    uint8_t before;
    uint8_t wide;
} hard_swish_t;

/* x * clip(x + 3, 0, 6) / 6 of int32 numbers. */
static void hard_swish_row(const hard_swish_t *layer, const void *const from[],
                           void *values)
{
    const int32_t *numbers = (const int32_t *)from[0];
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const int64_t x = numbers[i];
        const int64_t most = 2 * (int64_t)layer->three;
        int64_t gate = x + layer->three;
        gate = (gate < 0) ? 0 : ((gate > most) ? most : gate);
        store(values, layer->wide, i,
              rescale(x * gate, layer->multiplier, layer->shift, layer->before),
              layer->zero_out);
    }
}
