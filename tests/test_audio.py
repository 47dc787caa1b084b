import dataclasses
import itertools
import os
import random
import struct
import tracemalloc

import audformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small import audio
from wav2small.audio import AudioError, decode
from wav2small.errors import InputError

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


# Decoding


@pytest.mark.parametrize("extension", FORMATS)
def test_formats(tmp_path, extension):
    path = write(tmp_path / f"a.{extension}", tone(1.5))
    signal = audio.load(path)
    assert signal.dtype == np.float32
    assert signal.shape == (24000,)
    # phase too: lossy formats must not shift
    assert np.corrcoef(signal, tone(1.5))[0, 1] > 0.99


@pytest.mark.parametrize("sampling_rate", [8000, 11025, 44100, 48000, 96000])
def test_resampling_keeps_a_tone(tmp_path, sampling_rate):
    signal = tone(2, frequency=1000, sampling_rate=sampling_rate)
    path = write(tmp_path / "a.wav", signal, sampling_rate, subtype="FLOAT")
    result = audio.load(path)
    assert abs(len(result) - 32000) <= 1
    # a least-squares fit away from the edges
    inner = np.arange(4000, 28000)
    phase = 2 * np.pi * 1000 * inner / 16000
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    fit = np.linalg.lstsq(basis, result[inner], rcond=None)[0]
    np.testing.assert_allclose(fit, [0.3, 0], atol=1e-3)
    np.testing.assert_allclose(basis @ fit, result[inner], atol=1e-3)


def test_resampling_removes_what_16_khz_cannot_hold(tmp_path):
    signal = tone(1, frequency=11000, sampling_rate=48000)
    result = audio.load(write(tmp_path / "a.wav", signal, 48000))
    assert np.abs(result[1000:-1000]).max() < 1e-3


def test_channels_are_averaged(tmp_path):
    channels = np.stack([tone(1), -tone(1), np.full(16000, 0.3)], axis=1)
    result = audio.load(write(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(result, 0.1, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    block_seconds=st.floats(0.001, 3),
    sampling_rate=st.sampled_from([8000, 16000, 44100]),
    samples=st.integers(1, 20000),
)
def test_blocks_equal_one_block(
    tmp_path_factory, block_seconds, sampling_rate, samples
):
    signal = np.random.default_rng(samples).normal(0, 0.1, samples)
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    write(path, signal, sampling_rate)
    blocks = list(audio.stream(path, block_seconds=block_seconds))
    assert all(len(block) for block in blocks)
    result = np.concatenate(blocks)
    np.testing.assert_array_equal(result, audio.load(path))
    assert abs(len(result) - samples * 16000 / sampling_rate) <= 1


@pytest.mark.parametrize("extension", FORMATS)
def test_segments(tmp_path, extension):
    signal = np.random.default_rng(0).normal(0, 0.1, 48000)
    path = write(tmp_path / f"a.{extension}", signal)
    whole = audio.load(path)
    segment = audio.load(path, start=1.25, end=2.5)
    np.testing.assert_allclose(segment, whole[20000:40000], atol=1e-6)
    np.testing.assert_allclose(audio.load(path, start=2.5), whole[40000:], atol=1e-6)
    assert len(audio.load(path, end=3.05)) == 48000  # within the tolerance


def test_segment_of_another_rate(tmp_path):
    signal = tone(3, sampling_rate=44100)
    path = write(tmp_path / "a.wav", signal, 44100)
    segment = audio.load(path, start=1, end=2)
    assert abs(len(segment) - 16000) <= 1
    np.testing.assert_allclose(segment[500:-500], tone(1)[500:15500], atol=1e-3)


def test_block_is_bounded(tmp_path):
    # an hour of silence: 230 MB if decoded at once, a fraction of it on disk
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * 16000, np.float32))
    tracemalloc.start()
    samples = sum(len(block) for block in audio.stream(path, block_seconds=10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 3600 * 16000
    assert peak < 10 * 16000 * 4 * 4


def test_block_of_many_channels_is_bounded(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((96000, 60), np.float32), 96000)
    blocks = list(audio.stream(path, block_seconds=100))
    assert len(blocks) > 1
    assert sum(len(block) for block in blocks) == 16000


def test_too_long(tmp_path):
    path = write(tmp_path / "a.wav", tone(2))
    with pytest.raises(AudioError, match=r"at most 1\.5 s long: .*a\.wav: cut it"):
        audio.load(path, max_seconds=1.5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"block_seconds": 0}, "block_seconds must be above 0"),
        ({"start": -1.0}, "start must be at least 0"),
        ({"start": float("nan")}, "start must be at least 0"),
        ({"start": 1.0, "end": 1.0}, "end must be behind start 1.0"),
    ],
)
def test_arguments(tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        audio.stream(tmp_path / "a.wav", **options)


@pytest.mark.parametrize("options", [{"start": 1.0}, {"start": 0.5, "end": 1.2}])
def test_segment_outside(tmp_path, options):
    path = write(tmp_path / "a.wav", tone(1))
    with pytest.raises(AudioError, match=r"must lie in the audio of 1\.000 s"):
        audio.load(path, **options)


# Faults


def check(path, match):
    """An error is one line, names the file and says what is wrong."""
    with pytest.raises(AudioError, match=match) as caught:
        audio.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    check(tmp_path / "a.wav", "must be a file that exists")


def test_folder(tmp_path):
    (tmp_path / "a.wav").mkdir()
    check(tmp_path / "a.wav", "must be a file that exists")


def test_name_too_long(tmp_path):
    check(tmp_path / f"{'a' * 300}.wav", "cannot be read: .*File name too long")


def test_name_in_one_line(tmp_path):
    with pytest.raises(AudioError, match=r"'.*a\\nb.wav'") as caught:
        audio.load(tmp_path / "a\nb.wav")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extension", FORMATS)
def test_empty(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    path.touch()
    check(path, r"empty \(0 bytes\)")


@pytest.mark.parametrize("extension", FORMATS)
def test_text(tmp_path, extension):
    path = tmp_path / f"a.{extension}"
    path.write_text("This is no audio.\n" * 100)
    check(path, "cannot be decoded: .*: it is no audio")


def test_decoder_error_is_chained(tmp_path):
    (tmp_path / "a.wav").write_text("text")
    with pytest.raises(AudioError) as caught:
        audio.load(tmp_path / "a.wav")
    assert isinstance(caught.value.__cause__, soundfile.LibsndfileError)


def test_extension(tmp_path):
    check(tmp_path / "a.raw", "must be one of wav, .*: convert it")


def test_other_format_in_disguise(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1), 16000, format="AIFF")
    check(tmp_path / "a.wav", "must be in a format of .*, got AIFF")


def test_no_samples(tmp_path):
    check(write(tmp_path / "a.wav", tone(0)), "has no samples")


def test_less_than_a_sample(tmp_path):
    path = write(tmp_path / "a.wav", np.ones(1, np.float32), 768000)
    check(path, "shorter than one sample")


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.95, 0.999])
def test_truncated(tmp_path, extension, share):
    path = write(tmp_path / f"a.{extension}", tone(3) + tone(3, frequency=700))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    check(path, "truncated|lengths in the header")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, subtype, value):
    signal = tone(2)
    signal[30000] = value
    path = write(tmp_path / "a.wav", signal, subtype=subtype)
    check(path, "samples must be finite .*(NaN or Inf) before 2.000 s")


