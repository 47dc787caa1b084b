/* -- schedule --------------------------------------------------------------- */

/* Rows of a signal that has so many frames. */
static uint32_t rows_of(uint32_t period, int32_t extra, uint32_t frames)
{
    const int32_t places = (int32_t)frames + extra;
    return (places > 0) ? ((uint32_t)places / period) : 0u;
}

/* Row of a line, NULL for border. */
static const void *row_at(const wav2small_state *state, const line_t *line,
                          uint32_t row, const moment_t *now)
{
    uint32_t heard;
    if (row >= 0x80000000u) {
        return NULL; /* before the first one */
    }
    if (now->frames == 0u) {
        if (now->frame == line->delay + row * line->period) {
            return state->scratch.bytes + line->push_place;
        }
    } else {
        if (row >= rows_of(line->period, line->extra, now->frames)) {
            return NULL;
        }
        heard = (now->heard > line->delay)
                    ? ((now->heard - line->delay - 1u) / line->period + 1u)
                    : 0u;
        if (row >= heard) {
            return state->scratch.bytes + line->result_place +
                   ((line->whole != 0u) ? ((row - heard) * line->bytes) : 0u);
        }
    }
    return state->lines.bytes + line->ring + (row % line->keep) * line->bytes;
}

/* Adds a row to a pool: to its sums in the state, or to the copy of a result. */
static void run_pool(wav2small_state *state, const stage_t *stage,
                     const void *const from[], const moment_t *now)
{
    const pool_t *pool = &pools[stage->layer];
    int64_t *sums = state->sums + pool->sums;
#if REFERENCES
    int32_t *references = state->references + pool->references;
#else
    int32_t *references = NULL;
#endif
    if (now->frames != 0u) {
        sums = (int64_t *)(void *)(state->scratch.bytes + stage->result_work);
#if REFERENCES
        references = (int32_t *)(void *)(sums + pool->sum_count);
#endif
    }
#if REFERENCES
    add_row(WEIGHTS stage->kind, pool->layer, sums, references, from,
            state->decays[stage->layer]);
#else
    add_row(WEIGHTS stage->kind, pool->layer, sums, references, from, 0);
#endif
}

/* Makes a row. */
static void run(wav2small_state *state, const stage_t *stage, uint32_t row,
                moment_t *now)
{
    const void *from[MOST_TAPS];
    const line_t *line = &lines[stage->output];
    int8_t *bytes = state->scratch.bytes;
    uint32_t work = stage->push_work;
    uint32_t place = line->push_place;
    uint32_t i;
    void *values;
    for (i = 0; i < stage->taps; ++i) {
        from[i] = row_at(state, &lines[stage->input[0]],
                         row * stage->stride + i * stage->dilation - stage->top, now);
    }
    for (i = 0; i < stage->more; ++i) {
        from[stage->taps + i] = row_at(state, &lines[stage->input[1u + i]], row, now);
    }
    if (stage->kind >= (uint32_t)POOLS) {
        run_pool(state, stage, from, now);
#if defined(WAV2SMALL_TRACE)
        WAV2SMALL_TRACE((int)(stage - stages), row, NULL);
#endif
        return;
    }
    if (now->frames != 0u) {
        work = stage->result_work;
        place = line->result_place;
        if (line->whole != 0u) {
            const uint32_t heard =
                (now->heard > line->delay)
                    ? ((now->heard - line->delay - 1u) / line->period + 1u)
                    : 0u;
            place += (row - heard) * line->bytes;
        }
    }
    values = bytes + place;
    switch (stage->kind) {
    case FRONT:
        front(state, now, (int8_t *)values, (int32_t *)(void *)(bytes + work));
        break;
#if USES_KEEP
    case KEEP: {
        const line_t *kept = &lines[stage->input[0]];
        copy(state->lines.bytes + kept->ring + (row % kept->keep) * kept->bytes, from[0],
             kept->bytes);
        break;
    }
#endif
    default:
        compute(WEIGHTS stage->kind, stage->layer, from, values,
                (int16_t *)(void *)(bytes + work));
        break;
    }
#if defined(WAV2SMALL_TRACE)
    WAV2SMALL_TRACE((int)(stage - stages), row, values);
#endif
}

