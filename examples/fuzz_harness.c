/* Reads bytes as calls and compares each status with what the header promises.
 *
 * All that a state is called with a second state is called with as well, but for pushes,
 * which the second one gets in pieces: both must always say the same.
 */
#include "wav2small.h"
#include "wav2small_decide.h"
#include "wav2small_resample.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_data.h" /* arrays: "speech", and "blob", which wav2small_model.bin is */
#define NORMALISED (WAV2SMALL_HELD_BYTES_PER_SECOND != 0)
/* set where the model knows speech from other sounds */
#if defined(WAV2SMALL_SPEECH_STEP)
#define DETECTS 1
#else
#define DETECTS 0
#endif
#define BEGIN 255u /* the call that begins a signal, whatever the rest says */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

long calls;        /* so far, in all inputs */
long told;         /* of them those in which the detector of speech had something to say */
long heard_speech; /* and that it was speech */

#define SURE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            __builtin_trap(); \
        } \
    } while (0)

typedef struct {
    const uint8_t *next, *end;
    int fresh;  /* nothing was heard of it yet */
    int speaks; /* whether most of it is speech */
} input_t;

static uint32_t byte(input_t *input)
{
    return (input->next < input->end) ? *input->next++ : 0u;
}

static uint32_t bytes(input_t *input, int count)
{
    uint32_t value = 0;
    for (; count > 0; --count) {
        value = value << 8 | byte(input);
    }
    return value;
}

static int16_t *samples(input_t *input, size_t count)
{
    /* just as much memory as there are samples */
    int16_t *made = malloc(count * sizeof *made + (count == 0));
    static size_t place; /* in the speech, which goes on from push to push */
    uint32_t kind = byte(input);
    uint32_t noise = bytes(input, 2);
    size_t i;
    SURE(made != NULL);
    if (input->fresh) {
        place = noise;
        input->fresh = 0;
        input->speaks = (int)(byte(input) % 2u);
    }
    kind = (input->speaks && (kind % 8u < 6u)) ? 6u : kind;
    for (i = 0; i < count; ++i) {
        noise = noise * 1664525u + 1013904223u;
        switch (kind % 8u) {
        case 0: made[i] = -32768; break;
        case 1: made[i] = 32767; break;
        case 2: made[i] = (i % 2u) ? 32767 : -32768; break;
        case 3: made[i] = 0; break;
        case 4:
            noise = (i < 32u) ? bytes(input, 2) << 16 : noise;
            made[i] = (int16_t)(uint16_t)(noise >> 16);
            break;
        case 5: made[i] = (noise >> 31) ? 32767 : -32768; break;
        case 6: made[i] = speech[place++ % (sizeof speech / sizeof *speech)]; break;
        default: made[i] = (int16_t)(((int32_t)(noise >> 16) - 32768) >> (kind >> 4));
        }
    }
    return made;
}

static size_t length(input_t *input)
{
    const uint32_t kind = byte(input);
    if (kind < 192u) {
        return kind % 32u;
    }
    return (kind < 240u) ? byte(input) : bytes(input, 2) % 4000u;
}

/* What all calls of one input are made on. */
typedef struct {
    wav2small_state *state;
    wav2small_state *twin;          /* hears the same, cut in another way */
    wav2small_decisions *decisions;
    wav2small_resampler *resampler;
    wav2small_resampler *other;     /* the twin's */
    void *weights[2];
    size_t heard;
    uint32_t place;                 /* of the resampler, in parts of a sample */
    int ready;
    int deciding;
    int resampling;
    int covered;
    int gaps;                       /* whether some of the signal may not have been heard */
} bench_t;

static uint32_t checksum(const uint8_t *data, size_t count)
{
    uint32_t crc = 0xffffffffu;
    int bit;
    for (; count > 0; --count, ++data) {
        crc ^= *data;
        for (bit = 0; bit < 8; ++bit) {
            crc = (crc >> 1) ^ ((crc & 1u) ? 0xedb88320u : 0u);
        }
    }
    return ~crc;
}