def test_far_beyond_full_scale(tmp_path):
    path = write(tmp_path / "a.wav", -tone(1) * 32768, subtype="FLOAT")
    check(path, r"about -1\.\.1: .*: they reach 9830")


@pytest.mark.parametrize("sampling_rate", [999, 768001])
def test_sampling_rate(tmp_path, sampling_rate):
    path = write(tmp_path / "a.wav", tone(1), sampling_rate)
    check(path, rf"sampling rate must be 1000\.\.768000 Hz, got {sampling_rate}")


def test_channel_count(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((100, 65), np.float32))
    check(path, "channels must be at most 64, got 65")


def test_flac_of_unknown_length(tmp_path):
    path = write(tmp_path / "a.flac", tone(1))
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36-bit length in STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    check(path, "header must state the length")


def test_flac_that_claims_weeks(tmp_path):
    path = write(tmp_path / "a.flac", tone(1))
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    tracemalloc.start()
    check(path, "truncated")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * decode._READ_VALUES * 4


def test_flac_with_a_flipped_bit(tmp_path):
    path = write(tmp_path / "a.flac", tone(1))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    check(path, "cannot be decoded")


def riff(*chunks, size=None, magic=b"RIFF", order="<"):
    body = b"WAVE" + b"".join(
        name + struct.pack(order + "I", len(data) if length is None else length) + data
        for name, data, length in chunks
    )
    return magic + struct.pack(order + "I", len(body) if size is None else size) + body


def chunks(order="<", *, length=None, bits=16):
    width = bits // 8
    data = tone(1)[:1001] * 2 ** (bits - 1)
    samples = b"".join(
        int(x).to_bytes(width, "little" if order == "<" else "big", signed=True)
        for x in data
    )
    head = struct.pack(order + "HHIIHH", 1, 1, 16000, 16000 * width, width, bits)
    return (b"fmt ", head, None), (b"data", samples, length)


