/* Upper word of a product, which cores have instructions for. */
static inline int32_t upper(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b) >> 32);
}
