/* Sum of two tensors. */
typedef struct {
    int64_t offset;
    int32_t multiplier[2];
    uint16_t count;
    int16_t zero_in[2];
    int16_t zero_out;
    uint8_t shift;
    uint8_t wide_in[2];
    uint8_t wide;
    uint8_t last; /* shift of upper words, 0 if they are not enough */
} sum_t;

APART static void sum_row(const sum_t *layer, const void *const from[], void *values)
{
    const uint32_t count = layer->count;
    uint32_t i;
    if (layer->last != 0u) {
        /* int8 alone, 8 bits higher, so that upper words are enough */
        const int8_t *left = (const int8_t *)from[0];
        const int8_t *right = (const int8_t *)from[1];
        int8_t *to = (int8_t *)values;
        const int32_t one = layer->multiplier[0];
        const int32_t two = layer->multiplier[1];
        const int32_t zero_one = layer->zero_in[0] * 256;
        const int32_t zero_two = layer->zero_in[1] * 256;
        const uint32_t last = layer->last;
        const int32_t round =
            (int32_t)(((uint32_t)layer->zero_out << last) + (((uint32_t)1 << last) >> 1));
#if VECTORS
        int32_t left_over = (int32_t)count;
        for (; left_over > 0; left_over -= 4) {
            const mve_pred16_t lanes = vctp32q((uint32_t)left_over);
            const int32x4_t a = vsubq_n_s32(
                vshlq_n_s32(vldrbq_z_s32(left, lanes), 8), zero_one);
            const int32x4_t b = vsubq_n_s32(
                vshlq_n_s32(vldrbq_z_s32(right, lanes), 8), zero_two);
            const uint32x4_t low = vreinterpretq_u32_s32(vmulq_n_s32(a, one));
            const uint32x4_t both =
                vaddq_u32(low, vreinterpretq_u32_s32(vmulq_n_s32(b, two)));
            const int32x4_t high = vaddq_s32(vmulhq_s32(a, vdupq_n_s32(one)),
                                             vmulhq_s32(b, vdupq_n_s32(two)));
            /* lower words that wrap carry one */
            const int32x4_t sum = vaddq_m_n_s32(high, high, 1, vcmphiq_u32(low, both));
            const int32x4_t scaled =
                vshlq_r_s32(vaddq_n_s32(sum, round), -(int32_t)last);
            vstrbq_p_s32(to,
                         vmaxq_s32(vminq_s32(scaled, vdupq_n_s32(127)),
                                   vdupq_n_s32(-128)),
                         lanes);
            left += 4;
            right += 4;
            to += 4;
        }
#else
        const int8_t *const end = left + count;
        ROLLED
        do {
            const int64_t sum = (int64_t)(*left * 256 - zero_one) * one +
                                (int64_t)(*right * 256 - zero_two) * two;
            *to = saturate_short(((int32_t)(sum >> 32) + round) >> last);
            ++left;
            ++right;
            ++to;
        } while (left != end);
#endif
        return;
    }
    for (i = 0; i < count; ++i) {
        const int64_t left = fetch(from[0], layer->wide_in[0], i);
        const int64_t right = fetch(from[1], layer->wide_in[1], i);
        const int64_t sum = left * layer->multiplier[0] +
                            right * layer->multiplier[1] + layer->offset;
        store(values, layer->wide, i, sum >> layer->shift, layer->zero_out);
    }
}
