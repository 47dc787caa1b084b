/* -- what is called --------------------------------------------------------- */

static wav2small_status check(const wav2small_state *state)
{
    if (state == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    return (state->ready == READY) ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
}

#if VOICE_STAGES
static void begin_voice(wav2small_state *state)
{
    state->voice = 0;
    state->odds = 0;
    state->left = 0;
}
#endif

static void begin(wav2small_state *state)
{
    uint32_t i;
    state->count = 0;
    state->frames = 0;
    state->fill = PADDING_BEFORE;
    state->skip = 0;
    state->covered = 0;
#if VOICE_STAGES
    state->clock = 0;
    begin_voice(state);
#endif
    state->next = 0;
    state->credit = 0;
    for (i = 0; i < (uint32_t)WINDOW_LENGTH; ++i) {
        state->samples[i] = 0;
    }
#if PAST_FRAMES
    state->past_total = 0;
#endif
    for (i = 0; i < (uint32_t)SUMS; ++i) {
        state->sums[i] = 0;
    }
#if REFERENCES
    for (i = 0; i < (uint32_t)REFERENCES; ++i) {
        state->references[i] = -(1 << 30); /* below that of any row */
    }
#endif
}

#if defined(WAV2SMALL_BLOB)
#define LOOK_AT_MODEL                                     \
    do {                                                  \
        const wav2small_status seen = look_at(model, bytes); \
        if (seen != WAV2SMALL_OK) {                       \
            return seen;                                  \
        }                                                 \
    } while (0)
#define TAKE_MODEL state->model = (const wav2small_model *)model
#else
#define LOOK_AT_MODEL ((void)0)
#define TAKE_MODEL ((void)0)
#endif

static void begin_first(wav2small_state *state)
{
#if REFERENCES
    uint32_t i;
    for (i = 0; i < (uint32_t)POOL_COUNT; ++i) {
        state->decays[i] = pools[i].decay;
    }
#endif
    state->covering = 0;
#if VOICE_STAGES
    state->speech_alone = 0;
#endif
    state->ready = READY;
    begin(state);
}

#if NORMALISED
/* a full scale of 2^15 in the mean's 11 bits, and twice what a logarithm can be */
#define MAX_MEAN (1 << 26)
#define MAX_GAIN (128 << FRACTION)

wav2small_status wav2small_measure(const int16_t *samples, size_t count,
                                   wav2small_level *level)
{
    int64_t total = 0;
    uint64_t squares = 0;
    uint64_t size;
    uint64_t number;
    uint64_t high;
    uint64_t low;
    uint64_t more;
    size_t i;
    if ((samples == NULL) || (level == NULL)) {
        return WAV2SMALL_NO_POINTER;
    }
    if (count < (size_t)WAV2SMALL_MIN_SAMPLES) {
        return WAV2SMALL_TOO_SHORT;
    }
    if (count > (size_t)WAV2SMALL_MAX_SAMPLES) {
        return WAV2SMALL_TOO_LONG;
    }
    for (i = 0; i < count; ++i) {
        total += samples[i];
        squares += (uint64_t)((int32_t)samples[i] * samples[i]);
    }
    number = count;
    size = (uint64_t)((total < 0) ? -total : total);
    /* number * squares - size * size in two words, the lower one of 32 bits */
    low = number * (squares & 0xffffffffu);
    high = number * (squares >> 32) + (low >> 32);
    low &= 0xffffffffu;
    more = (size & 0xffffffffu) * (size & 0xffffffffu);
    high -= (((size >> 32) * (size >> 32)) << 32) +
            2u * (size >> 32) * (size & 0xffffffffu) + (more >> 32);
    if (low < (more & 0xffffffffu)) {
        low += (uint64_t)1 << 32;
        high -= 1u;
    }
    low -= more & 0xffffffffu;
    /* 8 bits higher, and the floor */
    low <<= 8;
    high = (high << 8) + (low >> 32);
    low &= 0xffffffffu;
    more = (uint64_t)POWER_FLOOR * ((number * number) & 0xffffffffu);
    low += more & 0xffffffffu;
    high += (uint64_t)POWER_FLOOR * ((number * number) >> 32) + (more >> 32) +
            (low >> 32);
    low &= 0xffffffffu;
    level->mean = (int32_t)divide(total * 4096 + (int64_t)number, 2 * (int64_t)number);
    level->gain = log2_of(high, (uint32_t)low) - 2 * log2_of(0, (uint32_t)number) - (38 << FRACTION);
    return WAV2SMALL_OK;
}

wav2small_status wav2small_init(wav2small_state *state WAV2SMALL_WITH_MODEL,
                                const wav2small_level *level)
{
    if ((state == NULL) || (level == NULL)) {
        return WAV2SMALL_NO_POINTER;
    }
    LOOK_AT_MODEL;
    /* what is beyond 16-bit samples would overflow where it is used */
    if ((level->mean < -MAX_MEAN) || (level->mean > MAX_MEAN) ||
        (level->gain < -MAX_GAIN) || (level->gain > MAX_GAIN)) {
        return WAV2SMALL_NO_LEVEL;
    }
    state->level = *level;
    TAKE_MODEL;
    begin_first(state);
    return WAV2SMALL_OK;
}
#else
wav2small_status wav2small_init(wav2small_state *state WAV2SMALL_WITH_MODEL)
{
    if (state == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    LOOK_AT_MODEL;
    TAKE_MODEL;
    begin_first(state);
    return WAV2SMALL_OK;
}
#endif

wav2small_status wav2small_reset(wav2small_state *state)
{
    const wav2small_status status = check(state);
    if (status == WAV2SMALL_OK) {
        begin(state);
    }
    return status;
}

#if FORGETS
wav2small_status wav2small_forget(wav2small_state *state, uint32_t milliseconds)
{
    const wav2small_status status = check(state);
    uint32_t i;
    if (status == WAV2SMALL_OK) {
        for (i = 0; i < (uint32_t)POOL_COUNT; ++i) {
            const uint32_t whole = pools[i].per_millisecond;
            state->decays[i] = 0;
            if (milliseconds != 0u) {
                state->decays[i] = whole / milliseconds +
                                   ((whole % milliseconds >=
                                     milliseconds - milliseconds / 2u) ? 1u : 0u);
            }
        }
    }
    return status;
}
#endif

wav2small_status wav2small_cover(wav2small_state *state, int covered)
{
    const wav2small_status status = check(state);
    if (status == WAV2SMALL_OK) {
        state->covering = (covered != 0) ? 1u : 0u;
    }
    return status;
}

#if VOICE_STAGES
wav2small_status wav2small_listen(wav2small_state *state, int speech_alone)
{
    const wav2small_status status = check(state);
    if (status == WAV2SMALL_OK) {
        state->speech_alone = (speech_alone != 0) ? 1u : 0u;
        begin_voice(state);
    }
    return status;
}

wav2small_status wav2small_speech(const wav2small_state *state, int32_t *log_odds)
{
    const wav2small_status status = check(state);
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (log_odds == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if (state->voice == 0u) {
        return WAV2SMALL_TOO_SHORT;
    }
    *log_odds = state->odds;
    return WAV2SMALL_OK;
}

int wav2small_hears(const wav2small_state *state)
{
    return ((check(state) == WAV2SMALL_OK) &&
            ((state->speech_alone == 0u) || (state->left != 0u)))
               ? 1
               : 0;
}
#endif

wav2small_status wav2small_push(wav2small_state *state, const int16_t *samples,
                                size_t count)
{
    const wav2small_status status = check(state);
    const uint32_t some = (count < 0x8000u) ? (uint32_t)count : 0x8000u;
    uint32_t budget;
    uint32_t spent = 0;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if ((samples == NULL) && (count != 0u)) {
        return WAV2SMALL_NO_POINTER;
    }
#if LAP
    /* no more are counted than a result needs */
    {
        const uint32_t room = (uint32_t)WAV2SMALL_MIN_SAMPLES - state->count;
        state->count += (count < room) ? (uint32_t)count : room;
    }
#else
    if (count > (size_t)WAV2SMALL_MAX_SAMPLES - state->count) {
        return WAV2SMALL_TOO_LONG;
    }
    state->count += (uint32_t)count;
#endif
    while (count != 0u) {
        size_t taken;
        if (state->skip != 0u) {
            taken = (count < state->skip) ? count : (size_t)state->skip;
            state->skip = (uint16_t)(state->skip - taken);
        } else {
            const size_t room = (size_t)WINDOW_LENGTH - state->fill;
            taken = (count < room) ? count : room;
            copy(state->samples + state->fill, samples, 2u * (uint32_t)taken);
            state->fill = (uint16_t)(state->fill + taken);
            if (state->covering != 0u) {
                state->covered = state->fill;
            }
            if (state->fill == (uint16_t)WINDOW_LENGTH) {
                spent += end_frame(state);
                if (state->covered == 0u) {
                    spent += begin_frame(state);
                }
                state->covered = (state->covered > (uint16_t)HOP_LENGTH)
                                     ? (uint16_t)(state->covered - HOP_LENGTH)
                                     : 0u;
#if HOP_LENGTH < WINDOW_LENGTH
                copy(state->samples, state->samples + HOP_LENGTH,
                     2u * (WINDOW_LENGTH - HOP_LENGTH));
                state->fill = WINDOW_LENGTH - HOP_LENGTH;
#else
                state->fill = 0;
                state->skip = HOP_LENGTH - WINDOW_LENGTH;
#endif
            }
        }
        samples += taken;
        count -= taken;
    }
    if (state->next != 0u) {
        /* what these samples may cost, and what is left of it where a row is waiting */
        budget = state->credit + some * (uint32_t)HOP_BUDGET / (uint32_t)HOP_LENGTH;
        budget -= (spent < budget) ? spent : budget;
        spent = go_on(state, budget);
        budget -= (spent < budget) ? spent : budget;
        state->credit = (uint16_t)((budget < 0xffffu) ? budget : 0xffffu);
        if ((state->next == (uint32_t)STAGES) ||
            (stages[state->next].kind >= (uint32_t)POOLS)) {
            state->credit = 0;
        }
    }
    return WAV2SMALL_OK;
}

/* Scores of what the pools hold, for their results are there. */
static void give(wav2small_state *state, int32_t *integers)
{
    uint32_t i;
    run_head(state);
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
#if SCORES_WIDE
        integers[i] = ((const int32_t *)(const void *)(state->scratch.bytes +
                                                       SCORES_PLACE))[i];
#else
        integers[i] = state->scratch.bytes[SCORES_PLACE + i];
#endif
    }
}

/* Whether frames that end behind the signal are heard. */
#if VOICE_STAGES
#define ENDS(state) \
    (((state)->covered == 0u) && (((state)->speech_alone == 0u) || ((state)->left != 0u)))
#else
#define ENDS(state) ((state)->covered == 0u)
#endif

wav2small_status wav2small_integers(wav2small_state *state,
                                    int32_t integers[WAV2SMALL_SCORES])
{
    const wav2small_status status = check(state);
    moment_t now;
    uint32_t i;
    uint32_t start = 0;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (integers == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if (state->count < (uint32_t)WAV2SMALL_MIN_SAMPLES) {
        return WAV2SMALL_TOO_SHORT;
    }
    (void)end_frame(state);
    now.frame = state->frames;
    now.heard = state->frames;
    now.frames = state->frames;
    if (ENDS(state) &&
        ((uint32_t)state->fill + PADDING_AFTER >= (uint32_t)WINDOW_LENGTH + state->skip)) {
        now.frames += ((uint32_t)state->fill + PADDING_AFTER - WINDOW_LENGTH -
                       state->skip) / (uint32_t)HOP_LENGTH + 1u;
    }
    if (now.frames < (uint32_t)MIN_FRAMES) {
        return WAV2SMALL_TOO_SHORT;
    }
#if PAST_FRAMES
    now.past = state->past_total;
#endif
    for (i = 1; i <= (uint32_t)STAGES; ++i) {
        if ((i == (uint32_t)STAGES) || (stages[i].part != stages[start].part)) {
            end_part(state, start, i, &now);
            start = i;
        }
    }
    give(state, integers);
    return WAV2SMALL_OK;
}

wav2small_status wav2small_latest_integers(wav2small_state *state,
                                           int32_t integers[WAV2SMALL_SCORES])
{
    const wav2small_status status = check(state);
    uint32_t i;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (integers == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    for (i = 0; i < (uint32_t)STAGES; ++i) {
        const stage_t *stage = &stages[i];
        if (stage->kind >= (uint32_t)POOLS) {
            const pool_t *pool = &pools[stage->layer];
            if (state->frames <= stage->delay) {
                return WAV2SMALL_TOO_SHORT;
            }
            make_result(WEIGHTS stage->kind, pool->layer, state->sums + pool->sums,
                        (state->frames - stage->delay - 1u) / stage->period + 1u,
                        state->scratch.bytes + lines[stage->output].result_place);
        }
    }
    give(state, integers);
    return WAV2SMALL_OK;
}

static void to_scores(const wav2small_state *state, const int32_t *integers,
                      float *scores)
{
    uint32_t i;
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        scores[i] = (float)(integers[i] - SCORE_ZERO) * SCORE_STEP;
    }
    (void)state;
}

wav2small_status wav2small_latest(wav2small_state *state, float scores[WAV2SMALL_SCORES])
{
    int32_t integers[WAV2SMALL_SCORES];
    wav2small_status status = check(state);
    if ((status == WAV2SMALL_OK) && (scores == NULL)) {
        status = WAV2SMALL_NO_POINTER;
    }
    if (status == WAV2SMALL_OK) {
        status = wav2small_latest_integers(state, integers);
    }
    if (status == WAV2SMALL_OK) {
        to_scores(state, integers, scores);
    }
    return status;
}

wav2small_status wav2small_result(wav2small_state *state,
                                  float scores[WAV2SMALL_SCORES])
{
    int32_t integers[WAV2SMALL_SCORES];
    wav2small_status status = check(state);
    if ((status == WAV2SMALL_OK) && (scores == NULL)) {
        status = WAV2SMALL_NO_POINTER;
    }
    if (status == WAV2SMALL_OK) {
        status = wav2small_integers(state, integers);
    }
    if (status == WAV2SMALL_OK) {
        to_scores(state, integers, scores);
    }
    return status;
}
