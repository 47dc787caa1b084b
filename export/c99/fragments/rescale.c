static int64_t rescale(int64_t a, int32_t multiplier, uint32_t shift,
                       uint32_t before)
{
    return round_shift(round_shift(a, before) * multiplier, shift);
}
