/* Product of two matrices. */
typedef struct {
    int32_t multiplier;
    uint16_t rows;
    uint16_t terms;
    uint16_t columns;
    int16_t zero_in[2];
    int16_t zero_out;
    uint8_t shifts[2];
    uint8_t wide_in[2];
    uint8_t shift;
    uint8_t before;
    uint8_t wide;
} matrix_product_t;

static void matrix_product_row(const matrix_product_t *layer, const void *const from[],
                               void *values)
{
    uint32_t i;
    uint32_t j;
    uint32_t k;
    for (i = 0; i < layer->rows; ++i) {
        for (j = 0; j < layer->columns; ++j) {
            int64_t sum = 0;
            for (k = 0; k < layer->terms; ++k) {
                const int32_t x =
                    fetch(from[0], layer->wide_in[0], i * layer->terms + k) -
                    layer->zero_in[0];
                const int32_t y =
                    fetch(from[1], layer->wide_in[1], k * layer->columns + j) -
                    layer->zero_in[1];
                sum += round_shift(x, layer->shifts[0]) *
                       round_shift(y, layer->shifts[1]);
            }
            store(values, layer->wide, i * layer->columns + j,
                  rescale(sum, layer->multiplier, layer->shift, layer->before),
                  layer->zero_out);
        }
    }
}
