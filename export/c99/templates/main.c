/* Scores of 16-bit mono samples from standard input, once per second. */
#include "wav2small.h"

#include <stdio.h>

static wav2small_state state;

int main(void)
{
    int16_t samples[WAV2SMALL_SAMPLING_RATE / 100];
    float scores[WAV2SMALL_SCORES];
    size_t count;
    size_t pieces = 0;
    if (wav2small_init(&state) != WAV2SMALL_OK) {
        return 1;
    }
    while ((count = fread(samples, sizeof samples[0], sizeof samples / sizeof samples[0],
                          stdin)) != 0u) {
        if (wav2small_push(&state, samples, count) != WAV2SMALL_OK) {
            return 1;
        }
        ++pieces;
        if ((pieces % 100u == 0u) && (wav2small_latest(&state, scores) == WAV2SMALL_OK)) {
            int i;
            for (i = 0; i < WAV2SMALL_SCORES; ++i) {
                printf("%.3f ", (double)scores[i]);
            }
            printf("\n");
        }
    }
    return 0;
}
