"""Scores that become events: the norm against an oracle, and the C against the norm."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export_c99 import COMPILER, WARNINGS, compiled, run

from wav2small.errors import InputError
from wav2small.export.c99 import generate
from wav2small.export.integer.decisions import MOST, Decisions, Rule
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.personal import Personal
from wav2small.export.integer.reader import read
from wav2small.firmware_bench.run.machine import SAMPLES_ORIGIN
from wav2small.firmware_bench.run.toolchain import build
from wav2small.firmware_bench.run.unicorn import UnicornMachine
from wav2small.models import find_onnx

MODEL = "wav2small-rt-mini"
SCALE = 2**23
"""A score of 1 as this model's integer."""

HEAR, SMOOTH, QUIET, RULE, TABLE, NO_TABLE = range(6)


@pytest.fixture(scope="module")
def model() -> IntegerGraph:
    return read(find_onnx(MODEL))


def score(value: float) -> np.ndarray:
    return np.full(3, round(value * SCALE), np.int64)


@pytest.fixture
def decisions(model) -> Decisions:
    return Decisions(model)


# -- what it means -----------------------------------------------------------


def hear(decisions: Decisions, value: float, seconds: float, speech=True) -> None:
    for _ in range(round(seconds * 100)):
        decisions.hear(score(value), 160, speech=speech)


def names(decisions: Decisions) -> list[str]:
    return [event.name for event in decisions.events()]


def test_an_event_begins_lasts_and_ends(decisions):
    decisions.smooth(0)
    decisions.rule("high arousal", Rule(begin=0.7, end=0.6, seconds=2))
    for label in ("dominance", "valence"):
        decisions.rule(f"high {label}", Rule(begin=1.9, end=1.9, seconds=0))
    hear(decisions, 0.75, 1.99)
    assert names(decisions) == []
    hear(decisions, 0.75, 0.41)
    (event,) = decisions.events()
    assert (event.name, event.seconds) == ("high arousal", 2.4)
    hear(decisions, 0.65, 5)  # below its begin and above its end
    assert decisions.events()[0].seconds == 7.4
    hear(decisions, 0.55, 1.99)
    assert names(decisions) == ["high arousal"]
    hear(decisions, 0.55, 0.01)
    assert names(decisions) == []


def test_a_short_change_does_not_count(decisions):
    decisions.smooth(0)
    for _ in range(20):
        hear(decisions, 0.9, 0.9)
        hear(decisions, 0.5, 0.1)
    assert names(decisions) == []


def test_scores_hold_where_nobody_speaks(decisions):
    hear(decisions, 0.8, 5)
    before = decisions.scores
    hear(decisions, -1, 29.9, speech=False)
    np.testing.assert_array_equal(decisions.scores, before)
    assert names(decisions) == ["high arousal", "high dominance", "high valence"]
    # the way from .5 to .6, a third, takes .4 s
    assert decisions.events()[0].seconds == 34.5
    hear(decisions, -1, 0.1, speech=False)
    assert names(decisions) == []
    assert decisions.scores is None
    hear(decisions, 0.3, 0.01)  # what was before is no more
    assert decisions.scores[0] == pytest.approx(0.5 - 0.2 / 101, abs=1e-4)


def test_a_moment_of_sound_is_no_strong_score(decisions):
    hear(decisions, 1.2, 0.3)
    assert decisions.scores.max() < 0.7
    hear(decisions, 1.2, 29, speech=False)
    assert decisions.scores.max() < 0.7
    assert names(decisions) == []


def test_smoothing_goes_its_way(decisions):
    decisions.smooth(2)
    hear(decisions, 0, 60)
    hear(decisions, 1, 2)
    # an e-th is left after the time constant; steps of .01 s are not continuous
    assert decisions.scores[0] == pytest.approx(1 - np.exp(-1), abs=0.002)


