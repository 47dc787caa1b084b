"""Hold the bench's cycles against those that were measured on chips.

    git clone https://github.com/Ko-/aes-armcortexm
    git clone https://github.com/eembc/coremark
    python examples/check_cycles.py aes-armcortexm coremark

Both run on emulated cores as models do, and their cycles are derived as those of models
are, from and to. The first are ciphers in assembly, the same instructions everywhere,
which their authors timed on an STM32F407 whose memory does not wait (Schwabe and
Stoffelen, "All the AES You Need on Cortex-M3 and M4", SAC 2016). CoreMark is built by
our compilers, at -O3 as one unit, beside what makers publish of theirs: it says what is
possible, not what has to be.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from wav2small.firmware_bench.run.emulation import start_machine
from wav2small.firmware_bench.run.toolchain import GCC, ZIG, build

KERNELS: Mapping[str, tuple[str, str, int, float]] = {
    "AES-128, keys": ("aes128/aes.s", "AES_128_keyschedule(b, a)", 1, 244.9),
    "AES-128, a block": ("aes128/aes.s", "AES_128_encrypt(a, b, c)", 1, 634.7),
    "AES-128, counter": (
        "aes128ctr/aes_128_ctr.s",
        "AES_128_encrypt_ctr(a, b, c, 4096)",
        256,
        527.9,
    ),
    "AES-192, keys": ("aes192ctr/aes_192_ctr.s", "AES_192_keyschedule(b, a)", 1, 232.2),
    "AES-192, counter": (
        "aes192ctr/aes_192_ctr.s",
        "AES_192_encrypt_ctr(a, b, c, 4096)",
        256,
        644.0,
    ),
    "AES-256, counter": (
        "aes256ctr/aes_256_ctr.s",
        "AES_256_encrypt_ctr(a, b, c, 4096)",
        256,
        760.7,
    ),
    "AES-128 by bits, keys": (
        "aes128ctrbs/aes_128_ctr_bs.s",
        "AES_128_keyschedule(b, a)",
        1,
        1021.9,
    ),
    "AES-128 by bits, counter": (
        "aes128ctrbs/aes_128_ctr_bs.s",
        "AES_128_encrypt_ctr(a, b, c, 4096)",
        256,
        1616.6,
    ),
}
"""File, call, blocks of it, and cycles of a block that were measured on an M4."""

PUBLISHED = {
    "cortex-m4": (
        (3.42, "ST, STM32L476: 273.55 CoreMark at 80 MHz"),
        (3.3, "Nordic, nRF52840: 212 CoreMark at 64 MHz from flash with cache"),
    ),
    "cortex-m33": (
        (4.07, "ST, STM32U575: 651 CoreMark at 160 MHz"),
        (3.86, "Nordic: 247 CoreMark at 64 MHz from flash with cache"),
        (3.73, "Nordic: 239 CoreMark at 64 MHz from RAM"),
    ),
}
"""CoreMark / MHz of chips, and who says so."""

HEADER = """
#include <stdint.h>
typedef struct { uint32_t unused; } mark_state;
#define MARK_SAMPLING_RATE 1
#define MARK_HOP_LENGTH 1
#define MARK_SCORES 1
int mark_push(int count);
"""

CALL = """
#include "mark.h"
%(code)s
void %(name)s();
static uint32_t a[512], b[1024], c[1024];
__attribute__((used)) int mark_push(int count)
{
    for (; count > 0; --count) { %(call)s; }
    return 0;
}
"""

PORT = """
#include <stddef.h>
#include <stdint.h>
#define HAS_FLOAT 0
#define HAS_TIME_H 0
#define USE_CLOCK 0
#define HAS_STDIO 0
#define HAS_PRINTF 0
#define COMPILER_VERSION ""
#define COMPILER_FLAGS ""
#define MEM_LOCATION ""
#define CORETIMETYPE ee_u32
#define SEED_METHOD SEED_VOLATILE
#define MEM_METHOD MEM_STATIC
#define MULTITHREAD 1
#define MAIN_HAS_NOARGC 1
#define MAIN_HAS_NORETURN 0
#define PERFORMANCE_RUN 1
#define TOTAL_DATA_SIZE 2000
#define align_mem(x) (void *)(4 + (((ee_ptr_int)(x)-1) & ~3))
typedef int16_t ee_s16;
typedef uint16_t ee_u16;
typedef int32_t ee_s32;
typedef uint8_t ee_u8;
typedef uint32_t ee_u32;
typedef uintptr_t ee_ptr_int;
typedef size_t ee_size_t;
typedef ee_u32 CORE_TICKS;
typedef struct { ee_u8 portable_id; } core_portable;
extern ee_u32 default_num_contexts;
int ee_printf(const char *text, ...);
void portable_init(core_portable *p, int *count, char *words[]);
void portable_fini(core_portable *p);
"""

BEFORE = """
#include "mark.h"
volatile ee_s32 seed1_volatile = 0, seed2_volatile = 0, seed3_volatile = 0x66;
volatile ee_s32 seed4_volatile = 1, seed5_volatile = 0;
ee_u32 default_num_contexts = 1;
void start_time(void) {}
void stop_time(void) {}
CORE_TICKS get_time(void) { return 1; }
ee_u32 time_in_secs(CORE_TICKS ticks) { return ticks; }
int ee_printf(const char *text, ...) { (void)text; return 0; }
void portable_init(core_portable *p, int *count, char *words[])
{
    (void)count;
    (void)words;
    p->portable_id = 1;
}
void portable_fini(core_portable *p) { p->portable_id = 0; }
/* compilers call it for structs */
void *memcpy(void *to, const void *from, size_t count)
{
    size_t i;
    for (i = 0; i < count; ++i) {
        ((volatile ee_u8 *)to)[i] = ((const ee_u8 *)from)[i];
    }
    return to;
}
#define main static coremark_main
"""

AFTER = """
__attribute__((used)) int mark_push(int count)
{
    seed4_volatile = count;
    coremark_main();
    return 0;
}
"""
PARTS = ("list_join", "matrix", "state", "util", "main")


def measure(
    code: str, header: str, core: str, compiler: str
) -> tuple[int, float, float]:
    """Instructions and cycles, from and to, of one round of ``mark_push``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {"mark.h": header, "mark.c": code}
        for file, text in {**texts, "mark_config.h": "", "mark_model.h": ""}.items():
            (folder / file).write_text(text)
        firmware = build(
            folder, core, prefix="mark", compiler=compiler, optimisation="-O3"
        )
    found = []
    for count in (2, 3):
        machine = start_machine(firmware)
        machine.call("push", count)
        found.append((machine.instructions(), *machine.cycles()))
    (a, b, c), (d, e, f) = found
    return d - a, e - b, f - c


