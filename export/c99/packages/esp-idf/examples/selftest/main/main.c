/* The self-test, said on the console of ESP-IDF. */
#include <stdio.h>

int wav2small_selftest(void);
void app_main(void);

void app_main(void)
{
    const int failed = wav2small_selftest();
    if (failed != 0) {
        printf("golden vector %d differs\n", failed);
    } else {
        printf("golden vectors agree\n");
    }
}
