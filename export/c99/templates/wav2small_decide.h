/* From scores as they come to events that last: smoothing, thresholds, one wearer.
 *
 * Nothing of the model needs this. Where it is not compiled, or not called, it costs
 * nothing.
 *
 *     static wav2small_decisions decisions;
 *     wav2small_event event;
 *     wav2small_decide_init(&decisions);
 *     ...
 *     wav2small_push(&state, samples, count);
 *     if (wav2small_latest_integers(&state, integers) == WAV2SMALL_OK) {
 *         wav2small_decide(&decisions, integers, count, speech);
 *     }
 *     wav2small_decide_event(&decisions, WAV2SMALL_HIGH(0), &event);
 *     if (event.on) { ... high arousal for event.milliseconds ... }
 *
 * There is no floating point and no callback. Everything may be changed at any time.
 */
#ifndef WAV2SMALL_DECIDE_H
#define WAV2SMALL_DECIDE_H

#include "wav2small.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A score in parts of 2^-14, from a number that is known when this is compiled. */
#define WAV2SMALL_PARTS(score) \
    ((int16_t)((score) * 16384.0 + (((score) < 0.0) ? -0.5 : 0.5)))

/* The events: a score that is high, and one that is low. Scores count from 0. */
#define WAV2SMALL_HIGH(score) (2u * (score))
#define WAV2SMALL_LOW(score) (2u * (score) + 1u)
#define WAV2SMALL_EVENTS $events

/* Bytes of the table of one wearer. */
#define WAV2SMALL_PERSONAL_BYTES $personal_bytes

/* When an event begins and ends. */
typedef struct {
    int16_t begin;         /* parts from which on a score is high, or low */
    int16_t end;           /* a high one below it, a low one above it, is so no more */
    uint32_t milliseconds; /* how long a change must last before it counts */
} wav2small_rule;

/* How an event stands. */
typedef struct {
    uint8_t on;            /* whether it is so */
    uint32_t milliseconds; /* for how long it has been so, or not so */
} wav2small_event;

/* Everything that is remembered. The members are not for use. */
typedef struct {
    uint32_t ready;
#if defined(WAV2SMALL_BLOB)
    int32_t multiplier;   /* from scores to parts */
    uint32_t shift;
    int32_t zero_point;
#endif
    uint32_t smoothing;   /* samples */
    uint32_t most_silent; /* samples */
    uint32_t silent;      /* samples without speech */
    int32_t smooth[WAV2SMALL_SCORES];
    uint16_t gains[WAV2SMALL_SCORES];
    int16_t offsets[WAV2SMALL_SCORES];
    struct {
        uint32_t held;    /* samples for which it has been so, or not so */
        uint32_t waiting; /* of them the last ones, in which a change shows */
        uint32_t least;   /* samples that a change must last */
        int16_t begin;
        int16_t end;
        uint8_t on;
    } watches[WAV2SMALL_EVENTS];
    uint8_t begun;
} wav2small_decisions;

/* With WAV2SMALL_BLOB the steps of scores are those of the blob. */
#if defined(WAV2SMALL_BLOB)
#define WAV2SMALL_OF_MODEL , const wav2small_model *model
#else
#define WAV2SMALL_OF_MODEL
#endif

/* Begin: scores of .5, smoothing of 1 s, after 30 s without speech all events end and
 * the scores are .5 again, high from .6 on until below .55, low from .4 on until
 * above .45, changes count after 1 s. */
wav2small_status wav2small_decide_init(wav2small_decisions *decisions WAV2SMALL_OF_MODEL);

/* Time constant of the smoothing; 0 for none. */
wav2small_status wav2small_decide_smooth(wav2small_decisions *decisions,
                                         uint32_t milliseconds);

/* How long without speech until all events end and scores begin anew; 0 for never. */
wav2small_status wav2small_decide_quiet(wav2small_decisions *decisions,
                                        uint32_t milliseconds);

/* When an event begins and ends. WAV2SMALL_NO_VALUE if there is no such event, or it
 * would end before it began. */
wav2small_status wav2small_decide_rule(wav2small_decisions *decisions, uint32_t event,
                                       const wav2small_rule *rule);

/* The table of one wearer, which 'wav2small calibrate' writes; NULL for none. It is
 * copied. WAV2SMALL_NO_VALUE if it is damaged or of another kind. */
wav2small_status wav2small_decide_calibrate(wav2small_decisions *decisions,
                                            const uint8_t *table, size_t count);

/* Take the scores as they stand, so many samples after the last call. Without speech
 * they are not looked at: those from before stay. */
wav2small_status wav2small_decide(wav2small_decisions *decisions,
                                  const int32_t integers[WAV2SMALL_SCORES],
                                  uint32_t samples, int speech);

/* How an event stands now. */
wav2small_status wav2small_decide_event(const wav2small_decisions *decisions,
                                        uint32_t event, wav2small_event *state);

/* Smoothed scores of the wearer, in parts. WAV2SMALL_TOO_SHORT before any speech. */
wav2small_status wav2small_decide_scores(const wav2small_decisions *decisions,
                                         int16_t parts[WAV2SMALL_SCORES]);

#ifdef __cplusplus
}
#endif

#endif