/* Counts a frame. */
static void count_frame(uint32_t *frames)
{
    *frames += 1u;
#if LAP
    /* a lap is a multiple of all that rows are counted by, and longer than any past */
    if (*frames == 2u * (uint32_t)LAP) {
        *frames = LAP;
    }
#endif
}

/* Makes the rows that come with a frame, from the next stage up to another: all of them,
 * or for a budget, to the nearest row, but not those of pools. Returns what they cost. */
static uint32_t run_stages(wav2small_state *state, uint32_t stop, uint32_t budget,
                           uint32_t all, moment_t *now)
{
    uint32_t spent = 0;
    while (state->next < stop) {
        const stage_t *stage = &stages[state->next];
        if (now->frame >= stage->delay) {
            const uint32_t since = now->frame - stage->delay;
            if ((since % stage->period) == 0u) {
                if ((all == 0u) && ((stage->kind >= (uint32_t)POOLS) ||
                                    (spent + stage->cost / 2u > budget))) {
                    break;
                }
                run(state, stage, since / stage->period, now);
                spent += stage->cost;
            }
        }
        state->next = (uint16_t)(state->next + 1u);
    }
    return spent;
}

#if VOICE_STAGES
/* Makes the row of a frame if it is needed, and listens for speech. If layers shall not
 * hear it, nothing is next. */
static uint32_t hear(wav2small_state *state, moment_t *now)
{
    const uint32_t alone = state->speech_alone;
    const uint32_t reads =
        ((alone != 0u) && ((state->voice % (uint32_t)VOICE_PERIOD) == 0u)) ? 1u : 0u;
    uint32_t spent = 0;
    if ((alone == 0u) || (reads != 0u) || (state->left != 0u)) {
        spent = run_stages(state, 1, 0, 1, now);
#if PAST_FRAMES
        state->past_total = now->past;
#endif
    } else {
        leave_out(state);
    }
    count_frame(&state->clock);
    if (alone != 0u) {
        if (reads != 0u) {
            now->frame = state->voice;
            spent += run_stages(state, 1u + VOICE_STAGES, 0, 1, now);
            state->odds =
                *(const int32_t *)(const void *)(state->scratch.bytes + VOICE_PLACE);
            if (state->odds >= VOICE_ZERO) {
                state->left = VOICE_HOLD;
            } else if (state->left != 0u) {
                state->left = (uint16_t)(state->left - 1u);
            } else {
                /* nobody has spoken for long */
            }
        }
        count_frame(&state->voice);
    }
    state->next = ((alone == 0u) || (state->left != 0u)) ? (1u + VOICE_STAGES) : 0u;
    return spent;
}
#endif

static moment_t moment_of(const wav2small_state *state)
{
    moment_t now;
    now.frame = state->frames;
    now.heard = state->frames;
    now.frames = 0;
#if PAST_FRAMES
    now.past = state->past_total;
#endif
    return now;
}

/* Begins a frame, for which all samples are there, with its row of the log-mel map.
 * Returns what that costs. */
static uint32_t begin_frame(wav2small_state *state)
{
    moment_t now = moment_of(state);
    uint32_t spent;
#if VOICE_STAGES
    spent = hear(state, &now);
#else
    spent = run_stages(state, 1, 0, 1, &now);
#if PAST_FRAMES
    state->past_total = now.past;
#endif
#endif
    return spent;
}

/* Makes rows of the frame that has begun, for a budget. Returns what they cost. */
static uint32_t go_on(wav2small_state *state, uint32_t budget)
{
    moment_t now = moment_of(state);
    return run_stages(state, STAGES, budget, 0, &now);
}

/* Makes all that is left of a frame if one has begun, and adds it to the pools. Returns
 * what that costs. */
