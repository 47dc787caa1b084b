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
APART static void max_pool_row(const max_pool_t *layer, const void *const rows[],
                               void *values)
{
    const uint32_t channels = layer->channels;
    const int8_t *from[MOST_WINDOW];
    int8_t *to = (int8_t *)values;
    uint32_t column;
    for (column = 0; column < layer->columns_out; ++column) {
        const uint32_t first = column * layer->stride - layer->left;
        uint32_t count = 0;
        uint32_t channel = 0;
        uint32_t tap;
        uint32_t i;
        for (tap = 0; tap < layer->taps; ++tap) {
            uint32_t across;
            for (across = 0; across < layer->width; ++across) {
                const uint32_t place = first + across;
                if ((rows[tap] != NULL) && (place < layer->columns_in)) {
                    from[count] = (const int8_t *)rows[tap] + place * channels;
                    ++count;
                }
            }
        }
#if NAMES_INSTRUCTIONS && defined(__ARM_FEATURE_UNALIGNED)
        for (; channel + 4u <= channels; channel += 4u) {
            uint32_t most = 0x80808080u;
            for (i = 0; i < count; ++i) {
                uint32_t four;
                __builtin_memcpy(&four, from[i] + channel, 4);
                __asm__("ssub8 r12, %0, %1\n\t"
                        "sel %0, %0, %1"
                        : "+r"(most)
                        : "r"(four)
                        : "r12", "cc");
            }
            __builtin_memcpy(to + channel, &most, 4);
        }
#endif
        for (; channel < channels; ++channel) {
            int8_t most = -128;
            for (i = 0; i < count; ++i) {
                const int8_t value = from[i][channel];
                most = (value > most) ? value : most;
            }
            to[channel] = most;
        }
        to += channels;
    }
}
