"""Rooms: when sound arrives, how loud, and how fast it dies away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wav2small.suite.rooms import ROOMS, SPEED_OF_SOUND, decay_time, room_response


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
