/* A number that was rescaled. */
static void store(void *values, uint32_t wide, uint32_t place, int64_t a,
                  int32_t zero)
{
    if (wide != 0u) {
        ((int32_t *)values)[place] = (int32_t)a;
    } else {
        ((int8_t *)values)[place] = saturate(a + zero);
    }
}
