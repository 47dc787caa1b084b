// The self-test, said on the serial port.
#include <wav2small.h>

extern "C" int wav2small_selftest(void);

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
  const int failed = wav2small_selftest();
  if (failed != 0) {
    Serial.print("golden vector differs: ");
    Serial.println(failed);
  } else {
    Serial.println("golden vectors agree");
  }
}

void loop() {
}
