/* A number of each of four blocks, scaled. */
INSIDE int32x4_t take_scaled(const int32_t *x, uint32x4_t apart, int32_t exponent)
{
    return vrshlq_n_s32(vldrwq_gather_shifted_offset_s32(x, apart), exponent);
}

/* Four numbers times the root of one half, rounded. */
INSIDE int32x4_t four_times_root(int32x4_t a)
{
    return vaddq_s32(a, vrmulhq_s32(a, vdupq_n_s32(FOURIER_TWO_ROOTS)));
}

/* Which of four blocks are transformed as a whole: the first and the third are, the
 * second is not, and the last as the number of the four says. */
INSIDE mve_pred16_t whole_blocks(uint32_t number)
{
    return (mve_pred16_t)(0x0f0fu | ((is_block(number) != 0u) ? 0xf000u : 0u));
}

/* Scales all numbers and makes of them the spectra of all eights, four blocks at a
 * time; those that are no whole ones become two of four numbers each. */
INSIDE void begin_four_blocks(int32_t *values, const int32_t exponent)
{
    const uint32x4_t apart = vshlq_n_u32(vidupq_n_u32(0, 1), 3);
    uint32_t number;
    ROLLED
    for (number = 0; number < (uint32_t)FOURIER_LENGTH / 32u; ++number) {
        const mve_pred16_t whole = whole_blocks(number);
        int32x4_t a = take_scaled(values, apart, exponent);
        int32x4_t b = take_scaled(values + 1, apart, exponent);
        int32x4_t c = take_scaled(values + 2, apart, exponent);
        int32x4_t d = take_scaled(values + 3, apart, exponent);
        const int32x4_t first = vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d));
        const int32x4_t third = vsubq_s32(vaddq_s32(a, b), vaddq_s32(c, d));
        const int32x4_t real = vsubq_s32(a, b);
        const int32x4_t imaginary = vsubq_s32(d, c);
        int32x4_t one;
        int32x4_t two;
        a = take_scaled(values + 4, apart, exponent);
        b = take_scaled(values + 5, apart, exponent);
        c = take_scaled(values + 6, apart, exponent);
        d = take_scaled(values + 7, apart, exponent);
        one = vaddq_s32(vaddq_s32(a, b), vaddq_s32(c, d));
        two = vsubq_s32(vaddq_s32(a, b), vaddq_s32(c, d));
        a = vsubq_s32(a, b); /* of the fifth and sixth number */
        c = vsubq_s32(c, d);
        b = four_times_root(vsubq_s32(a, c));
        d = four_times_root(vaddq_s32(a, c));
#define PUT_EIGHTH(i, as_whole, as_fours)                                       \
    vstrwq_scatter_shifted_offset_s32(values + (i), apart,                      \
                                      vpselq_s32((as_whole), (as_fours), whole))
        PUT_EIGHTH(0, vaddq_s32(first, one), first);
        PUT_EIGHTH(1, vaddq_s32(real, b), real);
        vstrwq_scatter_shifted_offset_s32(values + 2, apart, third);
        PUT_EIGHTH(3, vsubq_s32(real, b), imaginary);
        PUT_EIGHTH(4, vsubq_s32(first, one), one);
        PUT_EIGHTH(5, vsubq_s32(vnegq_s32(imaginary), d), a);
        PUT_EIGHTH(6, vnegq_s32(two), two);
        PUT_EIGHTH(7, vsubq_s32(imaginary, d), vnegq_s32(c));
        values += 32;
    }
}

#if FOURIER_LENGTH >= 64
/* Bins of all blocks of 16 numbers as join makes them, four blocks at a time. */
INSIDE void join_sixteens(int32_t *values)
{
    const uint32x4_t apart = vshlq_n_u32(vidupq_n_u32(0, 1), 4);
    const int32_t *factor = twiddles + (4 * (FOURIER_LENGTH / 16) - 4);
    const int32x4_t cosine = vdupq_n_s32(factor[0]);
    const int32x4_t sine = vdupq_n_s32(factor[1]);
    const int32x4_t cosine3 = vdupq_n_s32(factor[2]);
    const int32x4_t sine3 = vdupq_n_s32(factor[3]);
    uint32_t number;
    ROLLED
    for (number = 0; number < (uint32_t)FOURIER_LENGTH / 64u; ++number) {
        const mve_pred16_t whole = whole_blocks(number);
#define TAKE(i) vldrwq_gather_shifted_offset_s32(values + (i), apart)
#define PUT(i, numbers) \
    vstrwq_scatter_shifted_offset_p_s32(values + (i), apart, (numbers), whole)
        int32x4_t a = TAKE(8);
        int32x4_t b = TAKE(12);
        int32x4_t c = TAKE(0);
        int32x4_t d = vaddq_s32(a, b);
        int32x4_t one;
        int32x4_t three;
        int32x4_t first;
        int32x4_t third;
        PUT(0, vaddq_s32(c, d));
        PUT(8, vsubq_s32(c, d));
        PUT(12, vsubq_s32(b, a));
        a = TAKE(9);
        b = TAKE(11);
        one = vaddq_s32(vrmulhq_s32(b, sine), vrmulhq_s32(a, cosine));
        first = vsubq_s32(vrmulhq_s32(b, cosine), vrmulhq_s32(a, sine));
        c = TAKE(13);
        d = TAKE(15);
        three = vaddq_s32(vrmulhq_s32(d, sine3), vrmulhq_s32(c, cosine3));
        third = vsubq_s32(vrmulhq_s32(d, cosine3), vrmulhq_s32(c, sine3));
        a = vshlq_n_s32(vaddq_s32(one, three), 1);
        b = vshlq_n_s32(vaddq_s32(first, third), 1);
        c = TAKE(1);
        d = TAKE(7);
        PUT(1, vaddq_s32(c, a));
        PUT(15, vaddq_s32(b, d));
        PUT(7, vsubq_s32(c, a));
        PUT(9, vsubq_s32(b, d));
        a = vshlq_n_s32(vsubq_s32(first, third), 1);
        b = vshlq_n_s32(vsubq_s32(three, one), 1);
        c = TAKE(3);
        d = TAKE(5);
        PUT(3, vsubq_s32(c, a));
        PUT(13, vaddq_s32(b, d));
        PUT(5, vaddq_s32(c, a));
        PUT(11, vsubq_s32(b, d));
        a = TAKE(10);
        b = TAKE(14);
        one = four_times_root(vsubq_s32(a, b));
        three = four_times_root(vaddq_s32(a, b));
        c = TAKE(2);
        d = TAKE(6);
        PUT(2, vaddq_s32(c, one));
        PUT(14, vsubq_s32(d, three));
        PUT(6, vsubq_s32(c, one));
        PUT(10, vsubq_s32(vnegq_s32(d), three));
        values += 64;
    }
}
#endif
