/* From another sampling rate to that of the model. */
#include "wav2small_resample.h"

#define UP $upu
#define DOWN $downu
#define TAPS $tapsu
#define BLOCK 32u

$filters

wav2small_status wav2small_resample_init(wav2small_resampler *resampler)
{
    uint32_t i;
    if (resampler == NULL) {
        return WAV2SMALL_NO_POINTER;
    }
    for (i = 0; i < TAPS; ++i) {
        resampler->kept[i] = 0;
    }
    resampler->fill = TAPS - 1u;
    resampler->place = 0;
    return WAV2SMALL_OK;
}

/* Sample of a phase from those that are kept, the newest last. */
static int16_t sample_of(const wav2small_resampler *resampler, uint32_t phase)
{
    /* the second half of the phases is the first one from behind */
    const uint32_t turned = (2u * phase > UP) ? 1u : 0u;
    const int16_t *factor = filters[(turned != 0u) ? (UP - phase) : phase];
    const int16_t *sample = resampler->kept + (resampler->fill - TAPS);
    int32_t sum = 1 << 14;
    uint32_t i;
    if (turned != 0u) {
        for (i = 0; i < TAPS; ++i) {
            sum += factor[i] * sample[i];
        }
    } else {
        for (i = 0; i < TAPS; ++i) {
            sum += factor[i] * sample[TAPS - 1u - i];
        }
    }
    sum >>= 15;
    return (int16_t)((sum > 32767) ? 32767 : (sum < -32768) ? -32768 : sum);
}

wav2small_status wav2small_resample_push(wav2small_resampler *resampler,
                                         wav2small_state *state,
                                         const int16_t *samples, size_t count)
{
    int16_t made[BLOCK];
    uint32_t some = 0;
    /* says what is wrong with the state before anything is done */
    wav2small_status status = wav2small_push(state, samples, 0);
    size_t n;
    uint32_t i;
    if (status != WAV2SMALL_OK) {
        return status;
    }
    if ((resampler == NULL) || ((samples == NULL) && (count != 0u))) {
        return WAV2SMALL_NO_POINTER;
    }
    for (n = 0; (n < count) && (status == WAV2SMALL_OK); ++n) {
        if (resampler->fill == TAPS + BLOCK) {
            for (i = 0; i < TAPS - 1u; ++i) {
                resampler->kept[i] = resampler->kept[i + BLOCK + 1u];
            }
            resampler->fill = TAPS - 1u;
        }
        resampler->kept[resampler->fill] = samples[n];
        ++resampler->fill;
        /* one of the input makes one at most */
        if (resampler->place < UP) {
            made[some] = sample_of(resampler, resampler->place);
            ++some;
            resampler->place += DOWN;
            if (some == BLOCK) {
                status = wav2small_push(state, made, some);
                some = 0;
            }
        }
        resampler->place -= UP;
    }
    if ((some != 0u) && (status == WAV2SMALL_OK)) {
        status = wav2small_push(state, made, some);
    }
    return status;
}
