/* Filter of each channel by itself; weights lie tap by tap. */
typedef struct {
    end_t end;
    const int8_t *weight;
    uint16_t channels;
    uint16_t width;            /* taps across */
    uint16_t dilation;         /* across */
    uint16_t stride;           /* across */
    uint16_t left;             /* border */
    uint16_t columns_in;
    uint16_t columns_out;
    int16_t zero_in;
    uint8_t taps;
} filter_t;

#if VECTORS
/* Four channels at a time. */
APART static void filter_vectors(const filter_t *layer, const int8_t *const from[],
                                 int8_t *values)
{
    const uint32_t channels = layer->channels;
    const uint32_t count = (uint32_t)layer->taps * layer->width;
    const int32_t round = layer->end.round;
    const int32_t last = layer->end.last;
    uint32_t channel;
    for (channel = 0; channel < channels; channel += 4u) {
        const mve_pred16_t lanes = vctp32q(channels - channel);
        const int8_t *weight = layer->weight + channel;
        int32x4_t sums = vldrwq_z_s32(layer->end.start + channel, lanes);
        uint32_t i;
        for (i = 0; i < count; ++i) {
            const int32x4_t factor = vldrbq_z_s32(weight, lanes);
            const int32x4_t numbers = (from[i] != NULL)
                                          ? vldrbq_z_s32(from[i] + channel, lanes)
                                          : vdupq_n_s32(layer->zero_in);
            sums = vaddq_s32(sums, vmulq_s32(numbers, factor));
            weight += channels;
        }
        vstrbq_p_s32(values + channel,
                     short_outputs(sums,
                                   vldrwq_z_s32(layer->end.multiplier + channel, lanes),
                                   round, last),
                     lanes);
    }
}
#else
/* Three taps, none of which is border. */
APART static void filter_three(const filter_t *layer, const int8_t *const from[],
                               int8_t *values)
{
    const int8_t *weight = layer->weight;
    const int8_t *a = from[0];
    const int8_t *b = from[1];
    const int8_t *c = from[2];
    const int32_t *start = layer->end.start;
    const int32_t *multiplier = layer->end.multiplier;
    const int32_t round = layer->end.round;
    const uint32_t last = layer->end.last;
    const uint32_t channels = layer->channels;
    const int8_t *const stop = a + channels;
    ROLLED
    do {
        const int32_t sum = *start + weight[0] * *a + weight[channels] * *b +
                            weight[2u * channels] * *c;
        *values = short_output(sum, *multiplier, round, last);
        ++weight;
        ++a;
        ++b;
        ++c;
        ++start;
        ++multiplier;
        ++values;
    } while (a != stop);
}
#endif

APART static void filter_row(const filter_t *layer, const void *const rows[],
                             void *row)
{
    int8_t *values = (int8_t *)row;
    const end_t *const end = &layer->end;
    const uint32_t channels = layer->channels;
    const uint32_t count = (uint32_t)layer->taps * layer->width;
    const int8_t *from[MOST_WINDOW];
    uint32_t column;
    uint32_t channel;
    uint32_t place = 0;
    for (column = 0; column < layer->columns_out; ++column) {
        const uint32_t brief = (end->kind == (uint8_t)NARROW_SHORT) ? 1u : 0u;
#if !VECTORS
        uint32_t whole = brief;
#endif
        uint32_t i = 0;
        uint32_t tap;
        uint32_t across;
        for (tap = 0; tap < layer->taps; ++tap) {
            uint32_t at = column * layer->stride - layer->left;
            for (across = 0; across < layer->width; ++across) {
                from[i] = NULL;
                if ((rows[tap] != NULL) && (at < layer->columns_in)) {
                    from[i] = (const int8_t *)rows[tap] + at * channels;
                }
#if !VECTORS
                else {
                    whole = 0;
                }
#endif
                at += layer->dilation;
                ++i;
            }
        }
#if VECTORS
        if (brief != 0u) {
            filter_vectors(layer, from, values + place);
            place += channels;
            continue;
        }
#else
        if ((count == 3u) && (whole != 0u)) {
            filter_three(layer, from, values + place);
            place += channels;
            continue;
        }
#endif
        for (channel = 0; channel < channels; ++channel) {
            int32_t sum = end->start[channel];
            for (i = 0; i < count; ++i) {
                const int32_t value =
                    (from[i] != NULL) ? from[i][channel] : layer->zero_in;
                sum += layer->weight[i * channels + channel] * value;
            }
            put_output(end, channel, sum, values, place);
            ++place;
        }
    }
}
