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
    uint8_t twice;             /* whether 16 divides the length */
    uint8_t twelves;           /* 2 if 24 divides the length, 1 if 12 does */
} dense_t;

/* Tables have the order of lanes of 16 bits. Four numbers' weights of four outputs lie
 * by pairs of numbers and of outputs, in half bytes by pairs of numbers alone; those of
 * one output have the second and the third of each four in each other's place. Vectors
 * take bytes in their own order, and the lower halves of bytes before the upper ones. */
#if VECTORS
#define FOUR_BY_FOUR(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    a, c, i, k, b, d, j, l, e, g, m, o, f, h, n, p
#define FLAT_FOUR_BY_FOUR FOUR_BY_FOUR
#define FOUR_BY_FOUR_HALVES(a, b, c, d, e, f, g, h) \
    a, c, e, g, (b) ^ 128, (d) ^ 128, (f) ^ 128, (h) ^ 128
#define FOUR(a, b, c, d) a, c, b, d
#define EIGHT_HALVES(a, b, c, d)                                               \
    ((a) & 15) | (((b) & 15) << 4), ((c) & 15) | (((d) & 15) << 4),            \
        ((a) >> 4) | ((b) & 240), ((c) >> 4) | ((d) & 240)
#else
#define FOUR_BY_FOUR(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) \
    a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p
#if LANES
/* with the upper byte a lane is 256 times the one and once the other, sign and all */
#define BOTH(a, b) a, (b) - ((a) < 0)
#define FLAT_FOUR_BY_FOUR(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)  \
    BOTH(a, b), BOTH(c, d), BOTH(e, f), BOTH(g, h), BOTH(i, j), BOTH(k, l), \
        BOTH(m, n), BOTH(o, p)
#else
#define FLAT_FOUR_BY_FOUR FOUR_BY_FOUR
#endif
/* The upper weight of a pair. In blobs it is as BOTH has it. */
#if defined(WAV2SMALL_BLOB)
#define UPPER_OF(pair) ((pair)[1] + (((pair)[0] < 0) ? 1 : 0))
#else
#define UPPER_OF(pair) ((pair)[1])
#endif
#define FOUR_BY_FOUR_HALVES(a, b, c, d, e, f, g, h) a, b, c, d, e, f, g, h
#define FOUR(a, b, c, d) a, b, c, d
#define EIGHT_HALVES(a, b, c, d) a, b, c, d
#endif

#if VECTORS
#include "dense_vector_numbers.c"
#else
#include "dense_lanes.c"
#endif

/* Numbers of one place. */
static inline void copy_numbers(const int8_t *from, uint32_t count, number_t *to)
{
#if VECTORS
    for (; count != 0u;) {
        const uint32_t some = (count < 16u) ? count : 16u;
        const mve_pred16_t lanes = vctp8q(count);
        vstrbq_p_s8(to, vldrbq_z_s8(from, lanes), lanes);
        from += some;
        to += some;
        count -= some;
    }
#else
#if LANES
    if (count >= 4u) {
        const int8_t *const last = from + (count - 4u);
        int16_t *const last_to = to + (count - 4u);
        while (from < last) {
            widen_four(to, from);
            from += 4;
            to += 4;
        }
        widen_four(last_to, last);
        return;
    }
#endif
    ROLLED
    for (; count != 0u; --count) {
        *to = *from;
        ++from;
        ++to;
    }
#endif
}

/* Border of so many units. */
APART static number_t *fill_border(const dense_t *layer, uint32_t units, number_t *to)
{
    const number_t zero = (number_t)layer->zero_in;
    for (; units != 0u; --units) {
        uint32_t i;
        ROLLED
        for (i = 0; i < layer->channels; ++i) {
            to[i] = zero;
        }
        to += layer->pitch;
    }
    return to;
}

#if VECTORS
/* Numbers that lie apart, to places that do, eight at a time. Returns where others go. */
static inline number_t *spread(number_t *to, uint32_t pitch, const int8_t *from,
                               uint32_t stride, uint32_t count)
{
    const uint16x8_t turns = vidupq_n_u16(0, 1);
    const uint16x8_t apart = vmulq_n_u16(turns, (uint16_t)stride);
    const uint16x8_t apart_to = vmulq_n_u16(turns, (uint16_t)pitch);
    number_t *const end = to + count * pitch;
    for (;;) {
        const mve_pred16_t lanes = vctp16q(count);
        vstrbq_scatter_offset_p_s16(
            to, apart_to, vldrbq_gather_offset_z_s16(from, apart, lanes), lanes);
        if (count <= 8u) {
            return end;
        }
        count -= 8u;
        from += 8u * stride;
        to += 8u * pitch;
    }
}
#endif

/* Numbers of a tap that columns are multiplied with; zero_in for border. */
APART static void fill_tap(const dense_t *layer, const int8_t *row, uint32_t place,
                           number_t *to)
{
    const uint32_t channels = layer->channels;
    const uint32_t hop = layer->hop;
    const uint32_t stride = hop * channels * layer->groups;
    const uint32_t pitch = layer->pitch;
    const uint32_t columns_in = layer->columns_in;
    uint32_t left = layer->units;
    uint32_t border = 0;
    uint32_t inside = 0;
    if (row == NULL) {
        border = left;
    } else if (place >= columns_in) {
        /* before the first column */
        border = (hop - 1u - place) / hop;
        border = (border < left) ? border : left;
        place += border * hop;
    } else {
        /* it begins at a column */
    }
    to = fill_border(layer, border, to);
    left -= border;
    if ((left != 0u) && (place < columns_in)) {
        const int8_t *from = row + place * channels * layer->groups;
        inside = (columns_in - 1u - place) / hop + 1u;
        inside = (inside < left) ? inside : left;
        left -= inside;
        if (channels == 1u) {
#if VECTORS
            to = spread(to, pitch, from, stride, inside);
#else
#if LANES
            ROLLED
            for (; inside >= 4u; inside -= 4u) {
                to[0] = from[0];
                to[pitch] = from[stride];
                to[2u * pitch] = from[2u * stride];
                to[3u * pitch] = from[3u * stride];
                from += 4u * stride;
                to += 4u * pitch;
            }
#endif
            ROLLED
            for (; inside != 0u; --inside) {
                *to = *from;
                from += stride;
                to += pitch;
            }
#endif
#if VECTORS
        } else if (channels <= 16u) {
            const mve_pred16_t lanes = vctp8q(channels);
            ROLLED
            for (; inside != 0u; --inside) {
                vstrbq_p_s8(to, vldrbq_z_s8(from, lanes), lanes);
                from += stride;
                to += pitch;
            }
#endif
#if LANES
        } else if ((((uintptr_t)to % 4u) | (channels % 8u) | (pitch % 2u)) == 0u) {
            ROLLED
            for (; inside != 0u; --inside) {
                const int8_t *some = from;
                number_t *to_some = to;
                const number_t *const end = to + channels;
                do {
                    WIDEN_EIGHT(to_some, some);
                } while (to_some != end);
                from += stride;
                to += pitch;
            }
#endif
        } else {
            ROLLED
            for (; inside != 0u; --inside) {
                copy_numbers(from, channels, to);
                from += stride;
                to += pitch;
            }
        }
    }
    (void)fill_border(layer, left, to);
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
