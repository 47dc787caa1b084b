/* Quotient rounded down, divisor above 0. */
static int64_t divide(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    if ((a % b) < 0) {
        quotient -= 1;
    }
    return quotient;
}
