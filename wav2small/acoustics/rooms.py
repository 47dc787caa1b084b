"""Impulse responses of rooms, by image sources."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..adv import SAMPLING_RATE
from .signals import at_level_of

SPEED_OF_SOUND = 343.0
"""Metres per second in air of 20 degrees."""

Point = tuple[float, float, float]
"""Coordinates in metres."""


@dataclass(frozen=True)
class Room:
    """A box with a talker and a microphone in it."""

    size: Point
    """Length, width and height in metres."""

    talker: Point
    """Where the talker is, from a corner."""

    microphone: Point
    """Where the microphone is, from the same corner."""

    decay: float
    """Reverberation time in seconds: until the level has fallen by 60 dB."""


ROOMS = {
    "office, 1 m": Room((4.1, 3.3, 2.6), (1.2, 1.3, 1.5), (2.0, 1.9, 1.5), 0.3),
    "living room, 2 m": Room((6.2, 4.9, 2.7), (1.4, 1.6, 1.5), (3.2, 2.5, 1.4), 0.5),
    "living room, 4 m": Room((6.2, 4.9, 2.7), (1.1, 1.2, 1.5), (4.7, 2.9, 1.4), 0.5),
    "hall, 5 m": Room((16.3, 10.7, 5.1), (3.1, 4.2, 1.6), (7.6, 6.2, 1.5), 1.2),
}
"""The rooms of the suite, with the distance of the talker."""


@functools.lru_cache(maxsize=16)
def room_response(room: Room) -> np.ndarray:
    """Impulse response of a room.

    All walls reflect the same share at all frequencies, with changed sign,
    so that the many late reflections do not add up to a constant.
    The share is found by bisection,
    so that the response decays as the room asks.

    Args:
        room: a talker and microphone inside it

    Returns:
        array of shape ``(time,)`` at 16 kHz, 1.2 times the decay long

    Raises:
        ValueError: if talker or microphone are not inside,
            or no share makes the room decay as asked

    References:
        Allen & Berkley 1979, Image method for efficiently simulating
        small-room acoustics, JASA 65(4), 943-950.

    """
    for name in ("talker", "microphone"):
        place = getattr(room, name)
        if not all(0 < x < side for x, side in zip(place, room.size, strict=True)):
            raise ValueError(f"{name} must be inside the room {room.size}, got {place}")
    samples = int(1.2 * room.decay * SAMPLING_RATE)
    distances, reflections = _images(room, samples)
    places = (distances * SAMPLING_RATE / SPEED_OF_SOUND).astype(int)

    def response(share: float) -> np.ndarray:
        powers = (-share) ** np.arange(reflections.max() + 1)
        weights = powers[reflections] / distances
        return np.bincount(places, weights, samples)[:samples]

    low, high = 0.01, 0.999
    if not len(places) or not decay_time(response(low)) < room.decay < decay_time(
        response(high)
    ):
        raise ValueError(
            f"decay must be one that walls of {room.size} m can have, got "
            f"{room.decay} s: change it"
        )
    for _ in range(16):
        middle = (low + high) / 2
        if decay_time(response(middle)) < room.decay:
            low = middle
        else:
            high = middle
    return response((low + high) / 2)


def _images(room: Room, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance and number of reflections of all images heard in time."""
    reach = (samples - 1) * SPEED_OF_SOUND / SAMPLING_RATE
    squares, counts = np.zeros(1), np.zeros(1, int)
    for side, talker, microphone in zip(
        room.size, room.talker, room.microphone, strict=True
    ):
        order = np.arange(-int(reach / (2 * side)) - 1, int(reach / (2 * side)) + 2)
        offsets = np.concatenate([2 * order * side + talker, 2 * order * side - talker])
        bounces = np.concatenate([2 * np.abs(order), np.abs(2 * order - 1)])
        squares = (squares[:, None] + (offsets - microphone) ** 2).ravel()
        counts = (counts[:, None] + bounces).ravel()
        heard = squares < reach**2
        squares, counts = squares[heard], counts[heard]
    return np.sqrt(squares), counts


def decay_time(response: np.ndarray) -> float:
    """Reverberation time of an impulse response in seconds.

    Three times that in which the energy yet to come falls
    from 5 to 25 dB below all of it.

    Raises:
        ValueError: if the response is silent

    References:
        Schroeder 1965, New method of measuring reverberation time,
        JASA 37(3), 409-412.

    """
    left = np.cumsum(response[::-1] ** 2)[::-1]
    if not len(left) or not left[0]:
        raise ValueError("response must not be silent: change the room")
    first, last = (int((left > left[0] * 10**power).sum()) for power in (-0.5, -2.5))
    return 3 * (last - first) / SAMPLING_RATE


def reverberate(signal: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Play a signal in a room.

    The direct sound keeps its place in time, the level stays,
    what sounds on after the end is cut off.

    Args:
        signal: what is played
        response: impulse response ``(time,)`` at 16 kHz

    """
    delay = int(np.abs(response).argmax())
    samples = 1 << (len(signal) + len(response)).bit_length()
    spectrum = np.fft.rfft(signal, samples) * np.fft.rfft(response, samples)
    wet = np.fft.irfft(spectrum, samples)[delay : delay + len(signal)]
    return at_level_of(signal, wet)


def random_room(
    rng: np.random.Generator, *, nearest: float = 0.5, farthest: float = 4.0
) -> Room:
    """Draw an everyday room with somebody who talks to a wearer.

    Homes, offices and halls: 2.5 to 12 m long, 0.2 to 1.2 s of decay,
    longer in larger rooms; heads at 1 to 1.8 m, half a metre from any wall.
    Distances are as likely in each octave.

    Args:
        rng: source of the room
        nearest: least distance of the two in metres
        farthest: largest distance of the two in metres

    """
    length = float(2.5 * (12 / 2.5) ** rng.random())
    size = (length, length * float(rng.uniform(0.6, 1)), float(rng.uniform(2.4, 3.5)))
    usual = 0.25 * (length / 2.5) ** 0.7
    decay = float(np.clip(usual * 2 ** rng.normal(0, 0.35), 0.2, 1.2))
    margin = min(0.5, size[1] / 5)
    while True:
        distance = nearest * (farthest / nearest) ** rng.random()
        talker, microphone = (
            (
                float(rng.uniform(margin, size[0] - margin)),
                float(rng.uniform(margin, size[1] - margin)),
                float(rng.uniform(1.0, 1.8)),
            )
            for _ in range(2)
        )
        # pull the wearer along the line between them to the distance
        offset = np.subtract(microphone, talker)
        offset *= distance / max(float(np.linalg.norm(offset)), 1e-6)
        x, y, z = (float(v) for v in np.add(talker, offset))
        inside = margin <= x <= size[0] - margin and margin <= y <= size[1] - margin
        if inside and 0.5 <= z <= 2.2:
            return Room(size, talker, (x, y, z), decay)


def own_voice(room: Room) -> Room:
    """Let the wearer talk: mouth and aid are 15 cm apart."""
    x, y, z = room.microphone
    return Room(room.size, (x + 0.12, y, z - 0.09), room.microphone, room.decay)
