/* Golden vectors: what the reference computes of signals that are made here. */
#include "wav2small.h"
#include "wav2small_golden.h"

#if !defined(WAV2SMALL_NO_MAIN)
#include <stdio.h>
#endif

#if defined(WAV2SMALL_BLOB)
#define WAV2SMALL_TEST_ARGUMENTS const void *model, size_t bytes
#define WAV2SMALL_TEST_MODEL , model, bytes
#else
#define WAV2SMALL_TEST_ARGUMENTS void
#define WAV2SMALL_TEST_MODEL
#endif

int wav2small_selftest(WAV2SMALL_TEST_ARGUMENTS);

/* Noise of changing level and a tone. */
static int16_t sample_at(uint32_t n, uint32_t *noise)
{
    int32_t value;
    *noise = *noise * 1664525u + 1013904223u;
    value = (int32_t)(*noise >> 16) - 32768;
    value = value / (1 << (2u + ((n >> 11) & 7u)));
    return (int16_t)(value + (((n / 40u) % 2u == 0u) ? 700 : -700));
}

/* 0, or the number of the vector that differs, counted from 1. */
int wav2small_selftest(WAV2SMALL_TEST_ARGUMENTS)
{
    static wav2small_state state;
    int16_t samples[61];
    int32_t integers[WAV2SMALL_SCORES];
    uint32_t i;
    for (i = 0; i < (uint32_t)GOLDEN_VECTORS; ++i) {
        const golden_t *vector = &golden[i];
        uint32_t noise = 1;
        uint32_t n = 0;
        uint32_t score;
        int wrong = (GOLDEN_INIT(&state, vector) != WAV2SMALL_OK) ? 1 : 0;
        while (n < vector->samples) {
            uint32_t count = 0;
            while ((count < 1u + n % 61u) && (n < vector->samples)) {
                samples[count] = sample_at(n, &noise);
                ++count;
                ++n;
            }
            if (wav2small_push(&state, samples, count) != WAV2SMALL_OK) {
                wrong = 1;
            }
        }
        /* a result in between changes nothing */
        if ((wav2small_integers(&state, integers) != WAV2SMALL_OK) ||
            (wav2small_integers(&state, integers) != WAV2SMALL_OK)) {
            wrong = 1;
        }
        for (score = 0; score < (uint32_t)WAV2SMALL_SCORES; ++score) {
            if (integers[score] != vector->integers[score]) {
                wrong = 1;
            }
        }
        if (wrong != 0) {
            return (int)i + 1;
        }
    }
    return 0;
}

#if !defined(WAV2SMALL_NO_MAIN)
#if defined(WAV2SMALL_BLOB)
/* The blob from standard input. */
int main(void)
{
    static uint64_t model[1 << 15];
    const size_t bytes = fread(model, 1, sizeof model, stdin);
    const int failed = wav2small_selftest(model, bytes);
#else
int main(void)
{
    const int failed = wav2small_selftest();
#endif
    if (failed != 0) {
        (void)printf("golden vector %d of %d differs\n", failed, GOLDEN_VECTORS);
        return 1;
    }
    (void)printf("%d golden vectors agree, state of %lu bytes\n", GOLDEN_VECTORS,
                 (unsigned long)sizeof(wav2small_state));
    return 0;
}
#endif
