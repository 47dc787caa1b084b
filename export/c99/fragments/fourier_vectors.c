/* Four bins at a time. */
typedef struct {
    int32_t *up;      /* bins in this order */
    int32_t *down;    /* and in the other */
    uint32x4_t back;  /* words before the last of four */
    mve_pred16_t lanes;
} place_t;

INSIDE int32x4_t take_up(const place_t *at, uint32_t offset)
{
    return vldrwq_z_s32(at->up + offset, at->lanes);
}

INSIDE int32x4_t take_down(const place_t *at, uint32_t offset)
{
    return vldrwq_gather_shifted_offset_z_s32(at->down + offset - 3, at->back, at->lanes);
}

INSIDE void put_up(const place_t *at, uint32_t offset, int32x4_t values)
{
    vstrwq_p_s32(at->up + offset, values, at->lanes);
}

INSIDE void put_down(const place_t *at, uint32_t offset, int32x4_t values)
{
    vstrwq_scatter_shifted_offset_p_s32(at->down + offset - 3, at->back, values,
                                        at->lanes);
}

/* Words of powers, the upper ones in place of the imaginary parts. */
INSIDE void make_powers(int32x4_t *real, int32x4_t *imaginary)
{
    const uint32x4_t one = vreinterpretq_u32_s32(vmulq_s32(*real, *real));
    const uint32x4_t other = vreinterpretq_u32_s32(vmulq_s32(*imaginary, *imaginary));
    const uint32x4_t low = vaddq_u32(one, other);
    const int32x4_t high =
        vaddq_s32(vmulhq_s32(*real, *real), vmulhq_s32(*imaginary, *imaginary));
    *imaginary = vaddq_m_n_s32(high, high, 1, vcmphiq_u32(one, low));
    *real = vreinterpretq_s32_u32(low);
}

/* Bins of a block as join makes them, but for the first and the one at an eighth. */
INSIDE void join_bins(int32_t *x, const uint32_t size, const int32_t *factor,
                      const uint32_t step, const uint32_t as_power)
{
    const uint32_t half = size / 2u;
    const uint32_t quarter = size / 4u;
    const uint32x4_t apart = vmulq_n_u32(vidupq_n_u32(0, 1), step);
    place_t at = {x + 1, x + quarter - 1, vddupq_n_u32(3, 1), 0};
    uint32_t left = size / 8u - 1u;
    for (;;) {
        int32x4_t a;
        int32x4_t b;
        int32x4_t c;
        int32x4_t s;
        int32x4_t one;
        int32x4_t first;
        int32x4_t three;
        int32x4_t third;
        at.lanes = vctp32q(left);
        c = vldrwq_gather_shifted_offset_z_s32(factor, apart, at.lanes);
        s = vldrwq_gather_shifted_offset_z_s32(factor + 1, apart, at.lanes);
        a = take_up(&at, half);
        b = take_down(&at, half);
        one = vaddq_s32(vrmulhq_s32(a, c), vrmulhq_s32(b, s));
        first = vsubq_s32(vrmulhq_s32(b, c), vrmulhq_s32(a, s));
        c = vldrwq_gather_shifted_offset_z_s32(factor + 2, apart, at.lanes);
        s = vldrwq_gather_shifted_offset_z_s32(factor + 3, apart, at.lanes);
        a = take_up(&at, half + quarter);
        b = take_down(&at, half + quarter);
        three = vaddq_s32(vrmulhq_s32(a, c), vrmulhq_s32(b, s));
        third = vsubq_s32(vrmulhq_s32(b, c), vrmulhq_s32(a, s));
        /* bins k and half - k, then quarter - k and quarter + k */
        c = vshlq_n_s32(vaddq_s32(one, three), 1);
        s = vshlq_n_s32(vaddq_s32(first, third), 1);
        first = vshlq_n_s32(vsubq_s32(first, third), 1);
        one = vshlq_n_s32(vsubq_s32(three, one), 1);
        a = take_up(&at, 0);
        b = take_down(&at, quarter);
        three = vaddq_s32(a, c);
        third = vaddq_s32(s, b);
        a = vsubq_s32(a, c);
        b = vsubq_s32(s, b);
        if (as_power != 0u) {
            make_powers(&three, &third);
            make_powers(&a, &b);
        }
        c = take_down(&at, 0);
        s = take_up(&at, quarter);
        put_up(&at, 0, three);
        put_down(&at, half + quarter, third);
        put_down(&at, quarter, a);
        put_up(&at, half, b);
        three = vsubq_s32(c, first);
        third = vaddq_s32(one, s);
        a = vaddq_s32(c, first);
        b = vsubq_s32(one, s);
        if (as_power != 0u) {
            make_powers(&three, &third);
            make_powers(&a, &b);
        }
        put_down(&at, 0, three);
        put_up(&at, half + quarter, third);
        put_up(&at, quarter, a);
        put_down(&at, half, b);
        if (left <= 4u) {
            break;
        }
        left -= 4u;
        at.up += 4;
        at.down -= 4;
        factor += 4u * step;
    }
}
