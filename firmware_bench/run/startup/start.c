/* Startup of a core, and the state that the emulator calls the model with. */
#include "wav2small.h"

extern uint32_t bench_data[];
extern uint32_t bench_data_end[];
extern const uint32_t bench_data_image[];
extern uint32_t bench_bss[];
extern uint32_t bench_bss_end[];
extern uint32_t bench_stack[];

void bench_reset(void);
void bench_stop(void);

__attribute__((section(".vectors"), used)) const void *const bench_vectors[] = {
    bench_stack,
    (const void *)bench_reset,
};

/* Where every call returns to. */
__attribute__((noinline, used)) void bench_stop(void)
{
    for (;;) {
        __asm volatile("");
    }
}

/* Memory as C expects it. */
__attribute__((used)) void bench_reset(void)
{
    volatile uint32_t *to = bench_data;
    const uint32_t *from = bench_data_image;
#if defined(BENCH_ENABLES_FLOAT)
    /* floating point and vectors are off after a reset */
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    while (to < bench_data_end) {
        *to++ = *from++;
    }
    for (to = bench_bss; to < bench_bss_end;) {
        *to++ = 0;
    }
    bench_stop();
}

#if !defined(BENCH_SELFTEST)
wav2small_state bench_state __attribute__((used));

__attribute__((used)) const uint32_t bench_facts[] = {
    WAV2SMALL_SAMPLING_RATE,
    WAV2SMALL_HOP_LENGTH,
    WAV2SMALL_SCORES,
};
#endif

#if defined(WAV2SMALL_TRACE)
/* Tells the emulator, which does not count it, that a stage has made a row. */
__attribute__((noinline, used)) void bench_trace(int stage)
{
    __asm volatile("" : : "r"(stage));
}
#endif
