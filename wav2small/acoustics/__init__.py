"""What happens to speech on its way to the ear: rooms, aids, lines, weather.

Training changes speech with it, and the suite tests models with it.
Everything is a parametric simulation:
no recording of a real aid's microphones is behind it,
and each function names what its numbers rest on.

=========  ==================================================================
signals    mixing, filters, levels
rooms      impulse responses by image sources, the wearer's own voice
aid        microphone, converters, compression, feedback, noise reduction
lines      telephone and telecoil
outside    wind, hum, many voices
way        a random way through all of it
=========  ==================================================================

Shape:
    signal: ``(time,)``, float at 16 kHz
    result: ``(time,)``, float32, of the same length and at the same level
        unless said otherwise

All randomness comes from a generator that is passed in.
"""
