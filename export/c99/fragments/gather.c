/* Numbers in another order. */
typedef struct {
    const uint16_t *order;
    uint16_t count;
    uint8_t wide;
} gather_t;

static void gather_row(const gather_t *layer, const void *const from[], void *values)
{
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        if (layer->wide != 0u) {
            ((int32_t *)values)[i] = ((const int32_t *)from[0])[layer->order[i]];
        } else {
            ((int8_t *)values)[i] = ((const int8_t *)from[0])[layer->order[i]];
        }
    }
}
