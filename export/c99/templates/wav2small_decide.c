/* From scores as they come to events that last. */
#include "wav2small_decide.h"

#define READY 0x77326463u
#define MOST 0xffffffffu
#define VERSION 1u
/* From the integer of a score to parts. */
#if defined(WAV2SMALL_BLOB)
#define MULTIPLIER decisions->multiplier
#define SHIFT decisions->shift
#define ZERO_POINT decisions->zero_point
#else
#define MULTIPLIER $multiplier
#define SHIFT $shift
#define ZERO_POINT WAV2SMALL_ZERO_POINT
#endif
/* A gain of 1 has 12 bits after the point; smoothed scores have 14 more than parts. */
#define GAIN_BITS 12
#define MORE_BITS 14
/* A smoothed score of .5, from which smoothing begins. */
#define NEUTRAL ((int32_t)1 << 27)

typedef char wav2small_shifts_of_decisions_keep_the_sign[(-3 >> 1) == -2 ? 1 : -1];

static wav2small_status check(const wav2small_decisions *decisions)
{
    if (decisions == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    return (decisions->ready == READY) ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
}

static uint32_t add(uint32_t time, uint32_t samples)
{
    return (time > MOST - samples) ? MOST : time + samples;
}

static uint32_t to_samples(uint32_t milliseconds)
{
    const uint64_t samples =
        (uint64_t)milliseconds * (uint64_t)WAV2SMALL_SAMPLING_RATE / 1000u;
    return (samples > MOST) ? MOST : (uint32_t)samples;
}

static int32_t clamp(int64_t part)
{
    return (part > 32767) ? 32767 : (part < -32768) ? -32768 : (int32_t)part;
}

static int16_t part_of(int32_t smooth)
{
    return (int16_t)((smooth + ((int32_t)1 << (MORE_BITS - 1))) >> MORE_BITS);
}

static void set_rule(wav2small_decisions *decisions, uint32_t event, int16_t begin,
                     int16_t end, uint32_t milliseconds)
{
    decisions->watches[event].begin = begin;
    decisions->watches[event].end = end;
    decisions->watches[event].least = to_samples(milliseconds);
}

/* Neutral scores that nothing was heard of. */
static void begin_neutral(wav2small_decisions *decisions)
{
    uint32_t i;
    decisions->begun = 0;
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        decisions->smooth[i] = NEUTRAL;
    }
}

