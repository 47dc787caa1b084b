typedef struct {
    uint16_t channels;
    uint16_t taps;
    uint16_t width;
    uint16_t stride;
    uint16_t left;
    uint16_t columns_in;
    uint16_t columns_out;
} max_pool_t;

/* Maximum over taps and columns; border never wins. */
static void max_pool_row(const max_pool_t *layer, const void *const rows[],
                         void *values)
{
    const uint32_t channels = layer->channels;
    uint32_t column;
    uint32_t channel;
    for (column = 0; column < layer->columns_out; ++column) {
        const uint32_t first = column * layer->stride - layer->left;
        for (channel = 0; channel < channels; ++channel) {
            int8_t most = -128;
            uint32_t tap;
            uint32_t across;
            for (tap = 0; tap < layer->taps; ++tap) {
                for (across = 0; across < layer->width; ++across) {
                    const uint32_t place = first + across;
                    if ((rows[tap] != NULL) && (place < layer->columns_in)) {
                        const int8_t value =
                            ((const int8_t *)rows[tap])[place * channels + channel];
                        most = (value > most) ? value : most;
                    }
                }
            }
            ((int8_t *)values)[column * channels + channel] = most;
        }
    }
}
