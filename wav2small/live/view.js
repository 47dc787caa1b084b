// The picture: waveform, spectrogram and scores of the last seconds, running by.

const COLUMNS = 2048; // kept columns of the spectrogram, one each 20 ms
const BANDS = 80;
const TRANSFORM = 512;
const DRAWN_EACH = 180; // milliseconds: five times a second are enough, and each costs
const COLOURS = [[0, 0, 4], [59, 15, 112], [140, 41, 129], [222, 73, 104], [254, 159, 109], [252, 253, 191]];
const DASHES = [[], [8, 4], [2, 3]];

class View {
  constructor(canvas, names, drawn) {
    this.drawn = drawn;
    this.canvas = canvas;
    this.names = names;
    this.picture = document.createElement("canvas");
    this.picture.width = COLUMNS;
    this.picture.height = BANDS;
    this.pixels = new ImageData(COLUMNS, BANDS);
    this.spectrum = new Spectrum();
    this.last = -Infinity;
    this.readStyle();
    new ResizeObserver(() => {
      this.size = [canvas.clientWidth, canvas.clientHeight];
      this.readStyle();
      // a canvas that changes within the notice would be noticed again
      requestAnimationFrame(() => this.draw());
    }).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.readStyle();
      this.draw();
    });
    document.addEventListener("visibilitychange", () => this.draw());
    this.thresholds = [];
    this.begin(16000);
  }

  readStyle() {
    const style = getComputedStyle(this.canvas);
    const colours = ["text", "soft", "line", "back", ...this.names];
    this.colours = Object.fromEntries(colours.map((name) => [name, style.getPropertyValue(`--${name}`)]));
    this.letter = parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.85;
  }

  begin(rate) {
    this.rate = rate;
    this.step = rate / 50;
    this.heard = this.columns = this.painted = 0;
    this.held = new Float32Array(TRANSFORM + rate / 10);
    this.count = TRANSFORM - this.step; // silence before the first sample
    this.extremes = new Float32Array(2 * COLUMNS);
    this.readings = [];
    this.spoken = [];
    this.edges = Array.from({ length: BANDS + 1 }, (_, band) => {
      // equally spaced in mel, from 50 Hz to half the rate
      const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
      const place = mel(50) + ((mel(rate / 2) - mel(50)) * band) / BANDS;
      return (700 * (10 ** (place / 2595) - 1) * TRANSFORM) / rate;
    });
    this.draw();
  }

  add({ samples, smooth, events, speech, doubts }, scores) {
    this.heard += samples.length;
    for (let i = 0; i < samples.length; i++) this.held[this.count + i] = samples[i] / 32768;
    this.count += samples.length;
    let at = 0;
    for (; at + TRANSFORM <= this.count; at += this.step) {
      this.addColumn(this.held.subarray(at, at + TRANSFORM));
    }
    this.held.copyWithin(0, at, this.count);
    this.count -= at;
    this.spoken.push([this.heard / this.rate, speech]);
    if (this.spoken.length > 600) this.spoken.splice(0, 200);
    if (scores) this.readings.push({ time: this.heard / this.rate, scores, smooth: smooth ?? scores, events, doubts });
    if (this.readings.length > 600) this.readings.splice(0, 200);
    const due = Math.max(0, this.last + DRAWN_EACH - performance.now());
    this.wanted ??= setTimeout(() => requestAnimationFrame(() => this.show()), due);
  }

  // All that changes on the page changes at once, for each change has its price.
  show() {
    this.wanted = null;
    this.last = performance.now();
    this.draw();
    this.drawn();
  }

  addColumn(frame) {
    const place = this.columns++ % COLUMNS;
    let [least, most] = [0, 0];
    for (let i = TRANSFORM - this.step; i < TRANSFORM; i++) {
      least = Math.min(least, frame[i]);
      most = Math.max(most, frame[i]);
    }
    this.extremes[2 * place] = least;
    this.extremes[2 * place + 1] = most;
    const power = this.spectrum.of(frame);
    const { data: pixels } = this.pixels;
    for (let band = 0; band < BANDS; band++) {
      const first = Math.floor(this.edges[band]);
      const last = Math.max(first + 1, Math.ceil(this.edges[band + 1]));
      let strongest = 0;
      for (let i = first; i < last; i++) strongest = Math.max(strongest, power[i]);
      const level = (10 * Math.log10(strongest + 1e-12) + 50) / 80; // from -50 to 30 dB
      const scaled = Math.max(0, Math.min(0.9999, level)) * (COLOURS.length - 1);
      const low = COLOURS[Math.floor(scaled)];
      const high = COLOURS[Math.floor(scaled) + 1];
      const pixel = 4 * ((BANDS - 1 - band) * COLUMNS + place);
      for (let i = 0; i < 3; i++) pixels[pixel + i] = low[i] + (high[i] - low[i]) * (scaled % 1);
      pixels[pixel + 3] = 255;
    }
  }

  // Bring the columns that are new into the picture.
  paint() {
    const paint = this.picture.getContext("2d", { willReadFrequently: true });
    for (let at = Math.max(this.painted, this.columns - COLUMNS); at < this.columns; ) {
      const place = at % COLUMNS;
      const run = Math.min(COLUMNS - place, this.columns - at);
      paint.putImageData(this.pixels, 0, 0, place, 0, run, BANDS);
      at += run;
    }
    this.painted = this.columns;
  }

  draw() {
    const { canvas } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = this.size ?? [0, 0];
    if (document.hidden || !width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.paint();
    const paint = canvas.getContext("2d", { alpha: false });
    const { letter, colours } = this;
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.fillStyle = colours.back;
    paint.fillRect(0, 0, width, height);
    paint.font = `${letter}px system-ui, sans-serif`;
    const left = letter * 2.6;
    const right = width - letter * 1.8;
    const bottom = height - letter * 1.8;
    this.seconds = width < 30 * letter ? 10 : width < 150 * letter ? 20 : 40;
    const place = { paint, colours, letter, left, right, x: (time) => right - ((this.heard / this.rate - time) / this.seconds) * (right - left) };
    this.drawTimes(place, bottom);
    this.drawWave(place, letter * 0.4, bottom * 0.18);
    if (this.knowsSpeech) this.drawSpeech(place, bottom * 0.185);
    this.drawPicture(place, bottom * 0.2, bottom * 0.46);
    this.drawScores(place, bottom * 0.5, bottom - letter * 0.5);
  }

  drawTimes({ paint, colours, letter, right, left, x }, bottom) {
    const now = this.heard / this.rate;
    const every = this.seconds / (right - left < 24 * letter ? 2 : 4);
    paint.fillStyle = colours.soft;
    paint.textBaseline = "top";
    paint.textAlign = "center";
    for (let ago = 0; ago <= this.seconds; ago += every) {
      const label = ago ? `\u2212${ago} s` : "now";
      paint.fillText(label, x(now - ago), bottom + letter * 0.4);
      paint.fillRect(Math.round(x(now - ago)), bottom - letter * 0.3, 1, letter * 0.4);
    }
  }

  drawWave({ paint, colours, x }, top, bottom) {
    const middle = (top + bottom) / 2;
    paint.beginPath();
    // columns that are kept and in view, each at its place in the ring
    for (let number = Math.max(0, this.columns - Math.min(COLUMNS, this.seconds * 50)); number < this.columns; number++) {
      const place = number % COLUMNS;
      const at = x(number / 50);
      paint.moveTo(at, middle - this.extremes[2 * place + 1] * (middle - top) - 0.5);
      paint.lineTo(at, middle - this.extremes[2 * place] * (middle - top) + 0.5);
    }
    paint.strokeStyle = colours.text;
    paint.lineWidth = Math.max(1, (x(0.02) - x(0)) * 0.9);
    paint.stroke();
  }

  // A bar under the waveform where scores learn from speech.
  drawSpeech({ paint, colours, letter, x, left }, middle) {
    paint.fillStyle = colours.text;
    for (const [time, speech] of this.spoken) {
      if (speech && x(time - 0.1) >= left) paint.fillRect(x(time - 0.1), middle, x(0.1) - x(0) + 0.5, letter * 0.15);
    }
  }

  drawPicture({ paint, colours, letter, left, right, x }, top, bottom) {
    paint.fillStyle = "#000004";
    paint.fillRect(left, top, right - left, bottom - top);
    const count = Math.min(this.columns, this.seconds * 50, COLUMNS);
    const first = this.columns - count;
    for (let number = first; number < this.columns; ) {
      const place = number % COLUMNS;
      const run = Math.min(COLUMNS - place, this.columns - number);
      const from = x(number / 50);
      paint.drawImage(this.picture, place, 0, run, BANDS, from, top, x((number + run) / 50) - from, bottom - top);
      number += run;
    }
    paint.fillStyle = colours.soft;
    paint.textAlign = "right";
    paint.textBaseline = "top";
    paint.fillText(`${this.rate / 2000}k`, left - letter * 0.3, top);
    paint.textBaseline = "bottom";
    paint.fillText("0 Hz", left - letter * 0.3, bottom);
  }

  drawScores({ paint, colours, letter, left, right, x }, top, bottom) {
    const y = (score) => bottom - Math.max(-0.02, Math.min(1.02, score)) * (bottom - top);
    paint.textAlign = "right";
    paint.textBaseline = "middle";
    paint.lineWidth = 1;
    for (const score of [0, 0.5, 1]) {
      paint.fillStyle = colours.soft;
      paint.fillText(score.toFixed(1), left - letter * 0.3, y(score));
      paint.fillStyle = colours.line;
      paint.fillRect(left, Math.round(y(score)), right - left, 1);
    }
    paint.fillStyle = colours.soft;
    for (const score of this.thresholds) {
      for (let at = left; at < right; at += letter) paint.fillRect(at, Math.round(y(score)), letter / 3, 1);
    }
    const since = this.heard / this.rate - this.seconds;
    const readings = this.readings.filter(({ time }) => time >= since);
    if (!readings.length) return;
    const ends = this.names.map((name, i) => [y(readings.at(-1).smooth[i]), name]).sort(([a], [b]) => a - b);
    ends.forEach((end, i) => (end[0] = i ? Math.max(end[0], ends[i - 1][0] + letter) : end[0]));
    this.names.forEach((name, i) => {
      const line = (width, dashes, scores) => {
        paint.lineWidth = width;
        paint.setLineDash(dashes);
        paint.beginPath();
        readings.forEach((reading) => paint.lineTo(x(reading.time), y(reading[scores][i])));
        paint.stroke();
      };
      paint.strokeStyle = paint.fillStyle = colours[name];
      if (readings.at(-1).doubts) {
        // how far the score may be off
        const edge = (sign) => ({ time, smooth, doubts }) => [x(time), y(smooth[i] + sign * (doubts?.[i] ?? 0))];
        paint.globalAlpha = 0.12;
        paint.beginPath();
        for (const [at, to] of [...readings.map(edge(1)), ...readings.map(edge(-1)).reverse()]) paint.lineTo(at, to);
        paint.fill();
      }
      paint.globalAlpha = 0.4;
      line(letter / 14, [], "scores");
      paint.globalAlpha = 1;
      line(letter / 5, DASHES[i].map((length) => (length * letter) / 13), "smooth");
      paint.setLineDash([]);
      paint.textAlign = "left";
      paint.fillText(name[0].toUpperCase(), right + letter * 0.3, ends.find(([, of]) => of === name)[0]);
      // events as bars: high ones at the top, low ones at the bottom
      const wide = x(0.1) - x(0);
      for (const { time, events } of readings) {
        if (events?.[2 * i] >= 0) paint.fillRect(x(time) - wide, top - letter * (0.2 + 0.2 * i), wide + 0.5, letter * 0.15);
        if (events?.[2 * i + 1] >= 0) paint.fillRect(x(time) - wide, bottom + letter * (0.05 + 0.2 * i), wide + 0.5, letter * 0.15);
      }
    });
  }
}

