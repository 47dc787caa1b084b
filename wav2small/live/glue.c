/* The functions of a model's C that a page calls, with one state,
 * and the memory in which the page hands over samples and finds scores.
 */
#include "wav2small.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static wav2small_state state;
static int16_t samples[SAMPLES];
static int32_t integers[WAV2SMALL_SCORES];

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
