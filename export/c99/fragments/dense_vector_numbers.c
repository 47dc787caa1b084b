/* A number that columns are multiplied with. */
typedef int8_t number_t;

/* Outputs that lie side by side. */
static inline void put_four(const end_t *end, uint32_t output, int32_t s0, int32_t s1,
                            int32_t s2, int32_t s3, void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        int32x4_t sums = vdupq_n_s32(s0);
        sums = vsetq_lane_s32(s1, sums, 1);
        sums = vsetq_lane_s32(s2, sums, 2);
        sums = vsetq_lane_s32(s3, sums, 3);
        vstrbq_s32((int8_t *)values + place,
                   short_outputs(sums, vldrwq_s32(end->multiplier + output), end->round,
                                 end->last));
    } else {
        long_output(end, output, s0, values, place);
        long_output(end, output + 1u, s1, values, place + 1u);
        long_output(end, output + 2u, s2, values, place + 2u);
        long_output(end, output + 3u, s3, values, place + 3u);
    }
}