def check_ciphers(folder: Path) -> None:
    """Compare ciphers in assembly with what their authors measured."""
    for title, (file, call, blocks, measured) in KERNELS.items():
        # bits of C's strings are those of assembly's words
        lines = (folder / file).read_text().splitlines()
        text = "\n".join(json.dumps(line + "\n") for line in lines)
        code = CALL % {
            "code": f'__asm__({text}\n".text\\n.align 2\\n");',
            "name": call.partition("(")[0],
            "call": call,
        }
        _, low, high = measure(code, HEADER, "cortex-m4", GCC)
        low, high = low / blocks, high / blocks
        print(
            f"{title}: {low:,.1f} to {high:,.1f} cycles, {measured:,.1f} measured, "
            f"{100 * (measured / low - 1):+.1f} to {100 * (measured / high - 1):+.1f} %"
        )


def check_coremark(folder: Path, core: str, compiler: str) -> None:
    """Show an iteration of CoreMark beside what makers publish."""
    texts = [(folder / f"core_{name}.c").read_text() for name in PARTS]
    header = (folder / "coremark.h").read_text().replace('#include "core_portme.h"', "")
    code = "\n".join([BEFORE, *texts, AFTER]).replace('#include "coremark.h"', "")
    found = measure(code, HEADER + PORT + header, core, compiler)
    instructions, low, high = found
    print(
        f"CoreMark, {core}, {compiler}: {instructions:,} instructions, {low:,.0f} to "
        f"{high:,.0f} cycles, {1e6 / high:.2f} to {1e6 / low:.2f} CoreMark / MHz"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ciphers", type=Path)
    parser.add_argument("coremark", type=Path)
    arguments = parser.parse_args()
    check_ciphers(arguments.ciphers)
    for core, published in PUBLISHED.items():
        for compiler in (ZIG, GCC):
            check_coremark(arguments.coremark, core, compiler)
        for score, source in published:
            print(f"    published: {1e6 / score:,.0f} cycles, {score}: {source}")


if __name__ == "__main__":
    main()
