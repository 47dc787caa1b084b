"""Make the synthetic speech that the demo and the tests use.

Six languages, six voices and six ways of speaking, from soft, low and monotone
to loud, high and lively, so that a teacher of emotion hears a wide range.
The speech is made by espeak-ng (``apt-get install espeak-ng``);
level and spectral tilt, which a speaker's effort changes, are set afterwards.

    python examples/make_demo_audio.py wav2small/assets/demo

The same version of espeak-ng and of libsndfile gives the same files.
Test clips have voices and sentences that no training clip has.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

SAMPLING_RATE = 16000
SHORTEST, LONGEST = 2.0, 4.0  # seconds, with the margins
MARGIN = 0.08  # seconds of silence before and after the speech
PEAK = 0.55  # of full scale; decoded Opus can overshoot by more than half
SEED = 2408

VOICES = {"train": ("m1", "f2", "m3", "f4"), "test": ("m7", "f3")}
GENDERS = {"m": "male", "f": "female"}


@dataclass(frozen=True)
class Style:
    """A way of speaking."""

    sentence: int
    """Which group of sentences fits: 0 short, 1 medium, 2 long."""

    rate: int
    """Speed in words per minute."""

    pitch: int
    """Pitch, 0 to 99."""

    pitch_range: int
    """Pitch movement in percent of the voice's own."""

    level: float
    """Root mean square in dB below full scale."""

    tilt: float
    """Slope of the spectrum above 500 Hz in dB per octave."""

    lively: bool = False
    """Stress the last word and end with an exclamation mark."""


STYLES = (
    Style(0, rate=105, pitch=8, pitch_range=10, level=-38, tilt=-4),
    Style(0, rate=130, pitch=28, pitch_range=45, level=-32, tilt=-2.5),
    Style(1, rate=155, pitch=42, pitch_range=80, level=-28, tilt=-1),
    Style(1, rate=185, pitch=56, pitch_range=120, level=-25, tilt=0),
    Style(2, rate=235, pitch=72, pitch_range=160, level=-22, tilt=1.5, lively=True),
    Style(2, rate=275, pitch=90, pitch_range=200, level=-19, tilt=3, lively=True),
)

# Per language: short, medium and long sentences; of each the last is for testing.
SENTENCES: dict[str, tuple[tuple[str, ...], ...]] = {
    "en": (
        (
            "The lamp is on the table",
            "We walked along the river",
            "The letter came this morning",
            "My coat is still wet",
        ),
        (
            "She put the kettle on and opened the window",
            "The last train to the coast leaves at seven",
            "He found his keys under the old newspaper",
            "They are painting the kitchen door green today",
        ),
        (
            "Come and look at the garden, everything is in flower after the rain",
            "The whole street was full of people when the parade came round the corner",
            "We have to leave right now or the ferry will go without us again",
            "They called from the station to say that all of the bags have arrived",
        ),
    ),
    "de": (
        (
            "Der Schlüssel liegt im Flur",
            "Wir gehen heute zum Markt",
            "Das Brot ist noch warm",
            "Im Garten steht ein Stuhl",
        ),
        (
            "Am Abend sitzen die Nachbarn vor dem Haus",
            "Der Bus hält gleich hinter der kleinen Brücke",
            "Sie hat das Fenster zum Hof geöffnet",
            "Er stellt die Tassen in den Schrank zurück",
        ),
        (
            "Kommt schnell herunter, draußen fährt gerade der Zirkus durch die Stadt",
            "Morgen früh fahren wir alle zusammen mit dem ersten Zug ans Meer",
            "Die Kinder haben den ganzen Nachmittag am See nach Steinen gesucht",
            "Gestern hat das Orchester auf dem Platz vor dem Rathaus gespielt",
        ),
    ),
    "fr": (
        (
            "La porte du jardin est ouverte",
            "Il pleut depuis ce matin",
            "Le café est déjà prêt",
            "Ma valise est dans l'entrée",
        ),
        (
            "Nous avons rangé les livres sur la grande étagère",
            "Le facteur passe toujours vers dix heures",
            "Elle a laissé son parapluie dans le tramway",
            "Mon voisin répare son vélo devant la maison",
        ),
        (
            "Venez vite à la fenêtre, on voit toute la vallée sous la neige",
            "Le marché était plein de monde et il ne restait plus une seule pomme",
            "Il faut partir tout de suite si nous voulons attraper le bateau",
            "Hier soir toute la rue dansait encore quand la musique s'est arrêtée",
        ),
    ),
    "es": (
        (
            "El pan está sobre la mesa",
            "Hoy vuelven mis hermanos",
            "La calle está tranquila",
            "El reloj marca las nueve",
        ),
        (
            "Mi abuela guarda las cartas en una caja azul",
            "El tren de la tarde llega a las cinco",
            "Ella cierra la ventana antes de salir",
            "Los niños dejaron las botas junto a la puerta",
        ),
        (
            "Mira cuánta gente ha venido a la plaza para escuchar la música",
            "Tenemos que salir ahora mismo porque el autobús no espera a nadie",
            "Después de la lluvia todo el campo se llenó de flores amarillas",
            "Ayer subimos hasta la torre y vimos el mar por primera vez",
        ),
    ),
    "it": (
        (
            "La finestra è ancora aperta",
            "Domani torna mio fratello",
            "Il pane è nel forno",
            "La barca è vicino al molo",
        ),
        (
            "Il treno per Torino parte dal secondo binario",
            "Mia zia ha comprato un tappeto rosso",
            "Abbiamo lasciato la macchina dietro la chiesa",
            "Il gatto dorme sempre sulla sedia in cucina",
        ),
        (
            "Correte a vedere, dalla collina si vedono tutte le luci della città",
            "Dobbiamo andare subito alla stazione se vogliamo prendere quel treno",
            "Stamattina il mercato era così pieno che non si poteva camminare",
            "Ieri sera i ragazzi hanno suonato in piazza fino a mezzanotte",
        ),
    ),
    "nl": (
        (
            "De fiets staat in de schuur",
            "Het water is nog koud",
            "Wij eten vandaag buiten",
            "De brief ligt op de kast",
        ),
        (
            "Mijn buurman geeft elke avond de planten water",
            "De trein naar het noorden vertrekt om acht uur",
            "Zij heeft haar sjaal in de winkel laten liggen",
            "Hij zet de stoelen weer netjes om de tafel",
        ),
        (
            "Kom gauw kijken, de hele haven ligt vol met oude zeilschepen",
            "We moeten nu echt weg, anders missen we de laatste boot naar huis",
            "Na de regen stond het hele veld ineens vol met gele bloemen",
            "Gisteren hebben de kinderen de hele middag in het bos gespeeld",
        ),
    ),
}


