"""Rooms: when sound arrives, how loud, and how fast it dies away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from waves import RATE, decibels

from wav2small.acoustics.rooms import (
    ROOMS,
    SPEED_OF_SOUND,
    decay_time,
    own_voice,
    random_room,
    reverberate,
    room_response,
)


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_decays_as_asked(name):
    room = ROOMS[name]
    response = room_response(room)
    # another way: a line through the level of what is left, in dB over time
    left = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(left[left > 0] / left[0])
    part = np.flatnonzero((level < -5) & (level > -25))
    slope = np.polyfit(part / 16000, level[part], 1)[0]
    assert -60 / slope == pytest.approx(room.decay, rel=0.05)


@pytest.mark.parametrize("name", ROOMS)
def test_the_direct_sound_comes_first_and_is_loudest(name):
    room = ROOMS[name]
    response = room_response(room)
    distance = np.linalg.norm(np.subtract(room.talker, room.microphone))
    first = int(np.flatnonzero(response)[0])
    assert first == int(distance / SPEED_OF_SOUND * 16000)
    assert response[first] == pytest.approx(1 / distance)
    assert np.abs(response).argmax() == first


def test_the_first_reflections_are_those_of_mirrors():
    room = ROOMS["office, 1 m"]
    response = room_response(room)
    talker, microphone = np.array(room.talker), np.array(room.microphone)
    paths = []
    for axis in range(3):
        for wall in (0.0, room.size[axis]):
            mirrored = talker.copy()
            mirrored[axis] = 2 * wall - mirrored[axis]
            paths.append(np.linalg.norm(mirrored - microphone))
    path = min(paths)
    place = int(path / SPEED_OF_SOUND * 16000)
    assert response[place] < 0
    arrivals = np.flatnonzero(response)
    assert arrivals[arrivals > arrivals[0]].min() == place
    share = (
        -response[place]
        * path
        / sum(int(other / SPEED_OF_SOUND * 16000) == place for other in paths)
    )
    assert 0 < share < 1


@pytest.mark.parametrize("decay", [0.2, 0.8])
def test_decay_time_of_noise_that_dies_away(decay):
    time = np.arange(24000) / 16000
    noise = np.random.default_rng(0).normal(size=24000)
    assert decay_time(noise * 10 ** (-3 * time / decay)) == pytest.approx(
        decay, rel=0.05
    )


@pytest.mark.parametrize("name", ["talker", "microphone"])
def test_a_point_outside_is_refused(name):
    room = replace(ROOMS["office, 1 m"], **{name: (1.0, 1.0, 3.0)})
    with pytest.raises(ValueError, match=f"{name} must be inside the room"):
        room_response(room)


@pytest.mark.parametrize("decay", [0.01, 0.02])
def test_a_decay_that_no_wall_has_is_refused(decay):
    room = replace(ROOMS["hall, 5 m"], decay=decay)
    with pytest.raises(ValueError, match="decay must be one that walls of"):
        room_response(room)


def test_silence_has_no_decay():
    with pytest.raises(ValueError, match="response must not be silent"):
        decay_time(np.zeros(10))


def test_a_room_of_one_reflection_is_one_echo():
    response = np.zeros(1000)
    response[100], response[700] = 1, 0.5
    click = np.zeros(4000)
    click[1000] = 1
    changed = reverberate(click, response)
    assert changed[1600] / changed[1000] == pytest.approx(0.5)
    assert set(np.flatnonzero(np.abs(changed) > 1e-6)) == {1000, 1600}
    assert decibels(changed, click) == pytest.approx(0, abs=1e-3)


def test_drawn_rooms_have_the_distance_and_the_decay_asked():
    distances = []
    for seed in range(40):
        room = random_room(np.random.default_rng(seed), nearest=1.0, farthest=3.0)
        distances.append(np.linalg.norm(np.subtract(room.talker, room.microphone)))
        assert 0.2 <= room.decay <= 1.2
        if seed < 8:
            assert decay_time(room_response(room)) == pytest.approx(
                room.decay, rel=0.05
            )
    assert 1.0 <= min(distances) < 1.3
    assert 2.0 < max(distances) <= 3.0


def test_the_wearer_is_nearer_than_a_partner_and_hears_less_of_the_room():
    room = ROOMS["living room, 2 m"]
    wearer = own_voice(room)
    assert np.linalg.norm(np.subtract(wearer.talker, wearer.microphone)) == (
        pytest.approx(0.15)
    )

    def clarity(response: np.ndarray) -> float:
        first = int(np.abs(response).argmax())
        early = response[: first + RATE // 200]
        return decibels(early, response) + 10 * np.log10(len(early) / len(response))

    assert clarity(room_response(room)) < -3 < clarity(room_response(wearer))
    assert clarity(room_response(wearer)) > -0.5
