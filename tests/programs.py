"""Programs for a Cortex-M that the bench did not build, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wav2small.firmware_bench.run.toolchain import FLAGS, GCC, user_cache

CODE = """
#include <stdint.h>
#define TABLE 100
int32_t times = 10, more[] = {3, 1, 4};
int32_t cleared[50];
const int16_t table[TABLE] = {1, 2, 3};
volatile int32_t sum;

/* 2 + 2 * times + 1 instructions, and none of the stack */
__asm__(".thumb_func\\n.global count\\n.type count, %function\\ncount:\\n"
        "movw r0, #:lower16:times\\n movt r0, #:upper16:times\\n"
        "ldr r0, [r0]\\n 1: subs r0, #1\\n bne 1b\\n bx lr\\n.size count, .-count\\n");
/* 20 bytes of the stack */
__asm__(".thumb_func\\n.global deep\\n.type deep, %function\\ndeep:\\n"
        "movs r4, #1\\n movs r5, #2\\n movs r6, #3\\n movs r7, #4\\n"
        "push {r4-r7, lr}\\n pop {r4-r7, pc}\\n.size deep, .-deep\\n");
void count(void);
void deep(void);
void more_times(void) { times += more[1] + cleared[7]; cleared[7] = 100; }
void spin(void) { for (;;) __asm volatile(""); }
void chip(void) { *(volatile uint32_t *)0x40021000u = 1; }
void heap(void) { extern uint8_t end_of_ram[]; end_of_ram[40] = 1; }
void astray(void) { ((void (*)(void))0x70000001u)(); }
void start(void) { sum = table[sum & 63]; count(); deep(); more_times(); spin(); }
"""
SCRIPT = """
MEMORY {
  FLASH (rx) : ORIGIN = 0x08000000, LENGTH = 64K
  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 16K
}
ENTRY(start)
EXTERN(chip heap astray)
SECTIONS {
  .text : { *(.text*) *(.rodata*) } > FLASH
  .ARM.exidx : { *(.ARM.exidx*) } > FLASH
  .data : { *(.data*) } > RAM AT > FLASH
  .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM
  end_of_ram = .;
  RESERVED
}
"""
STACK = ".stack (NOLOAD) : { . = . + 512; } > RAM"


def build_program(
    folder: Path, compiler: str = "zig", *, code: str = CODE, reserved: str = ""
) -> Path:
    """Compile and link a program as a project of its own would."""
    folder.mkdir(exist_ok=True)
    (folder / "main.c").write_text(code)
    (folder / "chip.ld").write_text(SCRIPT.replace("RESERVED", reserved))
    if compiler == GCC:
        words = [GCC, "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-nostdlib"]
    else:
        words = [sys.executable, "-P", "-m", "ziglang", "cc", "-fno-sanitize=all"]
        words += ["--target=thumb-freestanding-eabihf", "-mcpu=cortex_m4+vfp4d16sp"]
    words += [*FLAGS, "-O1", "main.c", "-Wl,-T,chip.ld", "-Wl,-z,max-page-size=4096"]
    # what nothing calls would be left out
    words += ["-Wl,--no-gc-sections", "-o", "firmware.elf"]
    done = subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(user_cache() / "zig")},
    )
    assert done.returncode == 0, done.stderr
    return folder / "firmware.elf"
