/* Mean over time, weighted by a softmax. */
typedef struct {
    int32_t multiplier;
    uint16_t count; /* numbers of the result */
    uint8_t shift;
    uint8_t before;
    uint8_t last; /* shift of upper words, 0 if they are not enough */
} softmax_pool_t;

/* Adds a row to sums: numerators, then denominators, and their references. */
APART static void softmax_pool_add(const softmax_pool_t *pool, int64_t *sums,
                                   int32_t *references, const void *const from[],
                                   uint32_t row)
{
    const int32_t *value = (const int32_t *)from[0];
    const int32_t *score = (const int32_t *)from[1];
    const uint32_t count = pool->count;
    const uint32_t last = pool->last;
    uint32_t i;
    for (i = 0; i < count; ++i) {
        int64_t logarithm;
        int32_t needed;
        uint32_t below;
        uint32_t place;
        uint32_t weight;
        if (last != 0u) {
            const int32_t half = (int32_t)(((uint32_t)1 << last) >> 1);
            logarithm = (upper(score[i], pool->multiplier) + half) >> last;
            needed = -((-(int32_t)logarithm) >> 16);
        } else {
            logarithm = rescale(score[i], pool->multiplier, pool->shift, pool->before);
            needed = (int32_t)(-((-logarithm) >> 16));
        }
        if (row == 0u) {
            references[i] = needed;
        }
        if (needed > references[i]) {
            const uint32_t rise = (uint32_t)(needed - references[i]);
            const uint32_t drop = (rise < 62u) ? rise : 62u;
            sums[i] = round_shift(sums[i], drop);
            sums[count + i] = round_shift(sums[count + i], drop);
            references[i] = needed;
        }
        if (last != 0u) {
            below = (uint32_t)(references[i] * 65536 - (int32_t)logarithm);
        } else {
            const uint64_t far = (uint64_t)((int64_t)references[i] * 65536 - logarithm);
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

static void softmax_pool_result(const softmax_pool_t *pool, const int64_t *sums,
                                uint32_t rows, void *values)
{
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t denominator = sums[pool->count + i];
        ((int32_t *)values)[i] = (int32_t)divide(sums[i] + denominator / 2, denominator);
    }
    (void)rows;
}
