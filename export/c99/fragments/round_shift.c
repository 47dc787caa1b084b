static int64_t round_shift(int64_t a, uint32_t bits)
{
    return (a + (((int64_t)1 << bits) >> 1)) >> bits;
}
