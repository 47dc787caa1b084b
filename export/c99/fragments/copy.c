/* Copies bytes to a place before them or elsewhere. */
static inline void copy(void *to, const void *from, uint32_t bytes)
{
    uint8_t *new_place = (uint8_t *)to;
    const uint8_t *old_place = (const uint8_t *)from;
#if NAMES_INSTRUCTIONS
    if ((((uintptr_t)to | (uintptr_t)from) & 3u) == 0u) {
        for (; bytes >= 16u; bytes -= 16u) {
            __asm__ volatile("ldmia %[from]!, {r4, r5, r6, r8}\n\t"
                             "stmia %[to]!, {r4, r5, r6, r8}"
                             : [to] "+r"(new_place), [from] "+r"(old_place)
                             :
                             : "r4", "r5", "r6", "r8", "memory");
        }
    }
#endif
#if defined(__ARM_FEATURE_UNALIGNED)
    ROLLED
    for (; bytes >= 16u; bytes -= 16u) {
        uint32_t words[4];
        __builtin_memcpy(&words[0], old_place, 4);
        __builtin_memcpy(&words[1], old_place + 4, 4);
        __builtin_memcpy(&words[2], old_place + 8, 4);
        __builtin_memcpy(&words[3], old_place + 12, 4);
        __builtin_memcpy(new_place, &words[0], 4);
        __builtin_memcpy(new_place + 4, &words[1], 4);
        __builtin_memcpy(new_place + 8, &words[2], 4);
        __builtin_memcpy(new_place + 12, &words[3], 4);
        old_place += 16;
        new_place += 16;
    }
#endif
    ROLLED
    for (; bytes != 0u; --bytes) {
        *new_place = *old_place;
        ++new_place;
        ++old_place;
    }
}
