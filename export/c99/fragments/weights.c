/* -- weights: constants, or in a blob that init was given ----------------------- */

#if defined(WAV2SMALL_BLOB)
#define WITH_WEIGHTS const weights_t *weights,
#define WEIGHTS weights_of(state),
#define USE_LAYER(kernel)                                   \
    const kernel##_t made = kernel##_layer(weights, layer); \
    const kernel##_t *const one = &made
#define SCORE_STEP (state->model->step)
#define SCORE_ZERO (state->model->zero_point)

static const weights_t *weights_of(const wav2small_state *state)
{
    return (const weights_t *)(const void *)(state->model + 1);
}

/* CRC-32 as of zlib, four bits at a time. */
static uint32_t checksum(uint32_t crc, const uint8_t *bytes, size_t count)
{
    static const uint32_t of_four[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    size_t i;
    for (i = 0; i < count; ++i) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ of_four[crc & 15u];
        crc = (crc >> 4) ^ of_four[crc & 15u];
    }
    return crc;
}

/* Whether a blob is whole, and of this network. */
static wav2small_status look_at(const void *blob, size_t bytes)
{
    const wav2small_model *model = (const wav2small_model *)blob;
    const uint8_t *const first = (const uint8_t *)blob;
    uint32_t crc;
    uint32_t i;
    if (blob == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    /* a blob of the other order of bytes has another length */
    if (((uintptr_t)blob % 8u != 0u) || (bytes < sizeof *model) || (first[0] != 'w') ||
        (first[1] != '2') || (first[2] != 's') || (first[3] != 'm') ||
        (model->bytes < sizeof *model) || (model->bytes > bytes)) {
        return WAV2SMALL_NO_MODEL;
    }
    crc = checksum(0xffffffffu, first, 12);
    crc = ~checksum(crc, first + 16, (size_t)model->bytes - 16u);
    if (crc != model->crc) {
        return WAV2SMALL_NO_MODEL;
    }
    if ((model->layout != (uint32_t)WAV2SMALL_LAYOUT) ||
        (model->bytes != sizeof *model + sizeof(weights_t))) {
        return WAV2SMALL_OTHER_MODEL;
    }
    for (i = 0; i < 32u; ++i) {
        if (model->structure[i] != structure[i]) {
            return WAV2SMALL_OTHER_MODEL;
        }
    }
    return WAV2SMALL_OK;
}
#else
#define WITH_WEIGHTS
#define WEIGHTS
#define USE_LAYER(kernel) const kernel##_t *const one = &kernel##_layers[layer]
#define SCORE_STEP WAV2SMALL_STEP
#define SCORE_ZERO WAV2SMALL_ZERO_POINT
#endif
