"""The one table of cores: how to build for each, emulate it and estimate its speed.

To add a core, add an entry to :data:`CORES`;
``examples/fit_prices.py`` then measures the prices that plans are made with.
The tests of cores go through the table.

References:
    Arm DDI 0439, Cortex-M4 Technical Reference Manual, tables 3-1 and 7-1.
    Arm DDI 0337, Cortex-M3 Technical Reference Manual, table 3-1.
    Arm IHI 0045, Addenda to the ABI for the Arm Architecture: Tag_CPU_arch.
    Arm DAI 0547, Corstone SSE-300 with Cortex-M55 for MPS3, memory map.

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple


class CyclesPerMac(NamedTuple):
    """Interval of clock cycles for one multiply-accumulate."""

    low: float
    """With the best kernel known to us."""

    high: float
    """With an ordinary one, or with waits for memory."""


@dataclass(frozen=True)
class Estimate:
    """How fast a core multiplies, for models that have no C99.

    Good enough to compare models and to see what is impossible.
    Waits for memory are included only as far as ``high`` says.
    """

    integer: CyclesPerMac
    """Activations and weights of 8 bits."""

    floating: CyclesPerMac
    """float32."""

    source: str
    """How the intervals were found."""


@dataclass(frozen=True)
class Timing:
    """What is known of the time that instructions take."""

    source: str
    """Where the intervals of cycles come from."""

    dual_issue: bool = False
    """Whether the core may run two instructions at once."""

    slow_multiplier: bool = False
    """Whether some multiplications take more than one cycle."""

    vectors: bool = False
    """Whether the core has vector instructions (MVE)."""

    pipeline: Literal["one at a time", "two short ones"] | None = None
    """What the core starts in a cycle, see
    :mod:`wav2small.firmware_bench.run.pipeline`; None if too little is known of it."""

    error: tuple[float, float] = (1.0, 1.0)
    """How far what was measured on chips lies from the cycles that follow from it,
    as factors for the fewest and the most."""


@dataclass(frozen=True)
class Board:
    """Board that QEMU emulates, for a core that unicorn does not have."""

    machine: str
    """Name of the board in QEMU."""

    flash_origin: int
    """Address at which its flash memory begins."""

    ram_bytes: int
    """Bytes of its RAM at the address that all firmware here uses."""


@dataclass(frozen=True)
class Core:
    """A core that firmware can be built for and run on."""

    architecture: int
    """Number of the core's architecture in programs, Tag_CPU_arch of Arm's ABI;
    0 for a core that is not Arm's."""

    zig_target: str
    """System that zig builds for."""

    zig_cpu: str
    """Processor that zig builds for."""

    gcc_float: tuple[str, ...] | None
    """Flags that tell GCC about the floating point unit,
    None if the bench's GCC does not build for the core."""

    timing: Timing
    """Cycles of its instructions."""

    estimate: Estimate | None = None
    """Cycles of a multiply-accumulate, None if there is no estimate."""

    board: Board | None = None
    """Board for QEMU, None where unicorn emulates the core."""

    riscv: bool = False
    """Whether it is a core of RISC-V with 32 bits, else one of Arm."""

    defines: tuple[str, ...] = ()
    """Flags for the startup code, which does what no emulator does for this core."""


_HARD_FLOAT = "thumb-freestanding-eabihf"
_FPV5 = ("-mfloat-abi=hard", "-mfpu=fpv5-sp-d16")

