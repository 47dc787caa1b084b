typedef struct {
    uint16_t count;
} relu_t;

/* What is above 0 of int32 numbers. */
static void relu_row(const relu_t *layer, const void *const from[], void *values)
{
    const int32_t *numbers = (const int32_t *)from[0];
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        ((int32_t *)values)[i] = (numbers[i] > 0) ? numbers[i] : 0;
    }
}