#if defined(WAV2SMALL_BLOB)
/* The weights in memory of just their size. */
static uint8_t *weights_copy(size_t bytes)
{
    uint8_t *made = malloc(bytes);
    SURE(made != NULL);
    memcpy(made, blob, (bytes < sizeof blob) ? bytes : sizeof blob);
    return made;
}

#define INIT(bench, state, weights, ...) \
    wav2small_init(state, weights, sizeof blob, ##__VA_ARGS__)

static void damage(bench_t *bench, input_t *input)
{
    const uint32_t kind = byte(input) % 5u;
    const size_t place = bytes(input, 4) % sizeof blob;
    wav2small_status wanted = WAV2SMALL_NO_MODEL;
    size_t bytes_given = sizeof blob;
    uint8_t *made = weights_copy(sizeof blob + 8u);
    uint8_t *given = made;
#if NORMALISED
    wav2small_level level = {0, 0};
#define LEVEL , &level
#else
#define LEVEL
#endif
    switch (kind) {
    case 0: made[place] ^= (uint8_t)(1u << (byte(input) % 8u)); break;
    case 1: bytes_given = place; break;
    case 2:
        given = made + 1u + place % 7u;
        memmove(given, blob, sizeof blob);
        break;
    case 3: { /* whole, but of a network of another structure */
        uint8_t crc[4];
        uint32_t sum, i;
        uint8_t *covered = malloc(sizeof blob - 4u);
        made[16u + place % 32u] ^= 1u;
        SURE(covered != NULL);
        memcpy(covered, made, 12);
        memcpy(covered + 12, made + 16, sizeof blob - 16u);
        sum = checksum(covered, sizeof blob - 4u);
        free(covered);
        for (i = 0; i < 4u; ++i) { crc[i] = (uint8_t)(sum >> (8u * i)); }
        memcpy(made + 12, crc, 4);
        wanted = WAV2SMALL_OTHER_MODEL;
        break;
    }
    default: given = NULL; wanted = WAV2SMALL_NO_POINTER;
    }
    SURE(wav2small_init(bench->state, given, bytes_given LEVEL) == wanted);
    free(made);
}
#else
#define INIT(bench, state, weights, ...) wav2small_init(state, ##__VA_ARGS__)
#endif

static wav2small_status begin(bench_t *bench, input_t *input, int *wild)
{
    wav2small_status found;
    void *fresh[2] = {NULL, NULL};
#if NORMALISED
    wav2small_level level = {0, 0};
    *wild = (byte(input) % 4u == 0u);
    if (*wild) {
        /* no signal may have it */
        level.mean = (int32_t)bytes(input, 4);
        level.gain = (int32_t)bytes(input, 4);
    } else {
        const size_t count = WAV2SMALL_MIN_SAMPLES + length(input);
        int16_t *heard = samples(input, count);
        SURE(wav2small_measure(heard, count, &level) == WAV2SMALL_OK);
        free(heard);
    }
#else
    (void)input;
    *wild = 0;
#endif
#if defined(WAV2SMALL_BLOB)
    fresh[0] = weights_copy(sizeof blob);
    fresh[1] = weights_copy(sizeof blob);
#endif
#if NORMALISED
    found = INIT(bench, bench->state, fresh[0], &level);
    SURE(INIT(bench, bench->twin, fresh[1], &level) == found);
#else
    found = INIT(bench, bench->state, fresh[0]);
    SURE(INIT(bench, bench->twin, fresh[1]) == found);
#endif
    if (found == WAV2SMALL_OK) {
        /* those from before may go */
        void *old[2];
        memcpy(old, bench->weights, sizeof old);
        memcpy(bench->weights, fresh, sizeof fresh);
        memcpy(fresh, old, sizeof old);
        bench->ready = 1;
        bench->heard = 0;
        bench->covered = 0;
        bench->gaps = 0;
    }
    free(fresh[0]);
    free(fresh[1]);
    return found;
}

static void nothing(bench_t *bench)
{
    wav2small_state *state = bench->state;
    const wav2small_status early =
        bench->ready ? WAV2SMALL_NO_POINTER : WAV2SMALL_NOT_READY;
    const wav2small_status unset =
        bench->deciding ? WAV2SMALL_NO_POINTER : WAV2SMALL_NOT_READY;
    float scores[WAV2SMALL_SCORES];
    int32_t integers[WAV2SMALL_SCORES] = {0};
    int16_t parts[WAV2SMALL_SCORES];
    wav2small_event event;
    wav2small_rule rule = {0, 0, 0};
#if NORMALISED
    wav2small_level level = {0, 0};
    int16_t some[WAV2SMALL_MIN_SAMPLES] = {0};
    SURE(INIT(bench, NULL, bench->weights[0], &level) == WAV2SMALL_NO_POINTER);
    SURE(INIT(bench, state, bench->weights[0], NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(NULL, 99u, &level) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(some, 99u, NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(some, WAV2SMALL_MIN_SAMPLES - 1u, &level) ==
         WAV2SMALL_TOO_SHORT);
    SURE(wav2small_measure(some, (size_t)-1, &level) == WAV2SMALL_TOO_LONG);
#else
    SURE(INIT(bench, NULL, bench->weights[0]) == WAV2SMALL_NO_POINTER);
#endif
    SURE(wav2small_reset(NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_push(NULL, NULL, 0u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_push(state, NULL, 1u) == early);
    SURE(wav2small_result(NULL, scores) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_result(state, NULL) == early);
    SURE(wav2small_latest(NULL, scores) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_latest(state, NULL) == early);
    SURE(wav2small_latest_integers(NULL, integers) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_latest_integers(state, NULL) == early);
    SURE(wav2small_forget(NULL, 1u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_cover(NULL, 1) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_integers(NULL, integers) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_integers(state, NULL) == early);
#if DETECTS
    SURE(wav2small_listen(NULL, 1) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_speech(NULL, integers) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_speech(state, NULL) == early);
    SURE(wav2small_hears(NULL) == 0);
#endif
    SURE(wav2small_decide_smooth(NULL, 1u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_quiet(NULL, 1u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_rule(NULL, 0u, &rule) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_rule(bench->decisions, 0u, NULL) == unset);
    SURE(wav2small_decide_calibrate(NULL, NULL, 0u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide(NULL, integers, 1u, 1) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide(bench->decisions, NULL, 1u, 1) == unset);
    SURE(wav2small_decide_event(NULL, 0u, &event) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_event(bench->decisions, 0u, NULL) == unset);
    SURE(wav2small_decide_scores(NULL, parts) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_scores(bench->decisions, NULL) == unset);
    SURE(wav2small_resample_init(NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_resample_push(bench->resampler, NULL, parts, 1u) ==
         WAV2SMALL_NO_POINTER);
    SURE(wav2small_resample_push(NULL, state, parts, 1u) == early);
    SURE(wav2small_resample_push(bench->resampler, state, NULL, 1u) == early);
}

/* Pushes samples, into the twin in two pieces. */
static void push(bench_t *bench, input_t *input, wav2small_status wanted)
{
    const size_t count = length(input);
    const size_t first = count ? byte(input) * count / 255u : 0u;
    int16_t *new_ones = samples(input, count);
    SURE(wav2small_push(bench->state, new_ones, count) == wanted);
    SURE(wav2small_push(bench->twin, new_ones, first) == wanted);
    SURE(wav2small_push(bench->twin, new_ones + first, count - first) == wanted);
    free(new_ones);
    bench->heard += bench->ready ? count : 0u;
}

/* The same of another sampling rate. */
static void resample(bench_t *bench, input_t *input, wav2small_status wanted)
{
    const size_t count = length(input);
    const size_t first = count ? byte(input) * count / 255u : 0u;
    int16_t *new_ones = samples(input, count);
    size_t i;
    if (!bench->resampling || (byte(input) % 16u == 0u)) {
        SURE(wav2small_resample_init(bench->resampler) == WAV2SMALL_OK);
        SURE(wav2small_resample_init(bench->other) == WAV2SMALL_OK);
        bench->resampling = 1;
        bench->place = 0;
    }
    SURE(wav2small_resample_push(bench->resampler, bench->state, new_ones, count) ==
         wanted);
    SURE(wav2small_resample_push(bench->other, bench->twin, new_ones, first) == wanted);
    SURE(wav2small_resample_push(bench->other, bench->twin, new_ones + first,
                                 count - first) == wanted);
    free(new_ones);
    for (i = 0; bench->ready && (i < count); ++i) {
        if (bench->place < (uint32_t)WAV2SMALL_SAMPLING_RATE) {
            bench->place += (uint32_t)WAV2SMALL_INPUT_RATE;
            ++bench->heard;
        }
        bench->place -= (uint32_t)WAV2SMALL_SAMPLING_RATE;
    }
}

/* Asks for the scores of what was heard completely. */
static wav2small_status latest(bench_t *bench, int32_t *integers)
{
    int32_t others[WAV2SMALL_SCORES];
    float scores[WAV2SMALL_SCORES];
    const wav2small_status found = wav2small_latest_integers(bench->state, integers);
    int i;
    SURE(wav2small_latest_integers(bench->twin, others) == found);
    SURE(wav2small_latest(bench->state, scores) == found);
    if (bench->ready) {
        SURE((found == WAV2SMALL_OK) || (found == WAV2SMALL_TOO_SHORT));
    } else {
        SURE(found == WAV2SMALL_NOT_READY);
    }
    for (i = 0; (found == WAV2SMALL_OK) && (i < WAV2SMALL_SCORES); ++i) {
        SURE(integers[i] == others[i]);
        /* no NaN and no infinity */
        SURE((scores[i] > -1e9f) && (scores[i] < 1e9f));
    }
#if defined(WAV2SMALL_CATEGORIES)
    {
        uint16_t shares[WAV2SMALL_CATEGORIES], parts[WAV2SMALL_SCORES];
        SURE(wav2small_latest_categories(bench->state, shares) == found);
        SURE(wav2small_latest_doubts(bench->state, parts) == found);
    }
#endif
    return found;
}

/* Asks for the scores of a signal that ends here. */
static void result(bench_t *bench, wav2small_status wanted)
{
    int32_t integers[WAV2SMALL_SCORES], others[WAV2SMALL_SCORES], again[WAV2SMALL_SCORES];
    float scores[WAV2SMALL_SCORES];
    const wav2small_status found = wav2small_integers(bench->state, integers);
    int i;
    if (bench->ready && (bench->heard < (size_t)WAV2SMALL_MIN_SAMPLES)) {
        wanted = WAV2SMALL_TOO_SHORT;
    }
    if (bench->ready && bench->gaps && (found == WAV2SMALL_TOO_SHORT)) {
        wanted = WAV2SMALL_TOO_SHORT;
    }
    SURE(found == wanted);
    SURE(wav2small_result(bench->state, scores) == wanted);
    SURE(wav2small_integers(bench->state, again) == wanted);
    SURE(wav2small_integers(bench->twin, others) == wanted);
    for (i = 0; (wanted == WAV2SMALL_OK) && (i < WAV2SMALL_SCORES); ++i) {
        SURE(integers[i] == again[i]);
        SURE(integers[i] == others[i]);
        SURE((scores[i] > -1e9f) && (scores[i] < 1e9f));
    }
}

#if DETECTS
static void voice(bench_t *bench, input_t *input, wav2small_status wanted)
{
    /* mostly only looked at: the detector begins anew with each call */
    const int listens = (int)(byte(input) % 8u);
    int32_t odds = 0, others = 0;
    wav2small_status found;
    if (listens < 2) {
        SURE(wav2small_listen(bench->state, listens) == wanted);
        SURE(wav2small_listen(bench->twin, listens) == wanted);
        bench->gaps = 1;
    }
    found = wav2small_speech(bench->state, &odds);
    SURE(found == wanted || (bench->ready && found == WAV2SMALL_TOO_SHORT));
    SURE(wav2small_speech(bench->twin, &others) == found);
    SURE(odds == others);
    SURE(wav2small_hears(bench->state) == wav2small_hears(bench->twin));
    SURE(wav2small_hears(bench->state) <= bench->ready);
    told += (found == WAV2SMALL_OK) ? 1 : 0;
    heard_speech += ((found == WAV2SMALL_OK) && wav2small_hears(bench->state)) ? 1 : 0;
}
#endif

/* A table of a wearer: right, damaged or of any bytes. */
static void personal(bench_t *bench, input_t *input, wav2small_status wanted)
{
    const uint32_t kind = byte(input);
    const size_t sure = WAV2SMALL_PERSONAL_BYTES - 4;
    uint8_t table[WAV2SMALL_PERSONAL_BYTES];
    size_t count = sizeof table, i;
    uint32_t crc;
    for (i = 0; i < sizeof table; ++i) { table[i] = (uint8_t)byte(input); }
    table[0] = 1;
    table[1] = WAV2SMALL_SCORES;
    crc = checksum(table, sure);
    for (i = 0; i < 4u; ++i) { table[sure + i] = (uint8_t)(crc >> (8u * i)); }
    if (kind % 4u == 1u) {
        table[byte(input) % sizeof table] ^= (uint8_t)(1u << (byte(input) % 8u));
    } else if (kind % 4u == 2u) {
        count = kind / 4u;
    }
    if ((wanted == WAV2SMALL_OK) &&
        ((kind % 4u == 1u) || (count != sizeof table))) {
        wanted = WAV2SMALL_NO_VALUE;
    }
    SURE(wav2small_decide_calibrate(bench->decisions, table, count) == wanted);
    if (kind == 255u) {
        SURE(wav2small_decide_calibrate(bench->decisions, NULL, count) ==
             (bench->deciding ? WAV2SMALL_OK : WAV2SMALL_NOT_READY));
    }
}

static void begin_decisions(bench_t *bench)
{
#if defined(WAV2SMALL_BLOB)
    SURE(wav2small_decide_init(NULL, (const wav2small_model *)bench->weights[0]) ==
         WAV2SMALL_NO_POINTER);
    if (bench->weights[0] != NULL) {
        const wav2small_model *model = bench->weights[0];
        SURE(wav2small_decide_init(bench->decisions, model) == WAV2SMALL_OK);
        bench->deciding = 1;
    } else {
        SURE(wav2small_decide_init(bench->decisions, NULL) == WAV2SMALL_NO_POINTER);
    }
#else
    SURE(wav2small_decide_init(NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_decide_init(bench->decisions) == WAV2SMALL_OK);
    bench->deciding = 1;
#endif
}

/* How decisions are made, and what was decided. */
static void decide(bench_t *bench, input_t *input)
{
    wav2small_status wanted = bench->deciding ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
    int16_t parts[WAV2SMALL_SCORES];
    wav2small_rule rule;
    wav2small_event event;
    wav2small_status found;
    uint32_t which, i;
    switch (byte(input) % 8u) {
    case 0: SURE(wav2small_decide_smooth(bench->decisions, bytes(input, 4)) == wanted); break;
    case 1: SURE(wav2small_decide_quiet(bench->decisions, bytes(input, 4)) == wanted); break;
    case 2:
        which = byte(input) % (WAV2SMALL_EVENTS + 2u);
        rule.begin = (int16_t)(uint16_t)bytes(input, 2);
        rule.end = (int16_t)(uint16_t)bytes(input, 2);
        rule.milliseconds = bytes(input, 4);
        found = wav2small_decide_rule(bench->decisions, which, &rule);
        i = (which % 2u == 0u) ? (rule.end > rule.begin) : (rule.end < rule.begin);
        SURE(found == ((bench->deciding && (i || which >= WAV2SMALL_EVENTS))
                           ? WAV2SMALL_NO_VALUE
                           : wanted));
        break;
    case 3: personal(bench, input, wanted); break;
    case 4:
        begin_decisions(bench);
        wanted = bench->deciding ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
        break;
    default: {
        int32_t integers[WAV2SMALL_SCORES] = {0};
        const uint32_t kind = byte(input);
        if ((kind % 2u == 0u) || (latest(bench, integers) != WAV2SMALL_OK)) {
            for (i = 0; i < WAV2SMALL_SCORES; ++i) {
                integers[i] = (int32_t)bytes(input, 4);
            }
        }
        SURE(wav2small_decide(bench->decisions, integers, bytes(input, (int)(kind / 64u) + 1),
                              (int)(byte(input) % 4u)) == wanted);
    }
    }
    for (i = 0; i <= WAV2SMALL_EVENTS; ++i) {
        found = wav2small_decide_event(bench->decisions, i, &event);
        SURE(found == ((bench->deciding && (i == WAV2SMALL_EVENTS)) ? WAV2SMALL_NO_VALUE
                                                                   : wanted));
        SURE((found != WAV2SMALL_OK) || (event.on <= 1u));
    }
    found = wav2small_decide_scores(bench->decisions, parts);
    SURE((found == wanted) || (bench->deciding && (found == WAV2SMALL_TOO_SHORT)));
}

/* One call that is no push. */
static void other(bench_t *bench, input_t *input, uint32_t call, wav2small_status wanted)
{
    int32_t integers[WAV2SMALL_SCORES];
    uint32_t number;
    int wild;
    switch (call) {
    case 0:
        number = bytes(input, 4);
        SURE(wav2small_forget(bench->state, number) == wanted);
        SURE(wav2small_forget(bench->twin, number) == wanted);
        break;
    case 1: (void)latest(bench, integers); break;
    case 2: result(bench, wanted); break;
    case 3:
#ifdef WAV2SMALL_MAX_SAMPLES
    {
        const size_t most = (size_t)WAV2SMALL_MAX_SAMPLES - bench->heard;
        const int16_t one = 0;
        wanted = bench->ready ? WAV2SMALL_TOO_LONG : wanted;
        SURE(wav2small_push(bench->state, &one, most + 1u + bytes(input, 2)) == wanted);
        SURE(wav2small_push(bench->state, &one, (size_t)-1) == wanted);
    }
#endif
        break;
    case 4: SURE(wav2small_push(bench->state, NULL, 0u) == wanted); break;
    case 5: nothing(bench); break;
    case 6:
        /* other memory, as static memory is */
        memset(bench->state, 0, sizeof *bench->state);
        memset(bench->twin, 0, sizeof *bench->twin);
        bench->ready = 0;
        bench->heard = 0;
        break;
    case 7:
        SURE(wav2small_reset(bench->state) == wanted);
        SURE(wav2small_reset(bench->twin) == wanted);
        if (bench->ready) {
            bench->heard = 0;
            /* what is covered stays so, and listening goes on */
            bench->gaps |= bench->covered;
        }
        break;
    case 8:
        bench->covered = (int)(byte(input) % 2u);
        SURE(wav2small_cover(bench->state, bench->covered) == wanted);
        SURE(wav2small_cover(bench->twin, bench->covered) == wanted);
        bench->covered = bench->ready && bench->covered;
        bench->gaps |= bench->covered;
        break;
#if DETECTS
    case 9:
    case 10: voice(bench, input, wanted); break;
#endif
#if defined(WAV2SMALL_BLOB)
    case 11: damage(bench, input); break;
#endif
    case 12: SURE((begin(bench, input, &wild) == WAV2SMALL_OK) || wild); break;
    default: decide(bench, input);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t input = {data, data + size, 1, 0};
    bench_t bench = {0};
    bench.state = calloc(1, sizeof *bench.state);
    bench.twin = calloc(1, sizeof *bench.twin);
    bench.decisions = calloc(1, sizeof *bench.decisions);
    bench.resampler = calloc(1, sizeof *bench.resampler);
    bench.other = calloc(1, sizeof *bench.other);
    SURE(bench.state && bench.twin && bench.decisions && bench.resampler && bench.other);
    while (input.next < input.end) {
        const uint32_t call = byte(&input);
        const wav2small_status wanted = bench.ready ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
        ++calls;
        if (call < 128u) {
            push(&bench, &input, wanted);
        } else if (call < 144u) {
            resample(&bench, &input, wanted);
        } else if (call == BEGIN) {
            other(&bench, &input, 12u, wanted);
        } else {
            /* beginnings and the like are rarer than the rest */
            const uint32_t kind = call % 32u;
            const int rare = ((kind >= 3u) && (kind <= 7u)) || (kind == 12u);
            if (!rare || (byte(&input) % 4u == 0u)) {
                other(&bench, &input, kind, wanted);
            }
        }
    }
    free(bench.state);
    free(bench.twin);
    free(bench.decisions);
    free(bench.resampler);
    free(bench.other);
    free(bench.weights[0]);
    free(bench.weights[1]);
    return 0;
}