def test_wav_by_hand(tmp_path):
    path = tmp_path / "a.wav"
    note = (b"LIST", b"INFOISFT\x04\0\0\0own\0", None)
    for data in (
        riff(*chunks()),
        riff(note, *chunks()),
        riff(*chunks(), note),
        riff(*chunks(">"), magic=b"RIFX", order=">"),
        riff(*chunks(bits=24)) + b"\0",  # 3003 bytes and the padding byte
        riff(*chunks(bits=24)),  # and where a writer forgot it
        riff(*chunks(), size=2046),  # and where it counted its own header
    ):
        path.write_bytes(data)
        np.testing.assert_allclose(audio.load(path), tone(1)[:1001], atol=1e-4)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (riff(*chunks(length=4000)), "data claims 4000 of 2002 bytes"),
        (riff(*chunks(length=0xFFFFFFFF)), "data claims 4294967295 of 2002 bytes"),
        (riff(*chunks(length=2003)), "data claims 2003 of 2002 bytes"),
        (riff(*chunks(length=1000)), "no chunk at byte 1044"),
        (riff(*chunks(length=0)), "no chunk at byte 44"),
        (riff(*chunks(length=2001)), "data claims 2001 bytes in blocks of 2"),
        (riff(*chunks(length=1000), size=1036), "RIFF claims 1036 of 2038"),
        (riff(*chunks(), size=9999), "RIFF claims 9999 of 2038 bytes"),
        (riff(*chunks(), size=0), "RIFF claims 0 of 2038 bytes"),
        (riff(*chunks()) + b"more", "no chunk at byte 2046"),
        (riff(*chunks()) + bytes(9), "RIFF claims 2038 of 2047 bytes"),
        (riff(chunks()[0]), "no data chunk"),
        (riff(*chunks(">", length=4000), magic=b"RIFX", order=">"), "claims 4000"),
    ],
)
def test_wav_lengths(tmp_path, data, match):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    check(path, f"lengths in the header must fit the file: .*{match}")


def test_rf64(tmp_path):
    path = write(tmp_path / "a.wav", tone(1), format="RF64")
    data = path.read_bytes()
    assert data[:4] == b"RF64"
    assert len(audio.load(path)) == 16000
    path.write_bytes(data[:-1000])
    check(path, "data claims")


def test_ogg_without_its_last_page(tmp_path):
    path = write(tmp_path / "a.ogg", tone(5))
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS")])
    check(path, "its Ogg stream has no end")


def test_ogg_without_a_page(tmp_path):
    signal = np.random.default_rng(0).normal(0, 0.1, 100000)
    path = write(tmp_path / "a.ogg", signal)
    pages = [b"OggS" + page for page in path.read_bytes().split(b"OggS")[1:]]
    assert len(pages) > 4
    path.write_bytes(b"".join(pages[:3] + pages[4:]))
    check(path, "no whole Ogg page")


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "opus"])
def test_damage_is_refused_or_harmless(tmp_path, extension):
    path = write(tmp_path / f"a.{extension}", tone(0.5))
    data = path.read_bytes()
    rng = random.Random(0)
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(3):
            broken[rng.randrange(min(len(data), 200))] = rng.randrange(256)
        path.write_bytes(broken)
        try:
            signal = audio.load(path)
        except AudioError as error:
            assert "\n" not in str(error)
        else:
            assert signal.dtype == np.float32
            assert np.abs(signal).max() <= audio.MAX_LEVEL


# Finding


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(sources):
    return [source.name for source in sources]


