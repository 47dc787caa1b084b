/* The self-test, said on Zephyr's console. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

int wav2small_selftest(void);

int main(void)
{
    const int failed = wav2small_selftest();
    if (failed != 0) {
        printk("golden vector %d differs\n", failed);
    } else {
        printk("golden vectors agree\n");
    }
    return 0;
}
