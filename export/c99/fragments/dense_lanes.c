/* A number that columns are multiplied with. */
typedef int16_t number_t;

/* Outputs that lie side by side. */
static inline void put_two(const end_t *end, uint32_t output, int32_t first,
                           int32_t second, void *values, uint32_t place)
{
    if (end->kind == (uint8_t)NARROW_SHORT) {
        const int32_t *const multiplier = end->multiplier + output;
        const int32_t round = end->round;
        const uint32_t last = end->last;
        int8_t *narrow = (int8_t *)values + place;
        const int8_t value = short_output(first, multiplier[0], round, last);
        narrow[1] = short_output(second, multiplier[1], round, last);
        narrow[0] = value;
    } else {
        long_output(end, output, first, values, place);
        long_output(end, output + 1u, second, values, place + 1u);
    }
}

/* Four numbers of 16 bits, and four or eight weights as they lie in flash. */
#if defined(__ARM_FEATURE_DSP)
typedef struct {
    uint32_t first;  /* two of them */
    uint32_t second;
} four_t;
typedef uint32_t packed_t;

/* Two words at a multiple of 4, so many bytes from where a pointer leads. */
#if defined(__GNUC__) && defined(__thumb2__)
/* compilers tend to make two instructions of it; what is read, at most */
typedef struct __attribute__((may_alias)) {
    uint32_t words[24];
} reach_t;
#define LOAD_WORDS(four, from, place)               \
    __asm__("ldrd %0, %1, [%2, %3]"                 \
            : "=r"((four).first), "=r"((four).second) \
            : "r"(from), "i"(place), "m"(*(const reach_t *)(const void *)(from)))
#else
#define LOAD_WORDS(four, from, place) \
    __builtin_memcpy(&(four), (const uint8_t *)(const void *)(from) + (place), 8)
#endif
#define LOAD_FOUR(four, from, place) LOAD_WORDS(four, from, 2 * (place))

#if USES_COLUMNS && USES_BYTES
static inline void store_four(int16_t *to, four_t four)
{
    __builtin_memcpy(__builtin_assume_aligned(to, 4), &four, sizeof four);
}
#endif

static inline int32_t add_products(int32_t sum, four_t a, four_t b)
{
    sum = __smlad((int16x2_t)a.first, (int16x2_t)b.first, sum);
    return __smlad((int16x2_t)a.second, (int16x2_t)b.second, sum);
}

/* Weights of two outputs. */
#define LOAD_PACKED(a, b, from, place)     \
    do {                                   \
        four_t words_;                     \
        LOAD_WORDS(words_, from, place);   \
        (a) = words_.first;                \
        (b) = words_.second;               \
    } while (0)
#else
typedef struct {
    int16_t a;
    int16_t b;
    int16_t c;
    int16_t d;
} four_t;
typedef const void *packed_t;


#define LOAD_FOUR(four, from, place)   \
    do {                               \
        (four).a = (from)[(place)];    \
        (four).b = (from)[(place) + 1]; \
        (four).c = (from)[(place) + 2]; \
        (four).d = (from)[(place) + 3]; \
    } while (0)

#if USES_COLUMNS && USES_BYTES
static inline void store_four(int16_t *to, four_t four)
{
    to[0] = four.a;
    to[1] = four.b;
    to[2] = four.c;
    to[3] = four.d;
}
#endif

static inline int32_t add_products(int32_t sum, four_t x, four_t y)
{
    return sum + x.a * y.a + x.b * y.b + x.c * y.c + x.d * y.d;
}

#define LOAD_PACKED(a, b, from, place)  \
    do {                                \
        (a) = (from) + (place);         \
        (b) = (from) + (place) + 4;     \
    } while (0)
#endif

#if USES_BYTES
/* Weights of a byte; the second and the third have changed places. */
static inline four_t widened(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    const uint32_t turned = (packed >> 8) | (packed << 24);
    const four_t four = {(uint32_t)__sxtb16((int8x4_t)packed),
                         (uint32_t)__sxtb16((int8x4_t)turned)};
#else
    const int8_t *at = (const int8_t *)packed;
    const four_t four = {at[0], at[2], at[1], at[3]};
#endif
    return four;
}
#endif

#if USES_NIBBLES
/* Of eight weights plus 8: bytes have those at 0, 2; 4, 6; 1, 3; 5, 7. */
static inline four_t first_four(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    const four_t four = {packed & 0x000f000fu, (packed >> 4) & 0x000f000fu};
#else
    const uint8_t *at = (const uint8_t *)packed;
    const four_t four = {at[0] & 15, at[2] & 15, at[0] >> 4, at[2] >> 4};
#endif
    return four;
}

static inline four_t second_four(packed_t packed)
{
#if defined(__ARM_FEATURE_DSP)
    return first_four(packed >> 8);
#else
    return first_four((const uint8_t *)packed + 1);
#endif
}
#endif
