"""Files of audio to read."""

import numpy as np
import soundfile

FORMATS = {
    "wav": {},
    "flac": {},
    "ogg": {},
    "oga": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {},
}


def tone(seconds, *, frequency=440.0, level=0.3, sampling_rate=16000):
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write(path, signal, sampling_rate=16000, **options):
    kind = FORMATS[path.suffix[1:].lower()]
    soundfile.write(path, signal, sampling_rate, **{**kind, **options})
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(sources):
    return [source.name for source in sources]
