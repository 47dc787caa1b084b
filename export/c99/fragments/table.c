typedef struct {
    const int8_t *narrow; /* one of both */
    const int32_t *wide;
    uint16_t count;
} table_t;

/* Looks up single int8 numbers. */
static void table_row(const table_t *layer, const void *const from[], void *values)
{
    const int8_t *numbers = (const int8_t *)from[0];
    uint32_t i;
    for (i = 0; i < layer->count; ++i) {
        const uint32_t place = (uint32_t)(numbers[i] + 128);
        if (layer->wide != NULL) {
            ((int32_t *)values)[i] = layer->wide[place];
        } else {
            ((int8_t *)values)[i] = layer->narrow[place];
        }
    }
}
