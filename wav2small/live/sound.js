// Where sound comes from, and its way through the mixer to the model.

const data = JSON.parse(document.getElementById("data").textContent);
const SILENT = -72; // dB of full scale, the lowest place of the slider

const toBytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

async function unpack(packed) {
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

const worklet = unpack(toBytes(data.worklet)).then((bytes) => new TextDecoder().decode(bytes));

// The same numbers in every browser and every run.
function* uniform() {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 31 - 1;
  }
}

// Noise with equal power in every octave, of level 1 (RMS).
function pinkNoise(context, seconds) {
  const buffer = context.createBuffer(1, seconds * context.sampleRate, context.sampleRate);
  const noise = buffer.getChannelData(0);
  const random = uniform();
  const poles = [0.997, 0.985, 0.95, 0.85, 0.6, 0.2];
  const held = poles.map(() => 0);
  let power = 0;
  for (let at = 0; at < noise.length; at++) {
    poles.forEach((pole, i) => {
      held[i] = pole * held[i] + (1 - pole) ** 0.5 * random.next().value;
      noise[at] += held[i];
    });
    power += noise[at] ** 2;
  }
  const scale = (noise.length / power) ** 0.5;
  noise.forEach((value, at) => (noise[at] = value * scale));
  return buffer;
}

// What a room adds: noise that falls by 60 dB in the reverberation time.
function echoes(context, seconds) {
  const buffer = context.createBuffer(1, Math.ceil(seconds * context.sampleRate), context.sampleRate);
  const random = uniform();
  const samples = buffer.getChannelData(0);
  samples.forEach((_, at) => (samples[at] = random.next().value * 10 ** ((-3 * at) / samples.length)));
  return buffer;
}

const gainOf = (decibels) => 10 ** (decibels / 20);

class Mixer {
  constructor(context, source, played) {
    this.context = context;
    this.input = new GainNode(context);
    this.output = new GainNode(context);
    this.direct = new GainNode(context);
    this.played = played ? new GainNode(context) : null;
    source.connect(this.input);
    this.input.connect(this.direct).connect(this.output);
    if (played) this.output.connect(this.played).connect(context.destination);
  }

  set({ noise, room, gain, volume }) {
    this.input.gain.value = gainOf(gain);
    if (this.played) this.played.gain.value = volume;
    if (room !== this.room) this.setRoom(room);
    if (noise > SILENT && !this.noise) {
      const source = new AudioBufferSourceNode(this.context, {
        buffer: pinkNoise(this.context, 8), loop: true,
      });
      this.noise = new GainNode(this.context);
      source.connect(this.noise).connect(this.output);
      source.start();
    }
    if (this.noise) this.noise.gain.value = noise > SILENT ? gainOf(noise) : 0;
    this.room = room;
  }

  setRoom(seconds) {
    this.echo?.disconnect();
    this.echo = null;
    // direct and reflected sound are equally strong
    this.direct.gain.value = seconds ? 0.5 ** 0.5 : 1;
    if (!seconds) return;
    this.echo = new ConvolverNode(this.context, { buffer: echoes(this.context, seconds) });
    const level = new GainNode(this.context, { gain: 0.5 ** 0.5 });
    this.input.connect(this.echo).connect(level).connect(this.output);
  }
}

// Bring the code that hears into the audio thread, once.
function prepare(context) {
  // a page that was opened from a folder may not load a script from a blob
  context.prepared ??= worklet.then((code) => context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(code)}`));
  return context.prepared;
}

// Let a model hear a source; a message for each tenth of a second goes to `tell`.
async function connect(context, source, { model, module, settings, played, length, tell }) {
  await prepare(context);
  const node = new AudioWorkletNode(context, "hearing", {
    processorOptions: {
      module, scores: model.labels.length, categories: model.categories.length, rate: model.rate,
      ...settings.model, length,
    },
  });
  node.port.onmessage = ({ data }) => tell(data);
  const mixer = new Mixer(context, source, played);
  mixer.set(settings.mix);
  mixer.output.connect(node).connect(context.destination);
  return { node, mixer };
}

async function decode(bytes, rate) {
  return readPcm(bytes, rate) ?? new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
}

// A WAV of 16 bits at the model's rate, sample by sample; null for all else.
// Browsers scale positive samples by 32767, so that the largest would differ by a bit.
function readPcm(bytes, rate) {
  const view = new DataView(bytes);
  const word = (at) => (at + 4 <= view.byteLength ? view.getUint32(at) : 0);
  if (word(0) !== 0x52494646 || word(8) !== 0x57415645) return null;
  let channels = 0;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (word(at) === 0x666d7420 && size >= 16 && at + 24 <= view.byteLength) {
      const [kind, bits] = [view.getUint16(at + 8, true), view.getUint16(at + 22, true)];
      if (kind !== 1 || bits !== 16 || view.getUint32(at + 12, true) !== rate) return null;
      channels = view.getUint16(at + 10, true);
    }
    if (word(at) === 0x64617461) {
      const most = Math.min(size, view.byteLength - at - 8);
      const frames = Math.floor(most / 2 / channels);
      if (!channels || channels > 32 || !frames) return null;
      const buffer = new AudioBuffer({ length: frames, numberOfChannels: channels, sampleRate: rate });
      for (let channel = 0; channel < channels; channel++) {
        const place = at + 8 + 2 * channel;
        buffer.copyToChannel(Float32Array.from({ length: frames }, (_, i) => view.getInt16(place + 2 * i * channels, true) / 32768), channel);
      }
      return buffer;
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

// Hear a recording as fast as this machine can; resolves when all of it was heard.
async function hearAtOnce(buffer, options) {
  const { rate } = options.model;
  const context = new OfflineAudioContext(1, buffer.length + rate, rate);
  const source = new AudioBufferSourceNode(context, { buffer });
  let heard = 0;
  const rest = () => new Promise((resolve) => setTimeout(resolve, 1));
  // the audio thread must not run far ahead of what is shown
  for (let time = 20; time < buffer.duration; time += 20) {
    context.suspend?.(time).then(async () => {
      while (heard < (time - 0.2) * rate) await rest();
      context.resume();
    });
  }
  await new Promise((resolve, reject) => {
    const tell = (reading) => {
      heard = reading.heard;
      options.tell(reading);
      if (reading.ended) resolve();
    };
    connect(context, source, { ...options, length: buffer.length, tell })
      .then(() => source.start())
      .then(() => context.startRendering())
      .catch(reject);
  });
}

// The microphone as it is: no processing of the browser, which is made for calls.
async function openMicrophone(rate) {
  if (!navigator.mediaDevices) {
    throw new Error("microphone must be allowed for this address, got none: open the page from https or a file, or open a recording");
  }
  const asked = navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  // nothing is played, so there is neither a loudspeaker nor haste
  const quiet = { latencyHint: "playback", sinkId: { type: "none" } };
  let context = new AudioContext({ sampleRate: rate, ...quiet });
  prepare(context).catch(() => {}); // while the device opens; who connects is told of errors
  const stream = await asked.catch((error) => {
    context.close();
    throw error;
  });
  try {
    return { stream, context, source: new MediaStreamAudioSourceNode(context, { mediaStream: stream }) };
  } catch (error) {
    // Firefox wants the rate of the device: the worklet brings it to the model's
    await context.close();
    context = new AudioContext(quiet);
    return { stream, context, source: new MediaStreamAudioSourceNode(context, { mediaStream: stream }) };
  }
}
