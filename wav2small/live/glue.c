/* The functions of a model's C that a page calls, with one state,
 * and the memory in which the page hands over samples and finds scores.
 */
#include "wav2small.h"
#include "wav2small_decide.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static wav2small_state state;
static int16_t samples[SAMPLES];
static int32_t integers[WAV2SMALL_SCORES];
static wav2small_decisions decisions;
static int16_t parts[WAV2SMALL_SCORES];
static uint8_t table[WAV2SMALL_PERSONAL_BYTES];

EXPORT(samples) int16_t *place_of_samples(void)
{
    return samples;
}

EXPORT(integers) int32_t *place_of_integers(void)
{
    return integers;
}

EXPORT(capacity) unsigned capacity(void)
{
    return SAMPLES;
}

/* Hear samples that lie at a place in the memory. */
EXPORT(push) int push(unsigned place, unsigned count)
{
    return (int)wav2small_push(&state, samples + place, count);
}

EXPORT(result) int result(void)
{
    return (int)wav2small_integers(&state, integers);
}

#ifdef HAS_LEVEL
/* Begin a signal of the level of all the samples that lie in the memory. */
EXPORT(begin) int begin(unsigned count)
{
    wav2small_level level;
    wav2small_status status = wav2small_measure(samples, count, &level);
    return (int)(status ? status : wav2small_init(&state, &level));
}
#else
EXPORT(begin) int begin(void)
{
    return (int)wav2small_init(&state);
}

EXPORT(latest) int latest(void)
{
    return (int)wav2small_latest_integers(&state, integers);
}
#endif

#ifdef HAS_FORGET
EXPORT(forget) int forget(unsigned milliseconds)
{
    return (int)wav2small_forget(&state, milliseconds);
}
#endif

#ifdef HAS_LISTEN
EXPORT(listen) int listen(int speech_alone)
{
    return (int)wav2small_listen(&state, speech_alone);
}

EXPORT(hears) int hears(void)
{
    return wav2small_hears(&state);
}
#endif

#ifdef HAS_CATEGORIES
static uint16_t shares[WAV2SMALL_CATEGORIES];

EXPORT(shares) uint16_t *place_of_shares(void)
{
    return shares;
}

EXPORT(categories) int categories(void)
{
    return (int)wav2small_latest_categories(&state, shares);
}
#endif

#ifdef HAS_DOUBTS
static uint16_t doubts[WAV2SMALL_SCORES];

EXPORT(doubts) uint16_t *place_of_doubts(void)
{
    return doubts;
}

EXPORT(doubt) int doubt(void)
{
    return (int)wav2small_latest_doubts(&state, doubts);
}
#endif

EXPORT(cover) int cover(int covered)
{
    return (int)wav2small_cover(&state, covered);
}

EXPORT(parts) int16_t *place_of_parts(void)
{
    return parts;
}

EXPORT(table) uint8_t *place_of_table(void)
{
    return table;
}

/* Forget all that was decided, and every setting of it. */
EXPORT(decide_begin) int decide_begin(void)
{
    return (int)wav2small_decide_init(&decisions);
}

EXPORT(smooth) int smooth(unsigned milliseconds)
{
    return (int)wav2small_decide_smooth(&decisions, milliseconds);
}

EXPORT(rule) int rule(unsigned event, int begin, int end, unsigned milliseconds)
{
    wav2small_rule given;
    given.begin = (int16_t)begin;
    given.end = (int16_t)end;
    given.milliseconds = milliseconds;
    return (int)wav2small_decide_rule(&decisions, event, &given);
}

/* Take the table that lies in the memory; none if it has no bytes. */
EXPORT(calibrate) int calibrate(unsigned bytes)
{
    return (int)wav2small_decide_calibrate(&decisions, bytes ? table : 0, bytes);
}

/* Take the integers that lie in the memory; the smoothed scores lie there then. */
EXPORT(decide) int decide(unsigned heard, int speech)
{
    wav2small_decide(&decisions, integers, heard, speech);
    return (int)wav2small_decide_scores(&decisions, parts);
}

/* Milliseconds for which an event has been so, -1 if it is not. */
EXPORT(event) double event(unsigned number)
{
    wav2small_event found;
    if (wav2small_decide_event(&decisions, number, &found) || !found.on) {
        return -1;
    }
    return found.milliseconds;
}
