#if USES_BYTES
/* All columns of four outputs, whose weights take turns word by word. */
INSIDE void four_outputs(const dense_t *layer, uint32_t output, const int8_t *x,
                         void *values)
{
    const end_t *const end = &layer->end;
    const int32_t *const start = end->start + output;
    const int8_t *const weight = layer->weight + output * layer->length;
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t blocks = layer->length / 16u;
    const uint32_t rest = layer->length % 16u;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int8_t *a = x;
        const int8_t *w = weight;
        int32_t s0 = start[0];
        int32_t s1 = start[1];
        int32_t s2 = start[2];
        int32_t s3 = start[3];
        uint32_t i;
        for (i = blocks; i != 0u; --i) {
            const int8x16_t numbers = vldrbq_s8(a);
            const int32x4x4_t four = vld4q_s32((const int32_t *)(const void *)w);
            s0 = vmladavaq_s8(s0, numbers, vreinterpretq_s8_s32(four.val[0]));
            s1 = vmladavaq_s8(s1, numbers, vreinterpretq_s8_s32(four.val[1]));
            s2 = vmladavaq_s8(s2, numbers, vreinterpretq_s8_s32(four.val[2]));
            s3 = vmladavaq_s8(s3, numbers, vreinterpretq_s8_s32(four.val[3]));
            a += 16;
            w += 64;
        }
        if (rest != 0u) {
            const mve_pred16_t lanes = vctp8q(rest);
            const int8x16_t numbers = vldrbq_z_s8(a, lanes);
            /* 16 bytes from word to word of an output */
            const uint32x4_t apart = vshlq_n_u32(vidupq_n_u32(0, 8), 1);
            const int32_t *words = (const int32_t *)(const void *)w;
            s0 = vmladavaq_s8(s0, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words, apart, lanes)));
            s1 = vmladavaq_s8(s1, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 1, apart, lanes)));
            s2 = vmladavaq_s8(s2, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 2, apart, lanes)));
            s3 = vmladavaq_s8(s3, numbers, vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(
                                               words + 3, apart, lanes)));
        }
        put_four(end, output, s0, s1, s2, s3, values, place);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* All columns of so many times four outputs. */
APART static void fours(const dense_t *layer, uint32_t output, uint32_t count,
                        const int8_t *x, void *values)
{
    for (; count != 0u; --count) {
        four_outputs(layer, output, x, values);
        output += 4u;
    }
}

/* All columns of one output. */
APART static void one_output(const dense_t *layer, uint32_t output, const int8_t *x,
                             void *values)
{
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    uint32_t left;
    uint32_t place = output;
    for (left = layer->columns_out; left != 0u; --left) {
        const int8_t *a = x;
        const int8_t *w = layer->weight + output * layer->length;
        int32_t sum = layer->end.start[output];
        int32_t i;
        for (i = layer->length; i > 0; i -= 16) {
            const mve_pred16_t lanes = vctp8q((uint32_t)i);
            sum = vmladavaq_s8(sum, vldrbq_z_s8(a, lanes), vldrbq_z_s8(w, lanes));
            a += 16;
            w += 16;
        }
        put_output(&layer->end, output, sum, values, place);
        x += layer->step;
        place += outputs;
    }
}
#endif

#if USES_NIBBLES
/* Products with the lower and the upper halves of bytes, which hold weights plus 8. */
static inline int32_t add_lower(int32_t sum, int8x16_t numbers, int32x4_t weights)
{
    const int8x16_t both = vreinterpretq_s8_s32(weights);
    return vmladavaq_s8(sum, numbers, vandq_s8(both, vdupq_n_s8(15)));
}

static inline int32_t add_upper(int32_t sum, int8x16_t numbers, int32x4_t weights)
{
    const uint8x16_t both = vreinterpretq_u8_s32(weights);
    return vmladavaq_s8(sum, numbers, vreinterpretq_s8_u8(vshrq_n_u8(both, 4)));
}

