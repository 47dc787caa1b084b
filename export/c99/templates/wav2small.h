/* Speech emotion from 16-bit samples, piece by piece, in constant memory.
 *
 * Hand samples over as they come, any number at a time, and ask for the scores
 * whenever they are wanted: the latest ones while sound goes on, which cost little, or
 * the result at the end of a recording.
 *
 *     static wav2small_state state;
 *     float scores[WAV2SMALL_SCORES];
 *     wav2small_init(&state$example_level);
 *     wav2small_push(&state, samples, count);
 *     wav2small_latest(&state, scores);
 *
 * All memory is the state$held. There is no heap,
 * no recursion, no mutable global, and no floating point but for the last step of
 * scores as float. States are independent of each other; one state is for one
 * thread or interrupt at a time.
 *
 * Weights: licence $licence, use $use.
 */
#ifndef WAV2SMALL_H
#define WAV2SMALL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The model, as sha256sum says of its ONNX file, and the version of wav2small that
 * wrote this. */
#define WAV2SMALL_MODEL_SHA256 "$sha256"
#define WAV2SMALL_PROJECT_VERSION "$version"
/* Version of the state, the tables and what functions are called with. */
#define WAV2SMALL_LAYOUT $layout
/* Samples per second. */
#define WAV2SMALL_SAMPLING_RATE $sampling_rate
/* Number of scores: $labels. */
#define WAV2SMALL_SCORES $scores
/* Samples from one frame to the next. */
#define WAV2SMALL_HOP_LENGTH $hop_length
/* Samples before which there is no result. */
#define WAV2SMALL_MIN_SAMPLES $min_samples
$limit/* Bytes of samples that the caller has to hold for each second of a signal. */
#define WAV2SMALL_HELD_BYTES_PER_SECOND $held_bytes
#if defined(WAV2SMALL_BLOB)
/* With WAV2SMALL_BLOB weights are no constants: wav2small_init takes a blob, which
 * wav2small_model.bin is. It stays where it is, at a multiple of 8, as long as the state
 * is used. A score is (integer - zero point) * step. */
typedef struct {
    uint8_t magic[4];
    uint32_t layout;       /* WAV2SMALL_LAYOUT */
    uint32_t bytes;        /* of all of it */
    uint32_t crc;          /* CRC-32 of all else */
    uint8_t structure[32]; /* SHA-256 of how the network is built */
    uint8_t sha256[32];    /* of the model */
    float step;
    float speech_step;     /* of log-odds of speech */
    int32_t zero_point;
    int32_t part_multiplier;
    uint32_t part_shift;
    uint32_t unused;
} wav2small_model;
#define WAV2SMALL_WITH_MODEL , const void *model, size_t bytes
#else
/* A score is (integer - zero point) * step.
 * Lowest and highest that were measured: $range. */
#define WAV2SMALL_STEP $step
#define WAV2SMALL_ZERO_POINT ($zero_point)
#define WAV2SMALL_WITH_MODEL
#endif

/* What functions return. */
typedef enum {
    WAV2SMALL_OK = 0,
    /* a pointer was NULL; nothing was done */
    WAV2SMALL_NO_POINTER = 1,
    /* the state was not initialised; nothing was done */
    WAV2SMALL_NOT_READY = 2,
    /* not enough was heard so far; scores are as before */
    WAV2SMALL_TOO_SHORT = 3,
    /* more samples with these than a signal may have, none of which was heard */
    WAV2SMALL_TOO_LONG = 4,
    /* a level that no signal has; nothing was done */
    WAV2SMALL_NO_LEVEL = 5,
    /* another value that cannot be; nothing was done */
    WAV2SMALL_NO_VALUE = 6,
    /* a blob that is damaged or none at all; nothing was done */
    WAV2SMALL_NO_MODEL = 7,
    /* a blob of another network; nothing was done */
    WAV2SMALL_OTHER_MODEL = 8
} wav2small_status;
$level_type
/* Everything that is remembered, and the memory to work in.
 * The members are not for use. Clear it (static memory is clear) before it is
 * initialised, and functions will know that it is not.
 */
typedef struct {
#if defined(WAV2SMALL_BLOB)
    const wav2small_model *model;
#endif
    uint32_t ready;
    uint32_t count;    /* samples so far */
    uint32_t frames;   /* frames that are computed; a lap less after each lap */
    uint16_t fill;     /* samples that wait */
    uint16_t skip;     /* samples to leave out */
    uint16_t covered;  /* samples that wait up to the last covered one */
    uint16_t covering; /* whether samples are covered now */
    uint16_t next;     /* stage of the frame that is being computed, 0 if none is */
    uint16_t credit;   /* work that may be done for the samples so far, and waits */
$voice_state$state    int16_t samples[$window_length];
    union {
        int32_t words[$line_words];
        int8_t bytes[$line_words * 4];
    } lines;
    union {
        int64_t longs[$scratch_longs];
        int32_t words[$scratch_longs * 2];
        int16_t halves[$scratch_longs * 4];
        int8_t bytes[$scratch_longs * 8];
    } scratch;
} wav2small_state;

/* Begin a signal. */
wav2small_status wav2small_init(wav2small_state *state WAV2SMALL_WITH_MODEL$level_argument);

/* Begin another signal$level_note. */
wav2small_status wav2small_reset(wav2small_state *state);

/* Hear samples, any number of them. The work on a frame is spread over the calls until
 * the next frame is there: no call has to do all of it if calls are short. */
wav2small_status wav2small_push(wav2small_state *state, const int16_t *samples,
                                size_t count);

/* Scores if the signal ended here. The signal may go on after it. All rows of the
 * look-ahead are made in this one call, which takes several times as long as the longest
 * push: it is for the end of a recording. A device that must be done in time asks for
 * wav2small_latest. */
wav2small_status wav2small_result(wav2small_state *state,
                                  float scores[WAV2SMALL_SCORES]);

/* The same as integers, for cores without floating point. */
wav2small_status wav2small_integers(wav2small_state *state,
                                    int32_t integers[WAV2SMALL_SCORES]);

/* Scores of what has been heard completely, so that they do not change with the next
 * sound: a little behind those of a signal that ends here, for a small part of the
 * work. The last frame counts when the next one is there, or after a result.
 * As float and as integers. */
wav2small_status wav2small_latest(wav2small_state *state,
                                  float scores[WAV2SMALL_SCORES]);
wav2small_status wav2small_latest_integers(wav2small_state *state,
                                           int32_t integers[WAV2SMALL_SCORES]);

/* Say whether what follows is not to be heard, the wearer's own voice for one, until
 * this is called with 0. A frame with a covered sample in it is left out as if it had
 * never been: no level, detector or layer knows of it, and it costs next to nothing. */
wav2small_status wav2small_cover(wav2small_state *state, int covered);
$listen$forget$further
#ifdef __cplusplus
}
#endif

#endif
