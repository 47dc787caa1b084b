/* Makes calls that a script lists, with what must come of them; counts bits that differ. */
#include "wav2small.h"
#include "wav2small_decide.h"

#if defined(WAV2SMALL_NO_MAIN)
#include "wav2small_golden.h"
#else
#include <stdio.h>
#include <stdlib.h>
#endif

#define MOST 4000u

enum { PUSH, FORGET, LISTEN, COVER, SPEECH, LATEST, RESULT, DECIDE, SMOOTH, RULE, TABLE };

static wav2small_state state;
static wav2small_decisions decisions;
static int32_t latest[WAV2SMALL_SCORES];
static int known;
static const unsigned char *next;
static uint32_t noise;

#include "resamplers.h" /* begin_rates, push_at: for all rates */

static uint32_t word(void)
{
    const uint32_t low = (uint32_t)next[0] | (uint32_t)next[1] << 8;
    const uint32_t high = (uint32_t)next[2] | (uint32_t)next[3] << 8;
    next += 4;
    return low | high << 16;
}

static uint32_t draw(uint32_t below)
{
    noise = noise * 1664525u + 1013904223u;
    return (noise >> 8) % below;
}

static uint32_t differing(uint32_t found)
{
    uint32_t both, bits = 0;
    for (both = found ^ word(); both != 0u; both &= both - 1u) {
        ++bits;
    }
    return bits;
}

/* Pushes samples in pieces of random lengths, some of none. */
static uint32_t push(uint32_t rate, const unsigned char *from, uint32_t count)
{
    static int16_t piece[MOST];
    uint32_t bits = 0, i;
    while (count != 0u) {
        uint32_t taken = draw((draw(4u) == 0u) ? MOST : 200u);
        taken = (draw(8u) == 0u) ? 0u : taken;
        taken = (taken > count) ? count : taken;
        for (i = 0; i < taken; ++i, from += 2) {
            const uint32_t bytes = (uint32_t)from[0] | (uint32_t)from[1] << 8;
            piece[i] = (int16_t)((int32_t)bytes - ((bytes > 32767u) ? 65536 : 0));
        }
        bits += (push_at(rate, piece, taken) == WAV2SMALL_OK) ? 0u : 1u;
        count -= taken;
    }
    return bits;
}

static uint32_t decided(void)
{
    int16_t parts[WAV2SMALL_SCORES] = {0};
    wav2small_event event;
    uint32_t bits = 0, i;
    for (i = 0; i < (uint32_t)WAV2SMALL_EVENTS; ++i) {
        (void)wav2small_decide_event(&decisions, i, &event);
        bits += differing(event.on);
        bits += differing(event.milliseconds);
    }
    bits += differing((uint32_t)wav2small_decide_scores(&decisions, parts));
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        bits += differing((uint32_t)parts[i]);
    }
    return bits;
}

static uint32_t result(void)
{
    int32_t integers[WAV2SMALL_SCORES] = {0};
    float scores[WAV2SMALL_SCORES] = {0.0f};
    union { float score; uint32_t bits; } number;
    uint32_t bits = differing((uint32_t)wav2small_integers(&state, integers)), i;
    (void)wav2small_result(&state, scores);
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        number.score = scores[i];
        bits += differing((uint32_t)integers[i]);
        bits += differing(number.bits);
    }
    return bits;
}

static uint32_t setting(uint32_t call)
{
    uint8_t table[WAV2SMALL_PERSONAL_BYTES];
    wav2small_rule rule;
    uint32_t which = word(), i;
    switch (call) {
    case FORGET: return (uint32_t)wav2small_forget(&state, which);
    case LISTEN: return (uint32_t)wav2small_listen(&state, which != 0u);
    case COVER: return (uint32_t)wav2small_cover(&state, which != 0u);
    case SMOOTH: return (uint32_t)wav2small_decide_smooth(&decisions, which);
    case RULE:
        rule.begin = (int16_t)word();
        rule.end = (int16_t)word();
        rule.milliseconds = word();
        return (uint32_t)wav2small_decide_rule(&decisions, which, &rule);
    default:
        for (i = 0; i < which; ++i) {
            const uint32_t byte = word();
            table[i % sizeof table] = (uint8_t)byte;
        }
        return (uint32_t)wav2small_decide_calibrate(&decisions, table, which);
    }
}

/* All calls of one clip. */
static uint32_t heard(void)
{
    const uint32_t samples = word(), rate = word(), calls = word();
    const uint32_t words = word();
    const unsigned char *sample = next + 4u * words;
    const unsigned char *const end = sample + 2u * samples;
    uint32_t bits, call, i;
    bits = (wav2small_init(&state) == WAV2SMALL_OK) ? 0u : 1u;
    bits += (wav2small_decide_init(&decisions) == WAV2SMALL_OK) ? 0u : 1u;
    begin_rates();
    noise = samples;
    known = 0;
    for (call = 0; call < calls; ++call) {
        const uint32_t kind = word();
        int32_t odds = 0;
        switch (kind) {
        case PUSH:
            i = word();
            bits += push(rate, sample, i);
            sample += 2u * i;
            break;
        case SPEECH:
            bits += differing((uint32_t)wav2small_speech(&state, &odds));
            bits += differing((uint32_t)odds);
            bits += differing((uint32_t)wav2small_hears(&state));
            break;
        case LATEST:
            known = wav2small_latest_integers(&state, latest) == WAV2SMALL_OK;
            bits += differing(known ? 0u : (uint32_t)WAV2SMALL_TOO_SHORT);
            for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
                bits += differing(known ? (uint32_t)latest[i] : 0u);
            }
            break;
        case RESULT: bits += result(); break;
        case DECIDE:
            i = word();
            if (known != 0) {
                const int speech = wav2small_hears(&state);
                (void)wav2small_decide(&decisions, latest, i, speech);
            }
            bits += decided();
            break;
        default: bits += (setting(kind) == 0u) ? 0u : 1u;
        }
    }
    next = end + (samples % 2u) * 2u;
    return bits;
}

int wav2small_selftest(void);

#if defined(WAV2SMALL_NO_MAIN)
int wav2small_selftest(void)
{
    uint32_t i, bits = 0;
    next = clips;
    for (i = 0; i < CLIPS; ++i) {
        bits += heard();
    }
    return (int)bits;
}
#else
int main(int argc, char **argv)
{
    FILE *file = (argc > 1) ? fopen(argv[1], "rb") : NULL;
    const size_t size = (argc > 2) ? (size_t)atol(argv[2]) : 0u;
    unsigned char *data = malloc(size);
    uint32_t bits = 0, clips = 0, wrong = 0;
    if (!file || !data || fread(data, 1, size, file) != size) {
        return 1;
    }
    for (next = data; next < data + size;) {
        const uint32_t found = heard();
        bits += found;
        wrong += (found != 0u) ? 1u : 0u;
        ++clips;
    }
    printf("%lu bits in %lu of %lu clips, %d\n", (unsigned long)bits, (unsigned long)wrong,
           (unsigned long)clips, (int)sizeof(void *));
    fclose(file);
    free(data);
    return 0;
}
#endif