/* All columns of four outputs: words have those of the first two or of the others. */
INSIDE void four_outputs_of_nibbles(const dense_t *layer, uint32_t output,
                                    const int8_t *x, void *values)
{
    const end_t *const end = &layer->end;
    const int32_t *const start = end->start + output;
    const uint8_t *const weight = layer->nibbles + output * (layer->length / 2u);
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32_t blocks = layer->length / 16u;
    const uint32_t rest = layer->length % 16u;
    uint32_t left = layer->columns_out;
    uint32_t place = output;
    do {
        const int8_t *a = x;
        const int32_t *w = (const int32_t *)(const void *)weight;
        int32_t s0 = start[0];
        int32_t s1 = start[1];
        int32_t s2 = start[2];
        int32_t s3 = start[3];
        int32_t less = 0;
        uint32_t i;
        for (i = blocks; i != 0u; --i) {
            const int8x16_t numbers = vldrbq_s8(a);
            const int32x4x2_t two = vld2q_s32(w);
            s0 = add_lower(s0, numbers, two.val[0]);
            s1 = add_upper(s1, numbers, two.val[0]);
            s2 = add_lower(s2, numbers, two.val[1]);
            s3 = add_upper(s3, numbers, two.val[1]);
            less = vaddvaq_s8(less, numbers);
            a += 16;
            w += 8;
        }
        if (rest != 0u) {
            const mve_pred16_t lanes = vctp8q(rest);
            const int8x16_t numbers = vldrbq_z_s8(a, lanes);
            const uint32x4_t apart = vidupq_n_u32(0, 8);
            const int32x4_t one = vldrwq_gather_offset_z_s32(w, apart, lanes);
            const int32x4_t other = vldrwq_gather_offset_z_s32(w + 1, apart, lanes);
            s0 = add_lower(s0, numbers, one);
            s1 = add_upper(s1, numbers, one);
            s2 = add_lower(s2, numbers, other);
            s3 = add_upper(s3, numbers, other);
            less = vaddvaq_s8(less, numbers);
        }
        less *= 8;
        put_four(end, output, s0 - less, s1 - less, s2 - less, s3 - less, values, place);
        x += layer->step;
        place += outputs;
        --left;
    } while (left != 0u);
}

/* All columns of so many times four outputs. */
APART static void fours_of_nibbles(const dense_t *layer, uint32_t output, uint32_t count,
                                   const int8_t *x, void *values)
{
    for (; count != 0u; --count) {
        four_outputs_of_nibbles(layer, output, x, values);
        output += 4u;
    }
}

/* All columns of one output: words have eight weights of it. */
APART static void one_output_of_nibbles(const dense_t *layer, uint32_t output,
                                        const int8_t *x, void *values)
{
    const uint8_t *const weight = layer->nibbles + output * (layer->length / 2u);
    const uint32_t outputs = (uint32_t)layer->groups * layer->outputs;
    const uint32x4_t turns = vidupq_n_u32(0, 8);
    uint32_t left;
    uint32_t place = output;
    for (left = layer->columns_out; left != 0u; --left) {
        const int32_t *a = (const int32_t *)(const void *)x;
        const int32_t *w = (const int32_t *)(const void *)weight;
        int32_t sum = layer->end.start[output];
        int32_t less = 0;
        int32_t i;
        for (i = layer->length / 8; i > 0; i -= 4) {
            const mve_pred16_t lanes = vctp32q((uint32_t)i);
            const int32x4_t weights = vldrwq_z_s32(w, lanes);
            const int8x16_t first =
                vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(a, turns, lanes));
            const int8x16_t second =
                vreinterpretq_s8_s32(vldrwq_gather_offset_z_s32(a + 1, turns, lanes));
            sum = add_upper(add_lower(sum, first, weights), second, weights);
            less = vaddvaq_s8(vaddvaq_s8(less, first), second);
            a += 8;
            w += 4;
        }
        put_output(&layer->end, output, sum - 8 * less, values, place);
        x += layer->step;
        place += outputs;
    }
}
#endif

/* All outputs of a group. */
static void all_outputs(const dense_t *layer, uint32_t output, const int8_t *x,
                        void *values)
{
    const uint32_t count = layer->outputs / 4u;
    const uint32_t end = output + layer->outputs;
    uint32_t single = output + 4u * count;
#if USES_BYTES
    if (layer->weight != NULL) {
        fours(layer, output, count, x, values);
        for (; single != end; ++single) {
            one_output(layer, single, x, values);
        }
    }
#endif
#if USES_NIBBLES
    if (layer->nibbles != NULL) {
        fours_of_nibbles(layer, output, count, x, values);
        for (; single != end; ++single) {
            one_output_of_nibbles(layer, single, x, values);
        }
    }
#endif
}
