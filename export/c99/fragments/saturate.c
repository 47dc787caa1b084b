static int8_t saturate(int64_t a)
{
    return (int8_t)((a > 127) ? 127 : ((a < -128) ? -128 : a));
}
