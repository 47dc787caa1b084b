/* Upper word of a product, rounded. */
static inline int32_t upper_rounded(int32_t a, int32_t b)
{
#if NAMES_INSTRUCTIONS
    int32_t word;
    __asm__("smmulr %0, %1, %2" : "=r"(word) : "r"(a), "r"(b));
    return word;
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}
