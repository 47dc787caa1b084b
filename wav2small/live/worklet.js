"use strict";
// Runs in the audio thread: brings sound to the model's rate and lets the model hear it.

// Another sampling rate by a polyphase low-pass filter (sinc under a Kaiser window).
class Resampler {
  constructor(from, to) {
    let divisor = from;
    for (let rest = to; rest; ) [divisor, rest] = [rest, divisor % rest];
    this.up = to / divisor;
    this.down = from / divisor;
    const cutoff = 0.92 * Math.min(1, to / from);
    const half = Math.ceil(24 / cutoff);
    this.taps = 2 * half;
    this.table = new Float32Array(this.up * this.taps);
    for (let phase = 0; phase < this.up; phase++) {
      const filter = this.table.subarray(phase * this.taps, (phase + 1) * this.taps);
      for (let tap = 0; tap < this.taps; tap++) {
        const distance = tap - half + 1 - phase / this.up;
        const x = Math.PI * cutoff * distance;
        filter[tap] = (x ? Math.sin(x) / x : 1) * kaiser(distance / half);
      }
      const sum = filter.reduce((total, value) => total + value, 0);
      filter.forEach((value, tap) => (filter[tap] = value / sum));
    }
    this.held = new Float32Array(this.taps + 4096);
    this.count = half - 1; // silence before the first sample
    this.phase = 0;
  }

  push(input) {
    this.held.set(input, this.count);
    this.count += input.length;
    const output = [];
    let at = 0;
    while (at + this.taps <= this.count) {
      const filter = this.phase * this.taps;
      let sum = 0;
      for (let tap = 0; tap < this.taps; tap++) {
        sum += this.held[at + tap] * this.table[filter + tap];
      }
      output.push(sum);
      this.phase += this.down;
      at += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.held.copyWithin(0, at, this.count);
    this.count -= at;
    return output;
  }
}

function kaiser(place) {
  const bessel = (x) => {
    let sum = 1;
    for (let k = 1, term = 1; k < 32; k++) sum += term *= (x / 2 / k) ** 2;
    return sum;
  };
  return Math.abs(place) < 1 ? bessel(8 * Math.sqrt(1 - place * place)) / bessel(8) : 0;
}

class Hearing extends AudioWorkletProcessor {
  constructor({ processorOptions: options }) {
    super();
    this.model = new WebAssembly.Instance(options.module).exports;
    const { memory, samples, capacity, integers } = this.model;
    this.samples = new Int16Array(memory.buffer, samples(), capacity());
    this.integers = new Int32Array(memory.buffer, integers(), options.scores);
    this.parts = new Int16Array(memory.buffer, this.model.parts(), options.scores);
    const further = (name, count) => this.model[name] && new Uint16Array(memory.buffer, this.model[name](), count);
    this.shares = further("shares", options.categories);
    this.doubts = further("doubts", options.scores);
    this.model.decide_begin();
    this.rate = options.rate;
    this.length = options.length ?? Infinity;
    this.block = new Int16Array(options.rate / 10);
    this.filled = this.heard = this.left = 0;
    this.scored = null;
    const from = Math.round(sampleRate);
    this.resampler = from === options.rate ? null : new Resampler(from, options.rate);
    this.port.onmessage = ({ data }) => this.set(data);
    if (this.model.latest) this.model.begin();
    else this.window = new Int16Array(this.samples.length);
    this.set(options);
  }

  set({ forget, alone, own, smooth, high, low, table, end }) {
    if (end) this.length = 0;
    if (forget === undefined) return;
    if (this.model.forget) this.model.forget(forget);
    if (this.model.listen && alone !== this.alone) this.model.listen(alone);
    this.alone = alone;
    this.model.cover(own);
    this.model.smooth(smooth);
    for (let score = 0; score < this.integers.length; score++) {
      this.model.rule(2 * score, ...high);
      this.model.rule(2 * score + 1, ...low);
    }
    new Uint8Array(this.model.memory.buffer, this.model.table(), table.length).set(table);
    this.model.calibrate(table.length);
  }

  process([channels]) {
    if (this.heard >= this.length) return false;
    // without a source there is no channel, and time goes on in silence
    const count = channels.length ? channels[0].length : 128;
    let mono = channels.length === 1 ? channels[0] : new Float32Array(count);
    if (channels.length > 1) {
      mono = mono.map(
        (_, at) => channels.reduce((sum, one) => sum + one[at], 0) / channels.length
      );
    }
    const sound = this.resampler ? this.resampler.push(mono) : mono;
    for (let at = 0; at < sound.length && this.heard < this.length; ) {
      const room = Math.min(this.block.length - this.filled, this.length - this.heard);
      const taken = Math.min(room, sound.length - at);
      for (let i = 0; i < taken; i++) {
        const value = Math.round(32768 * sound[at + i]);
        this.block[this.filled + i] = Math.max(-32768, Math.min(32767, value));
      }
      this.hear(this.block.subarray(this.filled, this.filled + taken));
      at += taken;
    }
    return this.heard < this.length;
  }

  hear(samples) {
    this.filled += samples.length;
    this.heard += samples.length;
    const ended = this.heard >= this.length;
    if (this.window) this.hearAgain(samples, ended);
    else this.hearOnce(samples);
    if (this.filled < this.block.length && !ended) return;
    const scored = this.window ? this.scored : this.ask(ended);
    const decided = scored && !ended ? this.decide() : null;
    this.port.postMessage({
      ...decided,
      speech: this.hears(),
      heard: this.heard,
      samples: this.block.slice(0, this.filled),
      integers: scored ? Array.from(this.integers) : null,
      scored,
      ended,
    });
    this.filled = 0;
  }

  // A model that streams hears each sample once, as soon as it comes.
  hearOnce(samples) {
    this.samples.set(samples);
    this.model.push(0, samples.length);
  }

  ask(ended) {
    const status = ended ? this.model.result() : this.model.latest();
    return status ? null : [0, this.heard];
  }

  // How likely each category is, and how far each score may be off, where it is known.
  further() {
    const shares = this.shares && !this.model.categories() ? Array.from(this.shares) : null;
    const doubts = this.doubts && !this.model.doubt() ? Array.from(this.doubts) : null;
    return { shares, doubts: doubts?.map((part) => part / 16384) };
  }

  hears() {
    return this.model.hears ? this.model.hears() : 1;
  }

  // Smoothed scores of the wearer, and the milliseconds for which each event is on.
  decide() {
    if (this.model.decide(this.filled, this.hears())) return null;
    const events = Array.from({ length: 2 * this.parts.length }, (_, i) => this.model.event(i));
    return { smooth: Array.from(this.parts, (part) => part / 16384), events, ...this.further() };
  }

  // One that normalises by the level of all of it hears the last seconds again,
  // anew each second, in small parts, so that the audio thread never has to wait.
  hearAgain(samples, ended) {
    this.window.copyWithin(0, samples.length);
    this.window.set(samples, this.window.length - samples.length);
    if (ended) this.left = 0;
    if (!this.left && (ended || this.heard % this.rate < samples.length)) {
      this.whole = Math.min(this.heard, this.window.length);
      this.samples.set(this.window.subarray(this.window.length - this.whole));
      this.left = this.model.begin(this.whole) ? 0 : this.whole;
      this.until = this.heard;
    }
    if (!this.left) return;
    const part = ended ? this.left : Math.min(this.left, 6 * samples.length);
    this.model.push(this.whole - this.left, part);
    this.left -= part;
    const done = !this.left && !this.model.result();
    if (done) this.scored = [this.until - this.whole, this.until];
  }
}

registerProcessor("hearing", Hearing);
