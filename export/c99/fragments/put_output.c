/* How outputs are made of sums: int8 by the upper word of a product, int8,
 * int32 with shifts below 32, int32. */
enum { NARROW_SHORT, NARROW, WIDE_SHORT, WIDE };

typedef struct {
    const int32_t *start;      /* what sums begin with */
    const int32_t *bias;       /* of int32, what follows the rescaling */
    const int32_t *multiplier;
    const uint8_t *shift;
    int32_t round;             /* zero point, and what rounds before the last shift */
    uint8_t last;              /* shift, of upper words alone */
    uint8_t kind;
} end_t;

static inline int8_t short_output(int32_t sum, int32_t multiplier, int32_t round,
                                  uint32_t last)
{
    return saturate_short(plus_upper(round, sum, multiplier) >> last);
}

static inline int32_t wide_output(const end_t *end, uint32_t output, int32_t sum)
{
    const uint32_t shift = end->shift[output];
    const int64_t product =
        (int64_t)sum * end->multiplier[output] + (int32_t)(((uint32_t)1 << shift) >> 1);
    const uint32_t low = (uint32_t)product >> shift;
    const uint32_t high = (uint32_t)(product >> 32) << (32u - shift);
    return (int32_t)(low | high) + end->bias[output];
}

/* Output of a sum in the other ways. */
APART static void long_output(const end_t *end, uint32_t output, int32_t sum,
                              void *values, uint32_t place)
{
    if (end->kind == (uint8_t)WIDE_SHORT) {
        ((int32_t *)values)[place] = wide_output(end, output, sum);
    } else {
        const int64_t value =
            rescale(sum, end->multiplier[output], end->shift[output], 0);
        if (end->kind == (uint8_t)WIDE) {
            ((int32_t *)values)[place] = (int32_t)value + end->bias[output];
        } else {
            ((int8_t *)values)[place] = saturate(value + end->round);
        }
    }
}

static inline void put_output(const end_t *end, uint32_t output, int32_t sum,
                              void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        ((int8_t *)values)[place] =
            short_output(sum, end->multiplier[output], end->round, end->last);
    } else {
        long_output(end, output, sum, values, place);
    }
}

#if VECTORS
/* Four outputs as short_output makes one. */
static inline int32x4_t short_outputs(int32x4_t sums, int32x4_t multiplier, int32_t round,
                                      int32_t last)
{
    const int32x4_t scaled =
        vshlq_r_s32(vaddq_n_s32(vmulhq_s32(sums, multiplier), round), -last);
    return vmaxq_s32(vminq_s32(scaled, vdupq_n_s32(127)), vdupq_n_s32(-128));
}

/* Four outputs as wide_output makes one. */
static inline int32x4_t wide_outputs(const end_t *end, uint32_t output, int32x4_t sums)
{
    const int32x4_t multiplier = vldrwq_s32(end->multiplier + output);
    const int32x4_t shift = vreinterpretq_s32_u32(vldrbq_u32(end->shift + output));
    const uint32x4_t half = vshrq_n_u32(vshlq_u32(vdupq_n_u32(1), shift), 1);
    const uint32x4_t product = vreinterpretq_u32_s32(vmulq_s32(sums, multiplier));
    const uint32x4_t low = vaddq_u32(product, half);
    int32x4_t high = vmulhq_s32(sums, multiplier);
    uint32x4_t upper;
    high = vaddq_m_n_s32(high, high, 1, vcmphiq_u32(product, low));
    upper = vshlq_u32(vreinterpretq_u32_s32(high), vsubq_s32(vdupq_n_s32(32), shift));
    upper = vorrq_u32(upper, vshlq_u32(low, vnegq_s32(shift)));
    return vaddq_s32(vreinterpretq_s32_u32(upper), vldrwq_s32(end->bias + output));
}
#endif