class Clip(NamedTuple):
    """What is said, by whom and how."""

    language: str
    voice: str
    style: Style
    text: str
    split: str


def plan() -> list[Clip]:
    """List the clips, training ones first."""
    clips = []
    for split, voices in VOICES.items():
        for number, (language, groups) in enumerate(SENTENCES.items()):
            for place, voice in enumerate(voices):
                for index, style in enumerate(STYLES):
                    *train, test = groups[style.sentence]
                    if split == "train":
                        text = train[(place + index) % len(train)]
                    elif (number + place + index) % 2:
                        continue  # the two test voices share the styles
                    else:
                        text = test
                    text += "!" if style.lively else "."
                    clips.append(Clip(language, voice, style, text, split))
    return clips


def speak(clip: Clip, pitch: int, rate: int) -> np.ndarray:
    """Let espeak-ng say the clip; 16 kHz, without the silence at its ends."""
    text = clip.text
    if clip.style.lively:
        head, _, last = text[:-1].rpartition(" ")
        text = f'{head} <emphasis level="strong">{last}</emphasis>{text[-1]}'
    markup = f'<prosody range="{clip.style.pitch_range}%">{text}</prosody>'
    command = ["espeak-ng", "-m", "-z", "-v", f"{clip.language}+{clip.voice}"]
    # Amplitude 40: at its default of 100 an emphasised word clips
    command += ["-a", "40", "-p", str(pitch), "-s", str(rate), "--stdout", markup]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    # The length in the header of a stream is not known to espeak-ng
    start = wav.index(b"data") + 8
    signal = np.frombuffer(wav[start : start + (len(wav) - start) // 2 * 2], "<i2")
    signal = soxr.resample(signal / 32768, 22050, SAMPLING_RATE, quality="VHQ")
    heard = np.flatnonzero(np.abs(signal) > 0.01 * np.abs(signal).max())
    signal = signal[heard[0] : heard[-1] + 1]
    return np.pad(signal, round(MARGIN * SAMPLING_RATE))


def shape(signal: np.ndarray, style: Style, level: float) -> np.ndarray:
    """Give a signal the spectral tilt and the level of an effort."""
    frequency = np.fft.rfftfreq(len(signal), 1 / SAMPLING_RATE)
    octaves = np.log2(np.clip(frequency, 500, 8000) / 500)
    spectrum = np.fft.rfft(signal) * 10 ** (style.tilt * octaves / 20)
    signal = np.fft.irfft(spectrum, len(signal))
    # Loud speech has weaker peaks for its level than soft speech:
    # they bend towards a limit.
    quiet, loud = 1e-2, 1e4
    for _ in range(60):
        gain = np.sqrt(quiet * loud)
        bent = PEAK * np.tanh(gain * signal / PEAK)
        if 10 * np.log10(np.mean(bent**2)) < level:
            quiet = gain
        else:
            loud = gain
    return bent


def encode(signal: np.ndarray, serial: int) -> bytes:
    """Encode as Ogg Opus; the stream's random serial number is replaced."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLING_RATE, 1, format="OGG", subtype="OPUS"
    ) as file:
        for start in range(0, len(signal), SAMPLING_RATE):
            file.write(signal[start : start + SAMPLING_RATE])
    data = bytearray(buffer.getvalue())
    page = 0
    while page < len(data):
        segments = data[page + 26]
        size = 27 + segments + sum(data[page + 27 : page + 27 + segments])
        data[page + 14 : page + 18] = serial.to_bytes(4, "little")
        data[page + 22 : page + 26] = bytes(4)
        checksum = ogg_checksum(bytes(data[page : page + size]))
        data[page + 22 : page + 26] = checksum.to_bytes(4, "little")
        page += size
    return bytes(data)


def ogg_checksum(data: bytes) -> int:
    """CRC-32 of an Ogg page (RFC 3533): most significant bit first, no inversion."""
    checksum = 0
    for byte in data:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum >> 31 else 0)
    return checksum


def write(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


README = """\
# Demo audio

{count} clips of synthetic speech, {minutes:.1f} minutes, 16 kHz mono, Ogg Opus.
Six languages (en, de, fr, es, it, nl), six voices, six ways of speaking
from soft, low, slow and monotone to loud, high, fast and lively.
They are for the demo and the tests: nobody speaks here and nobody feels anything,
so no conclusion about people can be drawn from them.

`manifest.csv` has one row per clip:
`file`, `speaker` (language and voice), `language`, `gender` of the voice,
`text`, `split`.
No voice and no sentence of the `test` split occurs in `train`.
A file's name tells language, voice, pitch (0 to 99), rate (words per minute)
and number.

## Licence

CC0-1.0 (https://creativecommons.org/publicdomain/zero/1.0/):
the sentences were written for this project and the audio is the output of a program
that was run on them.
The program, espeak-ng, is GPL-3.0-or-later software;
no part of it is contained here or needed to use the clips.

## How it was made

    python examples/make_demo_audio.py wav2small/assets/demo

with espeak-ng {version} and libsndfile {library}, seed {seed}.
The same versions give the same bytes.
"""


def version() -> str:
    """Version of espeak-ng."""
    command = ["espeak-ng", "--version"]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return output.stdout.split("text-to-speech:")[1].split()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the clips go")
    folder = parser.parse_args().folder
    if shutil.which("espeak-ng") is None:
        parser.error("espeak-ng must be installed: 'apt-get install espeak-ng'")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.opus"):
        old.unlink()

    generator = np.random.default_rng(SEED)
    rows, samples = [], 0
    for number, clip in enumerate(plan(), start=1):
        pitch = int(np.clip(clip.style.pitch + generator.integers(-7, 8), 0, 99))
        rate = round(clip.style.rate * generator.uniform(0.92, 1.08))
        level = clip.style.level + generator.uniform(-1.5, 1.5)
        signal = speak(clip, pitch, rate)
        # A sentence that does not fit is said faster or slower until it does
        while not SHORTEST <= len(signal) / SAMPLING_RATE <= LONGEST:
            rate = round(rate * (0.95 if len(signal) < 3 * SAMPLING_RATE else 1.05))
            signal = speak(clip, pitch, rate)
        name = f"{clip.language}_{clip.voice}_p{pitch:02}_r{rate}_{number:03}.opus"
        write(folder / name, encode(shape(signal, clip.style, level), number))
        speaker, gender = f"{clip.language}_{clip.voice}", GENDERS[clip.voice[0]]
        rows.append((name, speaker, clip.language, gender, clip.text, clip.split))
        samples += len(signal)

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "speaker", "language", "gender", "text", "split"))
    writer.writerows(rows)
    write(folder / "manifest.csv", table.getvalue().encode())
    readme = README.format(
        count=len(rows),
        minutes=samples / SAMPLING_RATE / 60,
        version=version(),
        library=soundfile.__libsndfile_version__,
        seed=SEED,
    )
    write(folder / "README.md", readme.encode())


if __name__ == "__main__":
    main()
