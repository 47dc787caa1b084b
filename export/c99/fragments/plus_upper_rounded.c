/* A number and the upper word of a product, rounded. */
static inline int32_t plus_upper_rounded(int32_t sum, int32_t a, int32_t b)
{
#if NAMES_INSTRUCTIONS
    int32_t word;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(word) : "r"(a), "r"(b), "r"(sum));
    return word;
#else
    return sum + upper_rounded(a, b);
#endif
}