def test_folder_of_audio(tmp_path):
    touch(
        tmp_path, "b.wav", "B/a.FLAC", "a/c.opus", "ä.mp3", "a/d.ogg", "e.oga",
        "x.txt", "metadata.csv", "._b.wav", ".git/a.wav",
    )  # fmt: skip
    root, sources = audio.find([tmp_path])
    assert root == tmp_path
    assert names(sources) == [
        "B/a.FLAC", "a/c.opus", "a/d.ogg", "b.wav", "e.oga", "ä.mp3"
    ]  # fmt: skip
    assert sources[0].path == tmp_path / "B/a.FLAC"
    assert sources[0].key == ("B/a.FLAC", None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sources[0].name = "x"


def test_one_file(tmp_path, monkeypatch):
    touch(tmp_path, "a/b.wav")
    monkeypatch.chdir(tmp_path)
    root, sources = audio.find(["a/../a/b.wav"])
    assert root == tmp_path / "a"
    assert names(sources) == ["b.wav"]
    assert sources[0].path == tmp_path / "a/b.wav"


def test_order_of_arguments_is_nothing(tmp_path):
    touch(tmp_path, "a/1.wav", "a/2.wav", "b/c/1.wav")
    (tmp_path / "b/m.csv").write_text("file,speaker\nc/1.wav,anna\n")
    paths = [tmp_path / "a", tmp_path / "b/m.csv", tmp_path / "a/1.wav", tmp_path / "b"]
    results = [audio.find(order) for order in itertools.permutations(paths)]
    assert all(result == results[0] for result in results)
    root, sources = results[0]
    assert root == tmp_path
    assert names(sources) == ["a/1.wav", "a/2.wav", "b/c/1.wav"]
    assert sources[2].metadata == {"speaker": "anna"}


def test_manifests_that_disagree(tmp_path):
    touch(tmp_path, "1.wav")
    (tmp_path / "a.csv").write_text("file,speaker,arousal\n1.wav,anna,\n")
    (tmp_path / "b.csv").write_text("file,speaker,text,arousal\n1.wav,bert,hi,1\n")
    for paths in (["a.csv", "b.csv"], ["b.csv", "a.csv"]):
        _, (source,) = audio.find([tmp_path / path for path in paths])
        assert source.metadata == {"speaker": "anna", "text": "hi"}
        assert source.human[0] == 1


MANIFEST = """\
file,start,end,speaker,emotion,other,arousal,dominance,valence
b.wav,0 days 00:00:01.500000,0 days 00:01:02,anna,,1,0.25,,1
b.wav,0.25,1.5,bert,joy,2,,,
./sub/a.wav,0,,"x, y",,3,nan,NaN,
c.wav,NaT,1 days 02:00:00.5,,,,0,0,0
d.wav,0 days,1 day,,,,,,
"""


def test_csv(tmp_path):
    (tmp_path / "m.csv").write_text(MANIFEST, encoding="utf-8-sig")
    root, sources = audio.find([tmp_path / "m.csv"])
    assert root == tmp_path
    assert [source.key for source in sources] == [
        ("b.wav", 0.25, 1.5),
        ("b.wav", 1.5, 62.0),
        ("c.wav", None, 93600.5),
        ("d.wav", 0.0, 86400.0),
        ("sub/a.wav", None, None),
    ]
    assert sources[0].metadata == {"speaker": "bert", "emotion": "joy"}
    assert sources[0].human is None
    assert sources[4].metadata == {"speaker": "x, y"}
    assert sources[4].human is None
    np.testing.assert_array_equal(sources[1].human, [0.25, np.nan, 1])
    assert sources[2].human == (0, 0, 0)


def test_scores_of_a_teacher_are_not_human(tmp_path):
    (tmp_path / "m.csv").write_text(
        "file,arousal,dominance,valence,teacher,human_arousal\n"
        "a.wav,.1,.2,.3,big,.9\nb.wav,.1,.2,.3,big,\n"
    )
    _, (first, second) = audio.find([tmp_path / "m.csv"])
    np.testing.assert_array_equal(first.human, [0.9, np.nan, np.nan])
    assert second.human is None


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_with_time_deltas(tmp_path, unit):
    table = pd.DataFrame(
        {
            "file": ["a.wav", "b.wav"],
            "start": pd.to_timedelta([1, 2], unit="s").as_unit(unit),
            "end": pd.to_timedelta([3, None], unit="s").as_unit(unit),
            "emotion": pd.Categorical(["joy", None]),
            "valence": [0.5, None],
            "junk": [b"1", b"2"],
        }
    )
    table.to_parquet(tmp_path / "m.parquet")
    _, (first, second) = audio.find([tmp_path / "m.parquet"])
    assert first.key == ("a.wav", 1, 3)
    assert second.key == ("b.wav", 2, None)
    assert (first.metadata, second.metadata) == ({"emotion": "joy"}, {})
    np.testing.assert_array_equal(first.human, [np.nan, np.nan, 0.5])
    assert second.human is None


def test_parquet_with_seconds(tmp_path):
    table = pd.DataFrame({"file": ["a.wav"], "start": [0.5], "end": [2]})
    table.to_parquet(tmp_path / "m.parquet")
    _, (source,) = audio.find([tmp_path / "m.parquet"])
    assert source.key == ("a.wav", 0.5, 2)


@pytest.mark.parametrize("storage_format", ["csv", "parquet"])
def test_audformat_database(tmp_path, storage_format):
    database = audformat.Database("test")
    database.schemes["speaker"] = audformat.Scheme("str")
    database.schemes["arousal"] = audformat.Scheme("float", minimum=0, maximum=1)
    files = audformat.filewise_index(["audio/a.wav", "audio/b.wav"])
    table = database["files"] = audformat.Table(files)
    table["speaker"] = audformat.Column(scheme_id="speaker")
    table["speaker"].set(["anna", "bert"])
    index = audformat.segmented_index(
        ["audio/b.wav", "audio/b.wav"], ["0.1s", "2s"], ["2s", pd.NaT]
    )
    table = database["segments"] = audformat.Table(index)
    table["arousal"] = audformat.Column(scheme_id="arousal")
    table["arousal"].set([0.1, 0.2])
    misc = database["words"] = audformat.MiscTable(pd.Index([0, 1], name="word"))
    misc["speaker"] = audformat.Column(scheme_id="speaker")
    misc["speaker"].set(["x", "y"])
    database.save(tmp_path, storage_format=storage_format)

    root, sources = audio.find([tmp_path])
    assert root == tmp_path
    assert [source.key for source in sources] == [
        ("audio/a.wav", None, None),
        ("audio/b.wav", 0.1, 2),
        ("audio/b.wav", 2, None),
    ]
    speakers = [source.metadata for source in sources]
    assert speakers == [{"speaker": s} for s in ("anna", "bert", "bert")]
    assert all(source.human is None for source in sources)


def test_audformat_database_without_tables(tmp_path):
    touch(tmp_path, "db.yaml", "a.wav")
    with pytest.raises(InputError, match="must hold a CSV or Parquet table of files"):
        audio.find([tmp_path])


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match="at least one path"):
        audio.find([])
    with pytest.raises(InputError, match=r"must exist: .*nowhere: check the path"):
        audio.find([tmp_path / "nowhere"])
    touch(tmp_path, "empty/notes.txt", "full/a.wav")
    with pytest.raises(InputError, match=r"audio must be in .*empty, got none"):
        audio.find([tmp_path / "full", tmp_path / "empty"])
    with pytest.raises(InputError, match=r"folder, a manifest .*notes.txt: convert"):
        audio.find([tmp_path / "empty/notes.txt"])


