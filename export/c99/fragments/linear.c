/* Product of int32 numbers with a matrix. */
typedef struct {
    const int8_t *weight;
    const int64_t *bias;
    const int32_t *multiplier;
    const uint8_t *shift;
    uint16_t inputs;
    uint16_t outputs;
    uint16_t rows;
    int16_t zero_out;
    uint8_t before;
    uint8_t wide;
} linear_t;

static void linear_row(const linear_t *layer, const void *const from[], void *values)
{
    const int32_t *numbers = (const int32_t *)from[0];
    uint32_t row;
    uint32_t output;
    uint32_t i;
    uint32_t place = 0;
    for (row = 0; row < layer->rows; ++row) {
        const int8_t *weight = layer->weight;
        for (output = 0; output < layer->outputs; ++output) {
            const int32_t multiplier = layer->multiplier[output];
            const uint32_t shift = layer->shift[output];
            const int64_t bias = layer->bias[output];
            int64_t sum = 0;
            for (i = 0; i < layer->inputs; ++i) {
                sum += (int64_t)*weight * numbers[i];
                ++weight;
            }
            if (layer->wide != 0u) {
                sum = rescale(sum, multiplier, shift, layer->before) + bias;
            } else {
                sum = rescale(sum + bias, multiplier, shift, layer->before);
            }
            store(values, layer->wide, place, sum, layer->zero_out);
            ++place;
        }
        numbers += layer->inputs;
    }
}
