/* Convolution or product with a matrix, of int8. What a column is multiplied with
 * lies in one piece of units; neighbours share units. */
typedef struct {
    end_t end;
    const int8_t *weight;
    const uint8_t *nibbles;    /* or two weights in a byte */
    uint16_t length;           /* numbers that a column is multiplied with */
    uint16_t step;             /* numbers from column to column */
    uint16_t pitch;            /* numbers of a unit, with zeros behind them */
    uint16_t units;
    uint16_t hop;              /* columns of the input from unit to unit */
    uint16_t across;           /* columns of the input in a unit */
    uint16_t dilation;         /* columns from one of those to the next */
    uint16_t left;             /* border */
    uint16_t columns_in;
    uint16_t columns_out;
    uint16_t groups;
    uint16_t outputs;          /* of a group */
    uint16_t channels;         /* of a group */
    int16_t zero_in;
    uint8_t taps;
    uint8_t flat;              /* whether weights are taken from flash */
    uint8_t twice;             /* whether 8 divides the length */
    uint8_t thrice;            /* whether 12 does */
} dense_t;

/* Four bytes of weights, or eight weights of half bytes. Lanes of 16 bits take them in
 * the order of the tables; vectors take bytes in their own order, and the lower
 * halves of bytes before the upper ones. */
#if VECTORS
#define FOUR_WEIGHTS(a, b, c, d) a, c, b, d
#define EIGHT_WEIGHTS(a, b, c, d)                                              \
    ((a) & 15) | (((b) & 15) << 4), ((c) & 15) | (((d) & 15) << 4),            \
        ((a) >> 4) | ((b) & 240), ((c) >> 4) | ((d) & 240)
#else
#define FOUR_WEIGHTS(a, b, c, d) a, b, c, d
#define EIGHT_WEIGHTS(a, b, c, d) a, b, c, d
#endif

#if VECTORS
#include "dense_vector_numbers.c"
#else
#include "dense_lanes.c"
#endif

/* Numbers of a tap that columns are multiplied with; zero_in for border. */
APART static void fill_tap(const dense_t *layer, const int8_t *row, uint32_t place,
                           number_t *to)
{
    const uint32_t channels = layer->channels;
    const uint32_t hop = layer->hop;
    const uint32_t stride = hop * channels * layer->groups;
#if !VECTORS
    const uint32_t fours = channels / 4u;
    const uint32_t rest = channels % 4u;
#endif
    const uint32_t gap = layer->pitch - channels;
    const uint32_t columns_in = (row != NULL) ? layer->columns_in : 0u;
    const number_t zero = (number_t)layer->zero_in;
    uint32_t offset = place * channels * layer->groups;
    uint32_t left = layer->units;
    if (channels == 1u) {
        ROLLED
        do {
            *to = (place < columns_in) ? row[offset] : zero;
            to += gap + 1u;
            place += hop;
            offset += stride;
            --left;
        } while (left != 0u);
        return;
    }
    ROLLED
    do {
#if VECTORS
        const int8_t *from = (place < columns_in) ? (row + offset) : NULL;
        uint32_t i;
        for (i = channels; i != 0u;) {
            const uint32_t some = (i < 16u) ? i : 16u;
            const mve_pred16_t lanes = vctp8q(i);
            int8x16_t numbers = vdupq_n_s8(zero);
            if (from != NULL) {
                numbers = vldrbq_z_s8(from, lanes);
                from += some;
            }
            vstrbq_p_s8(to, numbers, lanes);
            to += some;
            i -= some;
        }
#else
        uint32_t i;
        if (place < columns_in) {
            const int8_t *from = row + offset;
            ROLLED
            for (i = fours; i != 0u; --i) {
                const int16_t a = from[0];
                const int16_t b = from[1];
                const int16_t c = from[2];
                const int16_t d = from[3];
                to[0] = a;
                to[1] = b;
                to[2] = c;
                to[3] = d;
                from += 4;
                to += 4;
            }
            ROLLED
            for (i = rest; i != 0u; --i) {
                *to = *from;
                ++from;
                ++to;
            }
        } else {
            ROLLED
            for (i = channels; i != 0u; --i) {
                *to = zero;
                ++to;
            }
        }
#endif
        to += gap;
        place += hop;
        offset += stride;
        --left;
    } while (left != 0u);
}

/* Numbers of a group that columns are multiplied with. */
static void fill(const dense_t *layer, const void *const rows[], uint32_t group,
                 number_t *to)
{
    const uint32_t channels = layer->channels;
    number_t *at = to;
    /* a place before the first column wraps around and is large */
    uint32_t place = 0u - (uint32_t)layer->left;
    uint32_t across;
    uint32_t filled;
    for (across = 0; across < layer->across; ++across) {
        uint32_t tap;
        for (tap = 0; tap < layer->taps; ++tap) {
            const int8_t *row = (const int8_t *)rows[tap];
            fill_tap(layer, (row != NULL) ? (row + group * channels) : NULL, place, at);
            at += channels;
        }
        place += layer->dilation;
    }
    for (filled = (uint32_t)(at - to); filled < layer->pitch; ++filled) {
        uint32_t unit;
        at = to + filled;
        for (unit = 0; unit < layer->units; ++unit) {
            *at = 0;
            at += layer->pitch;
        }
    }
}

#if VECTORS
#include "dense_vectors.c"
#else
#if USES_COLUMNS
#include "dense_columns.c"
#endif
#if USES_COLUMN
#include "dense_column.c"
#endif
#endif

static void dense_row(const dense_t *layer, const void *const rows[], void *values,
                      int16_t *work)
{
    uint32_t group;
    uint32_t output = 0;
    for (group = 0; group < layer->groups; ++group) {
        const uint32_t end = output + layer->outputs;
#if VECTORS
        int8_t *const numbers = (int8_t *)(void *)work;
        fill(layer, rows, group, numbers);
        all_outputs(layer, output, numbers, values);
        output = end;
#else
        fill(layer, rows, group, work);
#if USES_COLUMN
        if (layer->flat != 0u) {
            const int16_t *x = work;
            uint32_t place = output;
            uint32_t column;
            for (column = 0; column < layer->columns_out; ++column) {
#if USES_BYTES
                if (layer->weight != NULL) {
                    one_column(layer, output, x, values, place);
                }
#endif
#if USES_NIBBLES
                if (layer->nibbles != NULL) {
                    one_column_of_nibbles(layer, output, x, values, place);
                }
#endif
                x += layer->step;
                place += (uint32_t)layer->groups * layer->outputs;
            }
            output = end;
        }
#endif
#if USES_COLUMNS
        if (layer->flat == 0u) {
            int16_t *const weights = work + (uint32_t)layer->units * layer->pitch;
            const uint32_t length = layer->length;
            while (output != end) {
                if (end - output >= 4u) {
                    unpack(layer, output * length, 4u * length, weights);
                    four_outputs(layer, output, work, weights, values);
                    output += 4u;
                } else {
                    unpack(layer, output * length, length, weights);
                    one_output(layer, output, work, weights, values);
                    output += 1u;
                }
            }
        }
#endif
#endif
    }
}
