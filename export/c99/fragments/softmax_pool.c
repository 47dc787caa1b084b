/* Mean over time, weighted by a softmax. */
typedef struct {
    int32_t multiplier;
    uint16_t count; /* numbers of the result */
    uint8_t shift;
    uint8_t before;
    uint8_t last; /* shift of upper words, 0 if they are not enough */
} softmax_pool_t;

/* Sums are halved before a row is added to a denominator above it. */
#define FULL ((int64_t)131070 << 16)

/* Adds a row to sums: numerators, denominators, and how far older rows have fallen.
 * References are octaves; that and they wrap, their differences are small. */
APART static void softmax_pool_add(const softmax_pool_t *pool, int64_t *sums,
                                   int32_t *references, const void *const from[],
                                   uint32_t decay)
{
    const int32_t *value = (const int32_t *)from[0];
    const int32_t *score = (const int32_t *)from[1];
    const uint32_t count = pool->count;
    const uint32_t last = pool->last;
    const uint64_t fallen =
        ((uint64_t)sums[2u * count] + decay) & (((uint64_t)1 << 56) - 1u);
    const uint32_t octaves = (uint32_t)(fallen >> 24);
    const int32_t part = (int32_t)(((uint32_t)fallen >> 8) & 0xffffu);
    uint32_t i;
    sums[2u * count] = (int64_t)fallen;
    for (i = 0; i < count; ++i) {
        int64_t logarithm;
        int32_t reference = (int32_t)((uint32_t)references[i] - octaves);
        int32_t rise;
        uint32_t below;
        uint32_t place;
        uint32_t weight;
        if (last != 0u) {
            const int32_t half = (int32_t)(((uint32_t)1 << last) >> 1);
            logarithm = (plus_upper(half, score[i], pool->multiplier) >> last) + part;
            rise = -((-(int32_t)logarithm) >> 16) - reference;
        } else {
            logarithm =
                rescale(score[i], pool->multiplier, pool->shift, pool->before) + part;
            rise = (int32_t)(-((-logarithm) >> 16)) - reference;
        }
        if ((rise < 1) && (sums[count + i] > FULL)) {
            rise = 1;
        }
        if (rise > 0) {
            const uint32_t drop = (rise < 62) ? (uint32_t)rise : 62u;
            sums[i] = round_shift(sums[i], drop);
            sums[count + i] = round_shift(sums[count + i], drop);
            reference += rise;
            references[i] = (int32_t)((uint32_t)reference + octaves);
        }
        if (last != 0u) {
            below = ((uint32_t)reference << 16) - (uint32_t)(int32_t)logarithm;
        } else {
            const uint64_t far = (uint64_t)((int64_t)reference * 65536 - logarithm);
            /* there is nothing left that far below */
            below = (far < 0x7fffffffu) ? (uint32_t)far : 0x7fffffffu;
        }
        place = (below >> 8) & 255u;
        /* the table holds what is missing to 65536 */
        weight = 65536u - exp_table[place] -
                 ((((uint32_t)exp_table[place + 1u] - exp_table[place]) * (below & 255u) +
                   128u) >>
                  8);
        below >>= 16;
        weight = (below < 18u) ? ((weight + (((uint32_t)1 << below) >> 1)) >> below) : 0u;
        sums[i] += (int64_t)(int32_t)weight * value[i];
        sums[count + i] += (int64_t)weight;
    }
}

APART static void softmax_pool_result(const softmax_pool_t *pool, const int64_t *sums,
                                uint32_t rows, void *values)
{
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t denominator = sums[pool->count + i];
        ((int32_t *)values)[i] = (int32_t)divide(sums[i] + denominator / 2, denominator);
    }
    (void)rows;
}