static uint32_t end_frame(wav2small_state *state)
{
    moment_t now = moment_of(state);
    uint32_t spent = 0;
    if (state->next != 0u) {
        spent = run_stages(state, STAGES, 0, 1, &now);
        state->next = 0;
        count_frame(&state->frames);
    }
    return spent;
}

/* Begins the pool of a part of a result with what it has so far. */
static void open_pool(wav2small_state *state, const stage_t *stage)
{
    const pool_t *pool = &pools[stage->layer];
    int64_t *sums = (int64_t *)(void *)(state->scratch.bytes + stage->result_work);
#if REFERENCES
    int32_t *references = (int32_t *)(void *)(sums + pool->sum_count);
#endif
    uint32_t i;
    for (i = 0; i < pool->sum_count; ++i) {
        sums[i] = state->sums[pool->sums + i];
    }
#if REFERENCES
    for (i = 0; i < pool->reference_count; ++i) {
        references[i] = state->references[pool->references + i];
    }
#endif
}

/* Makes numbers of the sums of a pool. */
static void close_pool(wav2small_state *state, const stage_t *stage, uint32_t rows)
{
    int8_t *bytes = state->scratch.bytes;
    make_result(WEIGHTS stage->kind, pools[stage->layer].layer,
                (const int64_t *)(const void *)(bytes + stage->result_work), rows,
                bytes + lines[stage->output].result_place);
}

/* Whether a stage is the detector's, which hears no border. */
#if VOICE_STAGES
#define IS_VOICE(stage) (((stage) >= 1u) && ((stage) <= (uint32_t)VOICE_STAGES))
#else
#define IS_VOICE(stage) 0
#endif

/* Makes the rows that are still to come of the stages from one to another. */
static void end_part(wav2small_state *state, uint32_t start, uint32_t stop,
                     moment_t *now)
{
    uint32_t end = now->heard;
    uint32_t i;
    for (i = start; i < stop; ++i) {
        const stage_t *stage = &stages[i];
        const uint32_t rows = rows_of(stage->period, stage->extra, now->frames);
        const uint32_t until = stage->delay + rows * stage->period;
        end = ((until > end) && !IS_VOICE(i)) ? until : end;
        if (stage->kind >= (uint32_t)POOLS) {
            open_pool(state, stage);
        }
    }
    for (now->frame = now->heard; now->frame < end; now->frame += 1u) {
        for (i = start; i < stop; ++i) {
            const stage_t *stage = &stages[i];
            if ((now->frame >= stage->delay) && (stage->kind != (uint32_t)KEEP) &&
                !IS_VOICE(i)) {
                const uint32_t since = now->frame - stage->delay;
                const uint32_t row = since / stage->period;
                if (((since % stage->period) == 0u) &&
                    (row < rows_of(stage->period, stage->extra, now->frames))) {
                    run(state, stage, row, now);
                }
            }
        }
    }
    for (i = start; i < stop; ++i) {
        const stage_t *stage = &stages[i];
        if (stage->kind >= (uint32_t)POOLS) {
            close_pool(state, stage,
                       rows_of(stage->period, stage->extra, now->frames));
        }
    }
}

/* Computes what follows the pooling. */
APART static void run_head(wav2small_state *state)
{
#if HEAD_STAGES
    uint32_t i;
    uint32_t input;
    int8_t *bytes = state->scratch.bytes;
    for (i = 0; i < (uint32_t)HEAD_STAGES; ++i) {
        const stage_t *stage = &stages[STAGES + i];
        const void *from[MOST_INPUTS];
        for (input = 0; input < 1u + (uint32_t)stage->more; ++input) {
            from[input] = bytes + lines[stage->input[input]].result_place;
        }
        compute(WEIGHTS stage->kind, stage->layer, from,
                bytes + lines[stage->output].result_place,
                (int16_t *)(void *)(bytes + stage->result_work));
    }
#else
    (void)state;
#endif
}
