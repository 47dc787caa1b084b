/* A number that columns are multiplied with. */
typedef int16_t number_t;

/* Four outputs that lie side by side. */
APART static void long_four(const end_t *end, uint32_t output, const int32_t sums[4],
                            void *values, uint32_t place)
{
    uint32_t i;
    if (end->kind == (uint8_t)WIDE_SHORT) {
        for (i = 0; i < 4u; ++i) {
            ((int32_t *)values)[place + i] = wide_output(end, output + i, sums[i]);
        }
    } else {
        for (i = 0; i < 4u; ++i) {
            long_output(end, output + i, sums[i], values, place + i);
        }
    }
}

INSIDE void put_four(const end_t *end, uint32_t output, int32_t s0, int32_t s1,
                     int32_t s2, int32_t s3, void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        const int32_t *const multiplier = end->multiplier + output;
        const int32_t round = end->round;
        const uint32_t last = end->last;
        int8_t *to = (int8_t *)values + place;
        const int8_t a = short_output(s0, multiplier[0], round, last);
        const int8_t b = short_output(s1, multiplier[1], round, last);
        const int8_t c = short_output(s2, multiplier[2], round, last);
        to[3] = short_output(s3, multiplier[3], round, last);
        to[0] = a;
        to[1] = b;
        to[2] = c;
    } else {
        const int32_t sums[4] = {s0, s1, s2, s3};
        long_four(end, output, sums, values, place);
    }
}

/* Four numbers of 16 bits, or words of weights. */
#if LANES
typedef struct {
    uint32_t first; /* two of them */
    uint32_t second;
} four_t;

/* The memory that a pointer leads to, for compilers. */
typedef struct __attribute__((may_alias)) {
    uint32_t words[4];
} reach_t;

/* Takes two words at a multiple of 4 and leads the pointer behind them. Compilers tend
 * to make more instructions of it. */
#define TAKE_WORDS(four, from)                                     \
    __asm__("ldrd %0, %1, [%2], #8"                                \
            : "=&r"((four).first), "=&r"((four).second), "+r"(from) \
            : "m"(*(const reach_t *)(const void *)(from)))
#define TAKE_FOUR(four, from) TAKE_WORDS(four, from)

static inline int32_t add_products(int32_t sum, four_t a, four_t b)
{
    sum = __smlad((int16x2_t)a.first, (int16x2_t)b.first, sum);
    return __smlad((int16x2_t)a.second, (int16x2_t)b.second, sum);
}

/* Makes numbers of four bytes. */
static inline void widen_four(int16_t *to, const int8_t *from)
{
    uint32_t word;
    four_t four;
    __builtin_memcpy(&word, from, 4);
    __asm__("sxtb16 %0, %2, ror #8\n\t"
            "sxtb16 %2, %2\n\t"
            "pkhtb %1, %0, %2, asr #16\n\t"
            "pkhbt %0, %2, %0, lsl #16"
            : "=&r"(four.first), "=r"(four.second), "+r"(word));
    __builtin_memcpy(to, &four.first, 4);
    __builtin_memcpy(to + 2, &four.second, 4);
}

/* The same of eight bytes, to where words lie; leads both pointers on. */
#define WIDEN_EIGHT(to, from)                                      \
    do {                                                           \
        uint32_t spare;                                            \
        __asm__ volatile("ldr r4, [%[f]], #4\n\t"                  \
                         "ldr %[s], [%[f]], #4\n\t"                \
                         "sxtb16 r8, r4, ror #8\n\t"               \
                         "sxtb16 r4, r4\n\t"                       \
                         "pkhtb r5, r8, r4, asr #16\n\t"           \
                         "pkhbt r4, r4, r8, lsl #16\n\t"           \
                         "sxtb16 r8, %[s], ror #8\n\t"             \
                         "sxtb16 %[s], %[s]\n\t"                   \
                         "pkhbt r6, %[s], r8, lsl #16\n\t"         \
                         "pkhtb r8, r8, %[s], asr #16\n\t"         \
                         "stmia %[t]!, {r4, r5, r6, r8}"           \
                         : [t] "+r"(to), [f] "+r"(from),           \
                           [s] "=&r"(spare)                        \
                         :                                         \
                         : "r4", "r5", "r6", "r8", "memory");      \
    } while (0)
#else
typedef struct {
    int16_t a;
    int16_t b;
    int16_t c;
    int16_t d;
} four_t;

#define TAKE_FOUR(four, from)  \
    do {                       \
        (four).a = (from)[0];  \
        (four).b = (from)[1];  \
        (four).c = (from)[2];  \
        (four).d = (from)[3];  \
        (from) += 4;           \
    } while (0)

static inline int32_t add_products(int32_t sum, four_t x, four_t y)
{
    return sum + x.a * y.a + x.b * y.b + x.c * y.c + x.d * y.d;
}
#endif
