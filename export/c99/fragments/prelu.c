/* Numbers above 0, and those below times a slope; channels lie side by side. */
typedef struct {
    const int32_t *below;
    const uint8_t *below_shift;
    const int8_t *sign;
    int32_t multiplier;
    uint16_t count;
    uint16_t channels;
    int16_t zero_in;
    int16_t zero_out;
    uint8_t shift;
    uint8_t before;
    uint8_t below_before;
    uint8_t wide_in;
    uint8_t wide;
} prelu_t;

static void prelu_row(const prelu_t *layer, const void *const from[], void *values)
{
    uint32_t channel = 0;
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const int32_t x = fetch(from[0], layer->wide_in, i) - layer->zero_in;
        int64_t y;
        if (x >= 0) {
            y = rescale(x, layer->multiplier, layer->shift, layer->before);
        } else {
            y = rescale((int64_t)x * layer->sign[channel], layer->below[channel],
                        layer->below_shift[channel], layer->below_before);
        }
        store(values, layer->wide, i, y, layer->zero_out);
        channel = (channel + 1u < layer->channels) ? (channel + 1u) : 0u;
    }
}
