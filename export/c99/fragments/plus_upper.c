/* A number and the upper word of a product. */
static inline int32_t plus_upper(int32_t sum, int32_t a, int32_t b)
{
#if NAMES_INSTRUCTIONS
    int32_t word;
    __asm__("smmla %0, %1, %2, %3" : "=r"(word) : "r"(a), "r"(b), "r"(sum));
    return word;
#else
    return sum + (int32_t)(((int64_t)a * b) >> 32);
#endif
}
