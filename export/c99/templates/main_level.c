/* Scores of 16-bit mono samples from standard input, the first ten seconds of them. */
#include "wav2small.h"

#include <stdio.h>

static wav2small_state state;
static int16_t samples[10 * WAV2SMALL_SAMPLING_RATE];

int main(void)
{
    const size_t count =
        fread(samples, sizeof samples[0], sizeof samples / sizeof samples[0], stdin);
    wav2small_level level;
    float scores[WAV2SMALL_SCORES];
    int i;
    if ((wav2small_measure(samples, count, &level) != WAV2SMALL_OK) ||
        (wav2small_init(&state, &level) != WAV2SMALL_OK) ||
        (wav2small_push(&state, samples, count) != WAV2SMALL_OK) ||
        (wav2small_result(&state, scores) != WAV2SMALL_OK)) {
        return 1;
    }
    for (i = 0; i < WAV2SMALL_SCORES; ++i) {
        printf("%.3f ", (double)scores[i]);
    }
    printf("\n");
    return 0;
}
