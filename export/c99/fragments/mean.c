/* Mean over time, and over what is added to the same place. */
typedef struct {
    const uint16_t *target; /* where a number of a row is added */
    int32_t multiplier;
    uint16_t count;         /* numbers of the result */
    uint16_t numbers;       /* numbers of a row */
    int16_t zero_in;
    int16_t zero_out;
    uint8_t shift;
    uint8_t before;
    uint8_t fraction;
    uint8_t wide_in;
    uint8_t wide;
} mean_t;

static void mean_add(const mean_t *pool, int64_t *sums, int32_t *references,
                     const void *const from[], uint32_t decay)
{
    uint32_t i;
    for (i = 0; i < pool->numbers; ++i) {
        sums[pool->target[i]] += fetch(from[0], pool->wide_in, i) - pool->zero_in;
    }
    (void)references;
    (void)decay;
}

static void mean_result(const mean_t *pool, const int64_t *sums, uint32_t rows,
                        void *values)
{
    const int64_t count = (int64_t)rows * (pool->numbers / pool->count);
    uint32_t i;
    for (i = 0; i < pool->count; ++i) {
        const int64_t total = sums[i] * ((int64_t)1 << pool->fraction);
        const int64_t mean = divide(total + count / 2, count);
        store(values, pool->wide, i,
              rescale(mean, pool->multiplier, pool->shift, pool->before),
              pool->zero_out);
    }
}