def test_name_that_is_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.wav")).touch()
    with pytest.raises(InputError, match=r"must be UTF-8, got b'.*xff.wav'"):
        audio.find([tmp_path])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must have a column 'file', got nothing"),
        ("path,start\na.wav,0\n", "must have a column 'file', got path, start"),
        ("file\n", "got none"),
        ("file\n../a.wav\n", r"file must be .* got '\.\./a\.wav': row 1 of .*m\.csv"),
        ("file\nb/../../a.wav\n", "one below"),
        ("file,start\n,1\n", "one below the table's folder, got ''"),
        ("file\n..\n", "one below"),
        ("file,start\na.wav,soon\n", "start must be seconds .* got 'soon'"),
        ("file,start\na.wav,-1\n", "start must be seconds"),
        ("file,end\na.wav,inf\n", "end must be seconds"),
        ("file,end\na.wav,-1 days +23:59:59\n", "end must be seconds"),
        ("file,start,end\na.wav,2,1\n", r"end must be behind start 2\.0 s, got 1\.0"),
        ("file,arousal\na.wav,5\n", r"arousal must be in 0\.\.1, got '5'.*scale it"),
        ("file,valence\na.wav,high\n", "valence must be in"),
        ('file\n"a.wav\n', "table cannot be read: .*m.csv"),
    ],
)
def test_wrong_manifests(tmp_path, text, match):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        audio.find([tmp_path / "m.csv"])


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_unreadable_tables(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\0file")
    with pytest.raises(InputError, match=f"table cannot be read: .*{name}"):
        audio.find([tmp_path / name])


def test_manifest_with_absolute_paths(tmp_path):
    for name in ("a/x.wav", "b/y.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.zeros(100), 16000)
    table = tmp_path / "elsewhere" / "deep" / "table.csv"
    table.parent.mkdir(parents=True)
    table.write_text(f"file\n{tmp_path}/a/x.wav\n{tmp_path}/b/y.wav\n")
    root, sources = audio.find([table])
    assert root == tmp_path
    assert [source.name for source in sources] == ["a/x.wav", "b/y.wav"]


def test_beginning_is_that_of_the_segment(tmp_path):
    signal = np.linspace(-0.5, 0.5, 16000, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", signal, 16000, subtype="FLOAT")
    source = audio.Source(tmp_path / "a.wav", "a.wav", start=0.25, end=0.75)
    np.testing.assert_array_equal(audio.beginning(source, 0.1), signal[4000:5600])
    np.testing.assert_array_equal(audio.beginning(source, 9.0), signal[4000:12000])
