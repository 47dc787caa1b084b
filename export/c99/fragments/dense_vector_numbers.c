/* A number that columns are multiplied with. */
typedef int8_t number_t;

/* Outputs that lie side by side, in the other ways. */
APART static void long_four(const end_t *end, uint32_t output, int32x4_t sums,
                            void *values, uint32_t place)
{
    if (end->kind == (uint8_t)WIDE_SHORT) {
        vstrwq_s32((int32_t *)values + place, wide_outputs(end, output, sums));
    } else {
        int32_t four[4];
        uint32_t i;
        vstrwq_s32(four, sums);
        for (i = 0; i < 4u; ++i) {
            long_output(end, output + i, four[i], values, place + i);
        }
    }
}

/* Outputs that lie side by side. */
static inline void put_four(const end_t *end, uint32_t output, int32_t s0, int32_t s1,
                            int32_t s2, int32_t s3, void *values, uint32_t place)
{
    int32x4_t sums = vdupq_n_s32(s0);
    sums = vsetq_lane_s32(s1, sums, 1);
    sums = vsetq_lane_s32(s2, sums, 2);
    sums = vsetq_lane_s32(s3, sums, 3);
    if (end->kind == (uint8_t)NARROW_SHORT) {
        vstrbq_s32((int8_t *)values + place,
                   short_outputs(sums, vldrwq_s32(end->multiplier + output), end->round,
                                 end->last));
    } else {
        long_four(end, output, sums, values, place);
    }
}
