/* From $rate Hz to the sampling rate of the model, in integers.
 *
 *     static wav2small_resampler resampler;
 *     wav2small_resample_init(&resampler);
 *     wav2small_resample_push(&resampler, &state, samples, count);
 *
 * Samples are later by $delay of the input, which is the middle of the filter.
 */
#ifndef WAV2SMALL_RESAMPLE_H
#define WAV2SMALL_RESAMPLE_H

#include "wav2small.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Samples per second of the input. */
#define WAV2SMALL_INPUT_RATE $rate

/* Everything that is remembered. The members are not for use. */
typedef struct {
    int16_t kept[$kept];
    uint32_t place; /* of the next sample, from the newest on */
    uint32_t fill;  /* samples that are kept */
} wav2small_resampler;

/* Begin a signal. */
wav2small_status wav2small_resample_init(wav2small_resampler *resampler);

/* Let a model hear samples of the input, any number of them. */
wav2small_status wav2small_resample_push(wav2small_resampler *resampler,
                                         wav2small_state *state,
                                         const int16_t *samples, size_t count);

#ifdef __cplusplus
}
#endif

#endif
