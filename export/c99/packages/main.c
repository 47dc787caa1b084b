/* The self-test, said on standard output. */
#include <stdio.h>

int wav2small_selftest(void);

int main(void)
{
    const int failed = wav2small_selftest();
    if (failed != 0) {
        printf("golden vector %d differs\n", failed);
        return 1;
    }
    printf("golden vectors agree\n");
    return 0;
}