def test_scores_of_a_wearer(decisions):
    decisions.smooth(0)
    decisions.calibrate(Personal.of([2, 1, 0], [-0.5, 0.25, 0.5]))
    hear(decisions, 0.6, 0.01)
    np.testing.assert_allclose(decisions.scores, [0.7, 0.85, 0.5], atol=2e-4)
    decisions.calibrate(None)
    hear(decisions, 0.6, 0.01)
    np.testing.assert_allclose(decisions.scores, [0.6] * 3, atol=1e-4)


def test_time_stays_at_its_end(decisions):
    decisions.smooth(0)
    hear(decisions, 0.9, 1)
    for _ in range(3):
        decisions.hear(score(0.9), MOST)
    assert decisions.events()[0].seconds == MOST * 1000 // 16000 / 1000


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.rule("high joy", Rule(1, 0, 0)), "event must be one of high arou"),
        (lambda d: d.rule("high arousal", Rule(0.5, 0.6, 0)), "end of a rule must lie"),
        (lambda d: d.rule("low arousal", Rule(0.5, 0.4, 0)), "end of a rule must lie"),
        (lambda d: d.rule("low arousal", Rule(3, 3, 0)), "score must be -1.99 to 1.9"),
        (lambda d: d.rule("low arousal", Rule(0, 0, -1)), "seconds must be 0 to"),
        (lambda d: d.smooth(float("nan")), "seconds must be 0 to 4.29.* got nan"),
        (lambda d: d.quiet(-1), "seconds must be 0 to"),
        (lambda d: d.calibrate(Personal.of([1], [0])), "table of a wearer must have 3"),
    ],
)
def test_what_cannot_be(decisions, change: Callable, problem):
    before = decisions.states()
    with pytest.raises(InputError, match=problem):
        change(decisions)
    assert decisions.states() == before


# -- against an oracle that looks at all of the past -------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.39, 0.4, 0.44, 0.5, 0.56, 0.6, 0.61, 1.5]),
        st.integers(1, 9000),
        st.booleans(),
    ),
    max_size=60,
)


def states_by_the_past(
    steps: Sequence[tuple[int, int, bool]], begin: int, end: int, sign: int, least: int
) -> list[bool]:
    """Whether an event is on after each step, from parts, samples and speech."""
    found: list[bool] = []
    since = 0  # the step after the last change
    for now in range(len(steps)):
        on = found[-1] if found else False
        run = 0
        for part, samples, speech in reversed(steps[since : now + 1]):
            if not speech:
                continue
            beyond = sign * part < sign * end if on else sign * part >= sign * begin
            if not beyond:
                break
            run += samples
        change = steps[now][2] and run > 0 and run >= least
        found.append(on != change)
        since = now + 1 if change else since
    return found


@settings(deadline=None)
@given(steps=STEPS, seconds=st.sampled_from([0.0, 0.3, 1.0]))
def test_events_follow_from_the_past(model, steps, seconds):
    decisions = Decisions(model)
    decisions.smooth(0)
    decisions.quiet(0)
    decisions.rule("high arousal", Rule(0.6, 0.5, seconds))
    decisions.rule("low arousal", Rule(0.4, 0.44, seconds))
    heard, found = [], []
    for value, samples, speech in steps:
        decisions.hear(score(value), samples, speech=speech)
        heard.append((round(value * 2**14), samples, speech))
        found.append([on for on, _ in decisions.states()[:2]])
    least = round(seconds * 16000)
    high = states_by_the_past(heard, 9830, 8192, 1, least)
    low = states_by_the_past(heard, 6554, 7209, -1, least)
    assert found == [list(pair) for pair in zip(high, low, strict=True)]


@settings(deadline=None)
@given(steps=STEPS, seconds=st.sampled_from([0.0, 0.5, 60.0]))
def test_smoothing_of_exact_numbers(model, steps, seconds):
    decisions = Decisions(model)
    decisions.smooth(seconds)
    decisions.quiet(0)
    exact = Fraction(1, 2)
    heard = False
    for value, samples, speech in steps:
        decisions.hear(score(value), samples, speech=speech)
        part = Fraction(round(value * 2**14), 2**14)
        if speech:
            heard = True
            share = Fraction(samples, samples + round(seconds * 16000))
            exact += (part - exact) * share
        if not heard:
            assert decisions.scores is None
        else:
            # half a part, and less than a step of 2 ** -28 for each of the past
            error = Fraction(1, 2**15) + Fraction(len(steps), 2**28)
            assert abs(Fraction(decisions.parts[0], 2**14) - exact) <= error