CORES = {
    "cortex-m3": Core(
        architecture=10,
        zig_target="thumb-freestanding-eabi",
        zig_cpu="cortex_m3",
        gcc_float=("-mfloat-abi=soft",),
        timing=Timing(
            "instruction timings of the Cortex-M3 Technical Reference Manual, "
            "Arm DDI 0337, memory without waits",
            slow_multiplier=True,
        ),
        estimate=Estimate(
            CyclesPerMac(3.75, 10.2),
            CyclesPerMac(60, 120),
            "8 bit: 3.75 (CMSIS-NN) to 7.0 (plain C) instructions counted on an "
            "emulated core in a 3x3 convolution, 1.00 to 1.46 cycles each; float32: "
            "software, a rough guess",
        ),
    ),
    "cortex-m4": Core(
        architecture=13,
        zig_target=_HARD_FLOAT,
        zig_cpu="cortex_m4+vfp4d16sp",
        gcc_float=("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        timing=Timing(
            "instruction and load and store timings of the Cortex-M4 Technical "
            "Reference Manual, Arm DDI 0439, within 1 and 2 % of eight kernels that "
            "were measured on a chip; memory without waits",
            pipeline="one at a time",
            error=(0.99, 1.02),
        ),
        estimate=Estimate(
            CyclesPerMac(1.70, 2.48),
            CyclesPerMac(2, 8),
            "8 bit: 1.70 instructions counted on an emulated core in a 3x3 convolution "
            "with SMLAD, 1.00 to 1.46 cycles each; float32: VMUL and VADD (1 cycle "
            "each) to VFMA (3) with two loads and a loop, Cortex-M4 Technical "
            "Reference Manual",
        ),
    ),
    "cortex-m7": Core(
        architecture=13,
        zig_target=_HARD_FLOAT,
        zig_cpu="cortex_m7+fp_armv8d16sp",
        gcc_float=_FPV5,
        timing=Timing(
            "Arm publishes no instruction timings of the Cortex-M7: from two "
            "instructions at once, everywhere, to those of the Cortex-M4 one after "
            "the other, memory without waits",
            dual_issue=True,
        ),
    ),
    "cortex-m33": Core(
        architecture=17,
        zig_target=_HARD_FLOAT,
        zig_cpu="cortex_m33+dsp+fp_armv8d16sp",
        gcc_float=_FPV5,
        timing=Timing(
            "no instruction timings of the Cortex-M33 were found: from two short "
            "instructions at once wherever they can be to one after the other, a "
            "load that the next one needs 1 to 2 cycles, the rest as on the "
            "Cortex-M4, Arm DDI 0439; memory without waits",
            pipeline="two short ones",
        ),
        estimate=Estimate(
            CyclesPerMac(1.68, 2.45),
            CyclesPerMac(2, 8),
            "8 bit: 1.68 instructions counted on an emulated core in a 3x3 convolution "
            "with SMLAD, 1.00 to 1.46 cycles each; float32: taken to be as Cortex-M4",
        ),
    ),
    "cortex-m55": Core(
        architecture=21,
        zig_target=_HARD_FLOAT,
        zig_cpu="cortex_m55+mve_fp+fp_armv8d16",
        gcc_float=("-mfloat-abi=hard", "-mfpu=auto"),
        timing=Timing(
            "no instruction timings of the Cortex-M55 were found: two short "
            "instructions at once to those of the Cortex-M4 one after the other; "
            "vectors take 1 cycle, as two overlap, to 2, as half of one goes at a "
            "time; memory without waits",
            dual_issue=True,
            vectors=True,
        ),
        estimate=Estimate(
            CyclesPerMac(0.51, 1.02),
            CyclesPerMac(0.5, 2),
            "8 bit: 0.51 instructions counted on an emulated core in a 3x3 convolution "
            "with MVE, 1 to 2 cycles each, as a vector takes two beats; float32: four "
            "lanes, one to four instructions for four products",
        ),
        board=Board("mps3-an547", flash_origin=0x11000000, ram_bytes=1 << 19),
        defines=("-DBENCH_ENABLES_FLOAT",),
    ),
    "rv32imac": Core(
        architecture=0,
        zig_target="riscv32-freestanding-none",
        zig_cpu="generic_rv32+m+a+c",
        gcc_float=None,
        timing=Timing(
            "RISC-V leaves timings to the maker: a load 1 to 3 cycles, a "
            "multiplication 1 to 5, a division 2 to 36, a branch 1 to 4, as on small "
            "cores with one pipeline; memory without waits"
        ),
        riscv=True,
    ),
}
"""Cores that firmware can be built for, by name; other chips' cores are unknown."""
