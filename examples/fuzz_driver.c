/* Makes inputs: random ones, or changed ones that reach new branches. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 4096
#define MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);
extern long calls, told, heard_speech;

static uint8_t input[LONGEST];
static size_t input_size;
static const char *found;
static uint64_t noise = 1;

static uint8_t now[65536], known[65536];
static uintptr_t before;

void __sanitizer_cov_trace_pc(void)
{
    const uintptr_t place = (uintptr_t)__builtin_return_address(0) * 0x9E3779B1u;
    uint8_t *count = &now[((place >> 8) ^ (before >> 1)) & 65535u];
    *count = (uint8_t)(*count + (*count < 255));
    before = place >> 8;
}

/* 1, 2, 3, 4 to 7, 8 to 15 ... times are the same */
static uint8_t bucket(uint8_t count)
{
    uint8_t bits = 0;
    for (; count != 0; count = (uint8_t)(count >> 1)) { ++bits; }
    return (uint8_t)(1u << (bits & 7u));
}

static uint32_t draw(uint32_t below)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (uint32_t)((noise >> 16) % below);
}

/* Runs the input, which lies in a file meanwhile: nothing may come after it. */
static void attempt(void)
{
    FILE *file = fopen(found, "wb");
    if (!file || fwrite(input, 1, input_size, file) != input_size || fclose(file)) {
        exit(2);
    }
    LLVMFuzzerTestOneInput(input, input_size);
    remove(found);
}

static void randomise(size_t from, size_t count)
{
    for (; count > 0; --count) { input[from++] = (uint8_t)draw(256); }
}

static void change(void)
{
    size_t place = draw((uint32_t)input_size + 1u), some = 1u + draw(16);
    switch (draw(5)) {
    case 0:
        if (place < input_size) { input[place] ^= (uint8_t)(1u << draw(8)); }
        break;
    case 1:
        if (place < input_size) { input[place] = (uint8_t)draw(256); }
        break;
    case 2:
        some = (some < input_size - place) ? some : input_size - place;
        memmove(input + place, input + place + some, input_size - place - some);
        input_size -= some;
        break;
    case 3:
        if (input_size + some <= LONGEST) {
            memmove(input + place + some, input + place, input_size - place);
            randomise(place, some);
            input_size += some;
        }
        break;
    default:
        /* once more what lies elsewhere */
        if (input_size + some <= LONGEST && place + some <= input_size) {
            memcpy(input + input_size, input + place, some);
            input_size += some;
        }
    }
}

int main(int argc, char **argv)
{
    static struct { uint8_t data[LONGEST]; size_t size; } corpus[MOST];
    const long most = (argc > 2) ? atol(argv[2]) : 0;
    size_t kept = 0, i;
    long runs = 0;
    if (argc == 2) {
        FILE *file = fopen(argv[1], "rb");
        input_size = file ? fread(input, 1, LONGEST, file) : 0;
        return LLVMFuzzerTestOneInput(input, input_size);
    }
    found = argv[3];
    if (strcmp(argv[1], "random") == 0) {
        while (calls < most) {
            input_size = LONGEST;
            randomise(0, LONGEST);
            input[0] = (draw(8) == 0u) ? input[0] : 255u; /* mostly begin first */
            attempt();
            ++runs;
        }
        printf("%ld calls in %ld inputs, %ld rows of a detector, %ld of speech\n", calls,
               runs, told, heard_speech);
        return 0;
    }
    for (; runs < most; ++runs) {
        int changes = 1 + (int)draw(8), more = 0;
        if (kept == 0) {
            input[0] = 255;
            input_size = 1;
        } else {
            /* late ones more often */
            const size_t one = draw((uint32_t)kept), other = draw((uint32_t)kept);
            const size_t chosen = (one > other) ? one : other;
            memcpy(input, corpus[chosen].data, corpus[chosen].size);
            input_size = corpus[chosen].size;
        }
        for (; changes > 0; --changes) { change(); }
        memset(now, 0, sizeof now);
        before = 0;
        attempt();
        for (i = 0; i < sizeof now; ++i) {
            const uint8_t bit = now[i] ? bucket(now[i]) : 0;
            more |= (bit & ~known[i]) != 0;
            known[i] |= bit;
        }
        if (more && kept < MOST) {
            memcpy(corpus[kept].data, input, input_size);
            corpus[kept++].size = input_size;
        }
    }
    {
        long branches = 0;
        for (i = 0; i < sizeof known; ++i) { branches += known[i] != 0; }
        printf("%ld inputs, %ld calls, %lu kept for what they reach, %ld branches\n",
               runs, calls, (unsigned long)kept, branches);
    }
    return 0;
}
