import os
import random
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from recordings import FORMATS, tone, write

from wav2small import audio
from wav2small.audio import AudioError, containers, decode


def check(path, match):
    """An error is one line, names the file and says what is wrong."""
    with pytest.raises(AudioError, match=match) as caught:
        audio.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    check(tmp_path / "a.wav", "must be a file .* got No such file or directory")


def test_folder(tmp_path):
    (tmp_path / "a.wav").mkdir()
    check(tmp_path / "a.wav", "must be a file .* got it is a folder")


def test_name_too_long(tmp_path):
    check(tmp_path / f"{'a' * 300}.wav", "must be a file .* got File name too long")


def test_name_in_one_line(tmp_path):
    with pytest.raises(AudioError, match=r"'.*a\\nb.wav'") as caught:
        audio.load(tmp_path / "a\nb.wav")
    assert "\n" not in str(caught.value)


def test_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    check(tmp_path / "a.wav", "must be a file .* got it is a named pipe")


def test_device(tmp_path):
    (tmp_path / "a.wav").symlink_to("/dev/zero")
    check(tmp_path / "a.wav", "must be a file .* got it is a device")


def test_name_that_is_not_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"M\xfcller.wav")
    path.touch()
    with pytest.raises(AudioError, match=r"must be UTF-8, got '.*M.udcfcller.wav'"):
        containers.check(path)


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
    ("length", "size"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),  # FFmpeg
        (0x7FFFF000, 0x7FFFF024),  # SoX
        (0x80000000, 0x80000024),  # arecord
        (0x7FFFFFFF, 0x7FFFFFFF),
    ],
)
@pytest.mark.parametrize("odd", [0, 1])
def test_wav_of_a_pipe(tmp_path, length, size, odd):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(*chunks(length=length), size=size) + b"x" * odd)
    np.testing.assert_allclose(audio.load(path), tone(1)[:1001], atol=1e-4)


ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
ID3V2 = b"ID3\x04\0\0\0\0\0\x0aTIT2\0\0\0\x01\0\0\0"
APE = b"APETAGEX" + bytes(24)


@pytest.mark.parametrize("tag", [ID3V1, ID3V2, APE, APE + ID3V1])
@pytest.mark.parametrize("extension", FORMATS)
def test_a_tag_behind_the_audio(tmp_path, extension, tag):
    path = write(tmp_path / f"a.{extension}", tone(1.5))
    before = audio.load(path)
    path.write_bytes(path.read_bytes() + tag)
    np.testing.assert_array_equal(audio.load(path), before)


def test_a_chunk_that_the_header_does_not_count(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff(*chunks()) + b"id3 " + struct.pack("<I", 4) + b"ID3\4")
    np.testing.assert_allclose(audio.load(path), tone(1)[:1001], atol=1e-4)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (riff(*chunks()) + riff(*chunks()), "claims 2038 of 4084"),
        (riff(*chunks(), chunks()[1]), "a second data chunk"),
        (riff(*chunks(), size=0xFFFFFFFF), "RIFF claims 4294967295 of 2038"),
        (riff(*chunks(length=0x80000001), size=0x80000025), "data claims 2147483649"),
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
