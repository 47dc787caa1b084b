#if HAS_FURTHER
/* -- outputs beside the scores ------------------------------------------------ */

/* Logarithm to base 2 of a number, in steps of 2^-16. */
static int64_t to_octaves(int32_t number, int32_t multiplier, uint32_t shift)
{
    return ((int64_t)number * multiplier + ((int64_t)1 << (shift - 1u))) >> shift;
}

/* 2^-octaves in steps of 2^-16; as the weights of the pools. */
static uint32_t power_below(int64_t octaves)
{
    const uint32_t below = (octaves < 0x7fffffff) ? (uint32_t)octaves : 0x7fffffffu;
    const uint32_t place = (below >> 8) & 255u;
    const uint32_t low = exp_table[place];
    const uint32_t more = (exp_table[place + 1u] - low) * (below & 255u);
    const uint32_t weight = 65536u - low - ((more + 128u) >> 8);
    const uint32_t drop = below >> 16;
    return (drop < 18u) ? ((weight + (((uint32_t)1 << drop) >> 1)) >> drop) : 0u;
}

#if HAS_CATEGORIES
wav2small_status wav2small_latest_categories(wav2small_state *state,
                                             uint16_t shares[WAV2SMALL_CATEGORIES])
{
    int32_t scores[WAV2SMALL_SCORES];
    wav2small_status status = check(state);
    const int32_t *odds;
    int32_t most;
    uint32_t total = 0;
    uint32_t i;
    if ((status == WAV2SMALL_OK) && (shares == NULL)) {
        status = WAV2SMALL_NO_POINTER;
    }
    if (status == WAV2SMALL_OK) {
        status = wav2small_latest_integers(state, scores);
    }
    if (status != WAV2SMALL_OK) {
        return status;
    }
    odds = (const int32_t *)(const void *)(state->scratch.bytes + CATEGORIES_PLACE);
    most = odds[0];
    for (i = 1; i < (uint32_t)WAV2SMALL_CATEGORIES; ++i) {
        most = (odds[i] > most) ? odds[i] : most;
    }
    /* weights first: their sum is needed for each share */
    for (i = 0; i < (uint32_t)WAV2SMALL_CATEGORIES; ++i) {
        total += power_below(to_octaves(most, CATEGORIES_MULTIPLIER, CATEGORIES_SHIFT) -
                             to_octaves(odds[i], CATEGORIES_MULTIPLIER, CATEGORIES_SHIFT));
    }
    for (i = 0; i < (uint32_t)WAV2SMALL_CATEGORIES; ++i) {
        const uint32_t weight =
            power_below(to_octaves(most, CATEGORIES_MULTIPLIER, CATEGORIES_SHIFT) -
                        to_octaves(odds[i], CATEGORIES_MULTIPLIER, CATEGORIES_SHIFT));
        /* 2^16 * 2^15 and half of 64 * 2^16 fit */
        shares[i] = (uint16_t)((weight * 32768u + total / 2u) / total);
    }
    return WAV2SMALL_OK;
}
#endif

#if HAS_DOUBT
wav2small_status wav2small_latest_doubts(wav2small_state *state,
                                         uint16_t parts[WAV2SMALL_SCORES])
{
    int32_t scores[WAV2SMALL_SCORES];
    wav2small_status status = check(state);
    const int32_t *doubts;
    uint32_t i;
    if ((status == WAV2SMALL_OK) && (parts == NULL)) {
        status = WAV2SMALL_NO_POINTER;
    }
    if (status == WAV2SMALL_OK) {
        status = wav2small_latest_integers(state, scores);
    }
    if (status != WAV2SMALL_OK) {
        return status;
    }
    doubts = (const int32_t *)(const void *)(state->scratch.bytes + DOUBT_PLACE);
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        const int64_t octaves =
            to_octaves(doubts[i], DOUBT_MULTIPLIER, DOUBT_SHIFT);
        parts[i] = (uint16_t)((power_below((octaves < 0) ? -octaves : 0) + 2u) >> 2);
    }
    return WAV2SMALL_OK;
}
#endif
#endif