// Power of the Fourier transform of a frame under a window, up to half the rate.
class Spectrum {
  constructor() {
    const half = TRANSFORM / 2;
    const angle = (i) => (Math.PI * i) / half;
    this.window = Float32Array.from({ length: TRANSFORM }, (_, i) => Math.sin(angle((i + 0.5) / 2)) ** 2);
    this.cosines = Float32Array.from({ length: half }, (_, i) => Math.cos(angle(i)));
    this.sines = Float32Array.from({ length: half }, (_, i) => -Math.sin(angle(i)));
    const bits = Math.log2(TRANSFORM);
    this.order = Uint16Array.from({ length: TRANSFORM }, (_, i) => parseInt([...i.toString(2).padStart(bits, "0")].reverse().join(""), 2));
    this.real = new Float32Array(TRANSFORM);
    this.imaginary = new Float32Array(TRANSFORM);
    this.power = new Float32Array(half + 1);
  }

  of(frame) {
    const { window, order, cosines, sines, real, imaginary, power } = this;
    for (let i = 0; i < TRANSFORM; i++) real[i] = frame[order[i]] * window[order[i]];
    imaginary.fill(0);
    for (let half = 1; half < TRANSFORM; half *= 2) {
      for (let k = 0; k < half; k++) {
        const turn = (k * TRANSFORM) / 2 / half;
        for (let i = k; i < TRANSFORM; i += 2 * half) {
          const j = i + half;
          const re = real[j] * cosines[turn] - imaginary[j] * sines[turn];
          const im = real[j] * sines[turn] + imaginary[j] * cosines[turn];
          real[j] = real[i] - re;
          imaginary[j] = imaginary[i] - im;
          real[i] += re;
          imaginary[i] += im;
        }
      }
    }
    for (let i = 0; i < power.length; i++) power[i] = real[i] ** 2 + imaginary[i] ** 2;
    return power;
  }
}
