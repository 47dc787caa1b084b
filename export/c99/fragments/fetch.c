static int32_t fetch(const void *values, uint32_t wide, uint32_t place)
{
    return (wide != 0u) ? ((const int32_t *)values)[place]
                        : (int32_t)((const int8_t *)values)[place];
}