wav2small_status wav2small_decide_init(wav2small_decisions *decisions WAV2SMALL_OF_MODEL)
{
    uint32_t i;
    if (decisions == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
#if defined(WAV2SMALL_BLOB)
    if (model == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    decisions->multiplier = model->part_multiplier;
    decisions->shift = model->part_shift;
    decisions->zero_point = model->zero_point;
#endif
    decisions->smoothing = to_samples(1000);
    decisions->most_silent = to_samples(30000);
    decisions->silent = 0;
    begin_neutral(decisions);
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        set_rule(decisions, WAV2SMALL_HIGH(i), WAV2SMALL_PARTS(0.6),
                 WAV2SMALL_PARTS(0.55), 1000);
        set_rule(decisions, WAV2SMALL_LOW(i), WAV2SMALL_PARTS(0.4),
                 WAV2SMALL_PARTS(0.45), 1000);
    }
    for (i = 0; i < (uint32_t)WAV2SMALL_EVENTS; ++i) {
        decisions->watches[i].held = 0;
        decisions->watches[i].waiting = 0;
        decisions->watches[i].on = 0;
    }
    decisions->ready = READY;
    return wav2small_decide_calibrate(decisions, NULL, 0);
}

wav2small_status wav2small_decide_smooth(wav2small_decisions *decisions,
                                         uint32_t milliseconds)
{
    const wav2small_status status = check(decisions);
    if (status == WAV2SMALL_OK) {
        decisions->smoothing = to_samples(milliseconds);
    }
    return status;
}

wav2small_status wav2small_decide_quiet(wav2small_decisions *decisions,
                                        uint32_t milliseconds)
{
    const wav2small_status status = check(decisions);
    if (status == WAV2SMALL_OK) {
        decisions->most_silent = to_samples(milliseconds);
    }
    return status;
}

wav2small_status wav2small_decide_rule(wav2small_decisions *decisions, uint32_t event,
                                       const wav2small_rule *rule)
{
    const wav2small_status status = check(decisions);
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (rule == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if ((event >= (uint32_t)WAV2SMALL_EVENTS) ||
        (((event & 1u) == 0u) ? (rule->end > rule->begin) : (rule->end < rule->begin))) {
        return WAV2SMALL_NO_VALUE;
    }
    set_rule(decisions, event, rule->begin, rule->end, rule->milliseconds);
    return WAV2SMALL_OK;
}

/* CRC-32 as of zlib. */
static uint32_t checksum(const uint8_t *bytes, size_t count)
{
    uint32_t crc = MOST;
    size_t i;
    uint32_t bit;
    for (i = 0; i < count; ++i) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8u; ++bit) {
            crc = (crc >> 1) ^ (((crc & 1u) != 0u) ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

static uint32_t half_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8);
}

wav2small_status wav2small_decide_calibrate(wav2small_decisions *decisions,
                                            const uint8_t *table, size_t count)
{
    const wav2small_status status = check(decisions);
    const size_t covered = (size_t)WAV2SMALL_PERSONAL_BYTES - 4u;
    uint32_t i;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if ((table != NULL) &&
        ((count != covered + 4u) || (table[0] != VERSION) ||
         (table[1] != WAV2SMALL_SCORES) ||
         (checksum(table, covered) !=
          (half_word(table + covered) | (half_word(table + covered + 2) << 16))))) {
        return WAV2SMALL_NO_VALUE;
    }
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        decisions->gains[i] = (uint16_t)(1u << GAIN_BITS);
        decisions->offsets[i] = 0;
        if (table != NULL) {
            const uint32_t offset = half_word(table + 4u + 4u * i);
            decisions->gains[i] = (uint16_t)half_word(table + 2u + 4u * i);
            decisions->offsets[i] =
                (int16_t)((int32_t)offset - ((offset > 32767u) ? 65536 : 0));
        }
    }
    return WAV2SMALL_OK;
}

/* Moves a smoothed score towards what it is now. */
static void follow(wav2small_decisions *decisions, uint32_t score, int32_t integer,
                   uint32_t samples)
{
    const int64_t centred = (int64_t)integer - ZERO_POINT;
    const int32_t part =
        clamp((centred * MULTIPLIER + ((int64_t)1 << (SHIFT - 1))) >> SHIFT);
    const int32_t own =
        ((part * (int32_t)decisions->gains[score] + (1 << (GAIN_BITS - 1))) >> GAIN_BITS);
    const int32_t wanted =
        clamp((int64_t)own + decisions->offsets[score]) * ((int32_t)1 << MORE_BITS);
    const int64_t way = (int64_t)wanted - decisions->smooth[score];
    const int64_t length = (int64_t)samples + decisions->smoothing;
    decisions->smooth[score] += (int32_t)(way * (int64_t)samples / length);
}

/* Lets an event begin or end if it has to. */
static void look(wav2small_decisions *decisions, uint32_t event, uint32_t samples)
{
    const int16_t part = part_of(decisions->smooth[event / 2u]);
    const int16_t limit = (decisions->watches[event].on != 0u)
                              ? decisions->watches[event].end
                              : decisions->watches[event].begin;
    /* an event that is on looks for its end, and a low one the other way round */
    const uint32_t falls = (uint32_t)decisions->watches[event].on ^ (event & 1u);
    const int32_t beyond = (falls != 0u) ? ((int32_t)limit - part) : ((int32_t)part - limit);
    if ((beyond < 0) || ((beyond == 0) && (decisions->watches[event].on != 0u))) {
        decisions->watches[event].waiting = 0;
        return;
    }
    decisions->watches[event].waiting = add(decisions->watches[event].waiting, samples);
    if (decisions->watches[event].waiting >= decisions->watches[event].least) {
        decisions->watches[event].on = (decisions->watches[event].on == 0u) ? 1u : 0u;
        decisions->watches[event].held = decisions->watches[event].waiting;
        decisions->watches[event].waiting = 0;
    }
}

/* Begins anew after a long time without speech. */
static void pause(wav2small_decisions *decisions, uint32_t samples)
{
    uint32_t i;
    decisions->silent = add(decisions->silent, samples);
    if ((decisions->most_silent == 0u) || (decisions->silent < decisions->most_silent)) {
        return;
    }
    begin_neutral(decisions);
    for (i = 0; i < (uint32_t)WAV2SMALL_EVENTS; ++i) {
        decisions->watches[i].waiting = 0;
        if (decisions->watches[i].on != 0u) {
            decisions->watches[i].on = 0;
            decisions->watches[i].held = 0;
        }
    }
}

wav2small_status wav2small_decide(wav2small_decisions *decisions,
                                  const int32_t integers[WAV2SMALL_SCORES],
                                  uint32_t samples, int speech)
{
    const wav2small_status status = check(decisions);
    uint32_t i;
    if ((status != WAV2SMALL_OK) || (samples == 0u)) {
        return status;
    }
    if ((integers == NULL) && (speech != 0)) {
        return WAV2SMALL_NO_POINTER;
    }
    for (i = 0; i < (uint32_t)WAV2SMALL_EVENTS; ++i) {
        decisions->watches[i].held = add(decisions->watches[i].held, samples);
    }
    if (speech == 0) {
        pause(decisions, samples);
        return WAV2SMALL_OK;
    }
    decisions->silent = 0;
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        follow(decisions, i, integers[i], samples);
    }
    decisions->begun = 1;
    for (i = 0; i < (uint32_t)WAV2SMALL_EVENTS; ++i) {
        look(decisions, i, samples);
    }
    return WAV2SMALL_OK;
}

wav2small_status wav2small_decide_event(const wav2small_decisions *decisions,
                                        uint32_t event, wav2small_event *state)
{
    const wav2small_status status = check(decisions);
    uint64_t milliseconds;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (state == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if (event >= (uint32_t)WAV2SMALL_EVENTS) {
        return WAV2SMALL_NO_VALUE;
    }
    milliseconds =
        decisions->watches[event].held * (uint64_t)1000 / (uint64_t)WAV2SMALL_SAMPLING_RATE;
    state->on = decisions->watches[event].on;
    state->milliseconds = (milliseconds > MOST) ? MOST : (uint32_t)milliseconds;
    return WAV2SMALL_OK;
}

wav2small_status wav2small_decide_scores(const wav2small_decisions *decisions,
                                         int16_t parts[WAV2SMALL_SCORES])
{
    const wav2small_status status = check(decisions);
    uint32_t i;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if (parts == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    if (decisions->begun == 0u) {
        return WAV2SMALL_TOO_SHORT;
    }
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        parts[i] = part_of(decisions->smooth[i]);
    }
    return WAV2SMALL_OK;
}