@given(
    gains=st.lists(st.floats(0, 15.99), min_size=3, max_size=3),
    offsets=st.lists(st.floats(-2, 1.99), min_size=3, max_size=3),
    place=st.integers(0, 8 * 18 - 1),
)
def test_table_of_a_wearer(gains, offsets, place):
    table = Personal.of(gains, offsets)
    data = table.to_bytes()
    assert Personal.from_bytes(data, 3) == table
    damaged = bytearray(data)
    damaged[place // 8] ^= 1 << place % 8
    with pytest.raises(InputError, match="table of a wearer must have 18 bytes"):
        Personal.from_bytes(bytes(damaged), 3)


@pytest.mark.parametrize(
    ("gains", "offsets"), [([16.0], [0]), ([-0.1], [0]), ([1], [2.0]), ([1], [0, 0])]
)
def test_table_that_cannot_be(gains, offsets):
    with pytest.raises(InputError, match=r"gains must be 0 to 15\.99 and offsets -2"):
        Personal.of(gains, offsets)


# -- the C -------------------------------------------------------------------

REPLAY = """
#include "wav2small_decide.c"

uint32_t wav2small_selftest(const int32_t *words, uint32_t count, int32_t *out);

/* Makes calls from words; after each, what the calls say. */
uint32_t wav2small_selftest(const int32_t *words, uint32_t count, int32_t *out)
{
    static wav2small_decisions decisions;
    const int32_t *const first = out;
    uint32_t call;
    (void)wav2small_decide_init(&decisions);
    for (call = 0; call < count; ++call, words += 7) {
        wav2small_rule rule;
        wav2small_event event;
        uint8_t table[WAV2SMALL_PERSONAL_BYTES];
        int16_t parts[WAV2SMALL_SCORES] = {0};
        uint32_t i;
        switch (words[0]) {
        case 0:
            i = (uint32_t)words[4];
            *out++ = (int32_t)wav2small_decide(&decisions, words + 1, i, words[5] != 0);
            break;
        case 1:
            *out++ = (int32_t)wav2small_decide_smooth(&decisions, (uint32_t)words[1]);
            break;
        case 2:
            *out++ = (int32_t)wav2small_decide_quiet(&decisions, (uint32_t)words[1]);
            break;
        case 3:
            rule.begin = (int16_t)words[2];
            rule.end = (int16_t)words[3];
            rule.milliseconds = (uint32_t)words[4];
            i = (uint32_t)words[1];
            *out++ = (int32_t)wav2small_decide_rule(&decisions, i, &rule);
            break;
        case 4:
            for (i = 0; i < sizeof table; ++i) {
                table[i] = (uint8_t)((uint32_t)words[1 + i / 4] >> (8 * (i % 4)));
            }
            i = (uint32_t)sizeof table;
            *out++ = (int32_t)wav2small_decide_calibrate(&decisions, table, i);
            break;
        default:
            *out++ = (int32_t)wav2small_decide_calibrate(&decisions, NULL, 0);
            break;
        }
        for (i = 0; i < WAV2SMALL_EVENTS; ++i) {
            (void)wav2small_decide_event(&decisions, i, &event);
            *out++ = event.on;
            *out++ = (int32_t)event.milliseconds;
        }
        *out++ = (int32_t)wav2small_decide_scores(&decisions, parts);
        for (i = 0; i < WAV2SMALL_SCORES; ++i) {
            *out++ = parts[i];
        }
    }
    return (uint32_t)(out - first);
}
"""
WORDS, ANSWERS = 7, 1 + 12 + 1 + 3


def calls(seed: int, count: int) -> list[list[int]]:
    """Random calls of seven words each, some of them wrong."""
    rng = np.random.default_rng(seed)
    found = []
    kinds = [HEAR, SMOOTH, QUIET, RULE, TABLE, NO_TABLE]
    level = 0.5
    for _ in range(count):
        kind = int(rng.choice(kinds, p=[0.9, 0.02, 0.02, 0.03, 0.02, 0.01]))
        words = [kind]
        if kind == HEAR:
            level += rng.normal(0, 0.1) - (level - 0.5) / 10
            integers = np.clip((level + rng.normal(0, 0.1, 3)) * SCALE, -(2**30), 2**30)
            if rng.random() < 0.02:
                integers = rng.integers(-(2**30), 2**30, 3)
            samples = int(rng.choice([0, 1, 32, 160, 16000, 10**6, MOST]))
            words += [*map(int, integers), samples, int(rng.random() < 0.8)]
        elif kind in (SMOOTH, QUIET):
            words += [int(rng.choice([0, 1, 100, 1000, 30000, MOST]))]
        elif kind == RULE:
            begin = int(rng.integers(4000, 12000))
            end = begin + int(rng.integers(-2000, 2000))
            words += [int(rng.integers(0, 7)), begin, end]
            words += [int(rng.choice([0, 1, 100, 3000, MOST]))]
        elif kind == TABLE:
            gains, offsets = rng.uniform(0, 15.9, 3), rng.uniform(-1.9, 1.9, 3)
            if rng.random() < 0.8:
                gains, offsets = rng.uniform(0.5, 2, 3), rng.uniform(-0.5, 0.5, 3)
            data = bytearray(Personal.of(gains.tolist(), offsets.tolist()).to_bytes())
            if rng.random() < 0.2:
                data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
            words += np.frombuffer(bytes(data) + b"\0\0", "<u4").tolist()
        found.append([*words, *[0] * (WORDS - len(words))])
    return found


def answers(model: IntegerGraph, made: list[list[int]]) -> np.ndarray:
    """What the norm says to the same calls."""
    decisions = Decisions(model)
    events = list(decisions._watches)
    rows = []
    for kind, *words in made:
        status = 0
        try:
            if kind == HEAR:
                integers = np.array(words[:3])
                decisions.hear(integers, words[3], speech=bool(words[4]))
            elif kind == SMOOTH:
                decisions.smooth(words[0] / 1000)
            elif kind == QUIET:
                decisions.quiet(words[0] / 1000)
            elif kind == RULE:
                name = events[words[0]] if words[0] < 6 else "none"
                begin, end = (word / 2**14 for word in words[1:3])
                decisions.rule(name, Rule(begin, end, words[3] / 1000))
            elif kind == TABLE:
                data = np.array(words[:5], "<u4").tobytes()[:18]
                decisions.calibrate(Personal.from_bytes(data, 3))
            else:
                decisions.calibrate(None)
        except InputError:
            status = 6
        states = [number for state in decisions.states() for number in state]
        heard = decisions.scores is not None
        parts = decisions.parts if heard else [0, 0, 0]
        rows.append([status, *states, 0 if heard else 3, *parts])
    return np.array(rows, np.int64).astype(np.uint32)


def words_of(made: list[list[int]]) -> np.ndarray:
    return (np.array(made, np.int64) & MOST).astype("<u4")


def folder_of(model: IntegerGraph, folder: Path) -> Path:
    generate(model, folder)
    (folder / "replay.c").write_text(REPLAY)
    return folder


@compiled
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_c_on_this_machine(compiler, model, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed: its code is not compared")
    folder = folder_of(model, tmp_path)
    library = folder / "replay.so"
    options = ["-shared", "-fPIC", "-O2", "-fsanitize=undefined"]
    options += ["-fsanitize-undefined-trap-on-error", "-o", library]
    run(compiler, *WARNINGS, *options, folder / "replay.c")
    code = ctypes.CDLL(str(library))
    for seed in range(5):
        made = calls(seed, 2000)
        words = words_of(made)
        out = np.zeros(len(made) * ANSWERS, np.uint32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (words, out)]
        code.wav2small_selftest(pointers[0], ctypes.c_uint32(len(made)), pointers[1])
        np.testing.assert_array_equal(
            out.reshape(-1, ANSWERS), answers(model, made), f"seed {seed}"
        )


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m33"])
def test_the_c_on_a_core(core, model, tmp_path):
    folder = folder_of(model, tmp_path)
    code = "".join(
        (folder / f"wav2small_decide.{end}")
        .read_text()
        .replace('#include "wav2small_decide.h"\n', "")
        for end in "hc"
    )
    replay = (folder / "replay.c").read_text()
    (folder / "wav2small_selftest.c").write_text(
        replay.replace('#include "wav2small_decide.c"\n', code)
    )
    machine = UnicornMachine(build(folder, core, selftest=True), counts=False)
    made = calls(7, 400)
    words = words_of(made).tobytes()
    room = bytes(4 * len(made) * ANSWERS)
    machine.write_samples(words + room)
    out = SAMPLES_ORIGIN + len(words)
    assert machine.call("selftest", SAMPLES_ORIGIN, len(made), out) * 4 == len(room)
    found = np.frombuffer(machine.read(out, len(room)), "<u4").reshape(-1, ANSWERS)
    np.testing.assert_array_equal(found, answers(model, made))
    # a fourth argument reaches the core
    (name,) = (name for name in machine.image.symbols if name.endswith("decisions"))
    place = machine.image.symbol(name).address
    assert machine.call("decide_init", place) == 0
    for speech, status in ((0, 3), (1, 0)):
        assert machine.call("decide", place, SAMPLES_ORIGIN, 160, speech) == 0
        assert machine.call("decide_scores", place, out) == status


@compiled
def test_wrong_calls(model, tmp_path):
    folder = folder_of(model, tmp_path)
    library = folder / "replay.so"
    run(
        str(COMPILER), *WARNINGS, "-shared", "-fPIC", "-o", library, folder / "replay.c"
    )
    code = ctypes.CDLL(str(library))
    state, other = (ctypes.c_uint64 * 64)(), (ctypes.c_uint64 * 64)()
    no_pointer, not_ready, too_short, no_value = 1, 2, 3, 6
    assert code.wav2small_decide_init(None) == no_pointer
    for name, arguments in {
        "decide": (other, 1, 1),
        "decide_smooth": (1,),
        "decide_quiet": (1,),
        "decide_rule": (0, other),
        "decide_calibrate": (None, 0),
        "decide_event": (0, other),
        "decide_scores": (other,),
    }.items():
        call = getattr(code, f"wav2small_{name}")
        assert call(None, *arguments) == no_pointer, name
        assert call(state, *arguments) == not_ready, name
    assert code.wav2small_decide_init(state) == 0
    assert code.wav2small_decide(state, None, 1, 1) == no_pointer
    assert code.wav2small_decide(state, None, 1, 0) == 0
    assert code.wav2small_decide_rule(state, 0, None) == no_pointer
    assert code.wav2small_decide_event(state, 0, None) == no_pointer
    assert code.wav2small_decide_event(state, 6, other) == no_value
    assert code.wav2small_decide_scores(state, None) == no_pointer
    assert code.wav2small_decide_scores(state, other) == too_short
    assert code.wav2small_decide_calibrate(state, other, 18) == no_value


@compiled
def test_it_costs_nothing_where_it_is_not_called(model, tmp_path):
    generate(model, tmp_path)
    subprocess.run(["make", "-s", "all"], cwd=tmp_path, check=True)
    assert "decide" in run("nm", tmp_path / "libwav2small.a")
    assert "decide" not in run("nm", tmp_path / "wav2small_example")
    for part in ("wav2small.c", "wav2small.h", "wav2small_config.h"):
        assert "decide" not in (tmp_path / part).read_text(), part
