// The controls: what is chosen, what is heard, what is shown and saved.

const $ = (id) => document.getElementById(id);
const FORGETTING = [0.5, 1, 2, 4, 8, 16, 30, 60, 0]; // seconds, 0 is never
const SHOWN_EACH = 300; // milliseconds
const KEPT_SECONDS = 60;
const MOST_ROWS = 36000; // an hour
const MOST_BYTES = 128 * 2 ** 20;

let model = data.models[0];
let playing = null;
let turn = 0;
let kept, rows;
let personal = []; // the table of one wearer, none if it is empty
let calm = null; // scores of the calm voice that is being heard
let calmVoices = []; // the mean scores of each that was heard
let on = []; // events that are on
let last = {}; // the reading with the last decisions
let shown = null; // what waits to be shown
let shownAt = 0;
const view = new View($("view"), model.labels, () => {
  // figures that change more often cannot be read
  if (performance.now() - shownAt >= SHOWN_EACH) show();
});

const say = (text, wrong = false) => {
  $("status").textContent = text;
  $("status").classList.toggle("error", wrong);
};

// What each slider says of its place.
const SLIDERS = {
  forget: (at) => (FORGETTING[at] ? `${FORGETTING[at]} s` : "never"),
  noise: (at) => (at > SILENT ? `${at} dBFS` : "off"),
  room: (at) => (at ? `${at.toFixed(1)} s` : "off"),
  gain: (at) => `${at} dB`,
  volume: (at) => (at ? `${Math.round(100 * at)} %` : "off"),
  smooth: (at) => (at ? `${at.toFixed(1)} s` : "off"),
  high: (at) => at.toFixed(2),
  low: (at) => at.toFixed(2),
  least: (at) => `${at.toFixed(1)} s`,
};

function settings() {
  const at = Object.fromEntries(Object.keys(SLIDERS).map((id) => [id, Number($(id).value)]));
  const parts = (score) => Math.round(score * 16384);
  const least = Math.round(1000 * at.least);
  return {
    mix: at,
    model: {
      forget: 1000 * FORGETTING[at.forget],
      alone: Number($("alone").checked),
      own: Number($("own").checked),
      smooth: Math.round(1000 * at.smooth),
      high: [parts(at.high), parts(at.high - 0.05), least],
      low: [parts(at.low), parts(at.low + 0.05), least],
      table: personal,
    },
  };
}

function showSettings() {
  for (const [id, describe] of Object.entries(SLIDERS)) {
    const text = describe(Number($(id).value));
    $(id).nextElementSibling.textContent = text;
    $(id).setAttribute("aria-valuetext", text);
  }
  const { mix, model: chosen } = settings();
  view.thresholds = [mix.high, mix.low];
  playing?.mixer?.set(mix);
  playing?.node?.port.postMessage(chosen);
}

// Change a text on the page, if it is another one: laying it out takes time.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showFacts(list, facts) {
  while (list.children.length > facts.length) list.lastChild.remove();
  while (list.children.length < facts.length) {
    const group = document.createElement("div");
    group.append(document.createElement("dt"), document.createElement("dd"));
    list.append(group);
  }
  facts.forEach(([name, text], i) => {
    write(list.children[i].firstChild, name);
    write(list.children[i].lastChild, text);
  });
}

function fill(select, names) {
  select.replaceChildren(...names.map((name, value) => new Option(name, value)));
}

function begin() {
  kept = new Int16Array(KEPT_SECONDS * model.rate);
  rows = [];
  on = [];
  last = {};
  shown = null;
  $("log").replaceChildren();
  view.knowsSpeech = model.speech;
  view.begin(model.rate);
}

// One tenth of a second was heard.
function hear(reading) {
  const { samples, integers, heard } = reading;
  for (let i = 0; i < samples.length; i++) kept[(heard - samples.length + i) % kept.length] = samples[i];
  const scores = integers && integers.map((value) => (value - model.zeroPoint) * model.step);
  if (scores) rows.push([heard / model.rate, ...scores, ...integers]);
  if (rows.length > MOST_ROWS) rows.splice(0, 600);
  if (scores && calm) addCalm(scores);
  if (reading.events) addEvents(reading);
  if (reading.smooth) last = reading; // the end of a recording has no decisions of its own
  const { smooth, events, shares, doubts } = last;
  shown = { ...reading, scores, smooth, events, shares, doubts };
  view.add(shown, scores);
  document.dispatchEvent(new CustomEvent("reading", { detail: reading }));
}

// The two most likely categories.
function likely(shares) {
  const order = shares.map((share, i) => [share, model.categories[i]]).sort(([a], [b]) => b - a);
  return order.slice(0, 2).map(([share, name]) => `${name} ${Math.round(share / 327.68)} %`).join(", ");
}

function show() {
  if (!shown) return;
  shownAt = performance.now();
  const { samples, scores, smooth, events, shares, doubts, heard, speech } = shown;
  shown = null;
  [...$("now").tBodies[0].rows].forEach((row, i) => {
    write(row.cells[1], scores ? scores[i].toFixed(2) : "\u2013");
    const doubt = doubts ? ` \u00b1 ${doubts[i].toFixed(2)}` : "";
    write(row.cells[2], smooth ? smooth[i].toFixed(2) + doubt : "\u2013");
    row.cells[3].firstElementChild.value = (smooth ?? scores)?.[i] ?? 0;
  });
  const lasting = (events ?? []).flatMap((time, i) => (time < 0 ? [] : [`${eventName(i)} for ${(time / 1000).toFixed(1)} s`]));
  write($("events"), lasting.join(", ") || "No event");
  $("calm").disabled = !scores || !playing || calm !== null;
  const power = samples.reduce((sum, value) => sum + value * value, 0) / (samples.length || 1);
  showFacts($("facts"), [
    ["Heard", `${Math.round(heard / model.rate)} s`],
    ["Level", power ? `${(10 * Math.log10(power / 2 ** 30)).toFixed(0)} dBFS` : "silence"],
    ...(model.speech ? [["Speech", speech ? "yes, scores learn" : "no, scores wait"]] : []),
    ...(shares ? [["Category", likely(shares)]] : []),
    ["Scores hold for", model.forgets ? `sound up to ${model.lookAhead.toFixed(2)} s ago` : "the last 4 s, anew each second"],
    ["Memory of the model here", `${model.memory / 1024} KiB, fixed`],
  ]);
  $("save").disabled = false;
  $("table").disabled = !rows.length;
}

const eventName = (number) => `${number % 2 ? "low" : "high"} ${model.labels[number >> 1]}`;

// A line for each event that begins.
function addEvents({ events, heard }) {
  events.forEach((time, number) => {
    if (time >= 0 && !on[number]) {
      const line = document.createElement("li");
      const seconds = Math.max(0, heard / model.rate - time / 1000);
      line.textContent = `${seconds.toFixed(1)} s: ${eventName(number)}`;
      $("log").append(line);
      while ($("log").children.length > 100) $("log").firstChild.remove();
      $("log").scrollTop = $("log").scrollHeight;
    }
    on[number] = time >= 0;
  });
}

// Four seconds of a calm voice; after three of them it becomes neutral.
function addCalm(scores) {
  calm.push(scores);
  if (calm.length < 40) return;
  calmVoices.push(scores.map((_, i) => calm.reduce((sum, one) => sum + one[i], 0) / calm.length));
  calm = null;
  const count = calmVoices.length;
  if (count === 3) {
    // as 'wav2small calibrate': the median becomes neutral, but for what is known of anyone
    const middle = (i) => calmVoices.map((one) => one[i]).sort((a, b) => a - b)[1];
    const offsets = scores.map((_, i) => (i === 2 ? 0 : ((data.neutral - middle(i)) * 3) / 4));
    personal = makeTable(offsets);
    calmVoices = [];
    say("Your calm voice is what counts as neutral now");
    showSettings();
  }
  $("anyone").disabled = !personal.length;
  $("calm").textContent = `My calm voice, ${(count % 3) + 1} of 3`;
}

// The table that the C reads: version, scores, a gain and an offset for each, CRC-32.
function makeTable(offsets) {
  const table = new DataView(new ArrayBuffer(6 + 4 * offsets.length));
  table.setUint8(0, 1);
  table.setUint8(1, offsets.length);
  offsets.forEach((offset, i) => {
    table.setUint16(2 + 4 * i, 1 << 12, true);
    table.setInt16(4 + 4 * i, Math.round(offset * 16384), true);
  });
  const end = table.byteLength - 4;
  let code = -1;
  for (let at = 0; at < end; at++) {
    code ^= table.getUint8(at);
    for (let bit = 0; bit < 8; bit++) code = (code >>> 1) ^ (code & 1 ? 0xedb88320 : 0);
  }
  table.setInt32(end, ~code, true);
  return [...new Uint8Array(table.buffer)];
}

function stop() {
  turn++;
  show();
  calm = null;
  $("calm").disabled = true;
  playing?.stream?.getTracks().forEach((track) => track.stop());
  playing?.node?.port.postMessage({ end: true });
  playing?.context?.close();
  playing = null;
  $("stop").disabled = true;
  $("microphone").setAttribute("aria-pressed", "false");
}

// Begin to hear something; what was heard before ends. Errors become a line.
async function start(name, open) {
  stop();
  const own = turn;
  begin();
  say(`${name}: opening\u2026`);
  try {
    const module = await model.module;
    await open(own, { model, module, settings: settings(), tell: (reading) => own === turn && hear(reading) });
  } catch (error) {
    if (own !== turn) return;
    stop();
    say(`${name}: ${explain(error)}`, true);
  }
}

function explain(error) {
  return {
    NotAllowedError: "the microphone was not allowed: allow it beside the address, or open a file",
    NotFoundError: "there is no microphone: plug one in, or open a file",
    NotReadableError: "the microphone is used by another program or was unplugged: free it, or open a file",
    EncodingError: "this browser cannot read it as sound: try a WAV file",
  }[error.name] ?? error.message;
}

function hearMicrophone() {
  return start("Microphone", async (own, options) => {
    const { stream, context, source } = await openMicrophone(model.rate);
    const opened = { stream, context };
    if (own !== turn) {
      stream.getTracks().forEach((track) => track.stop());
      return context.close();
    }
    playing = opened;
    stream.getAudioTracks()[0].addEventListener("ended", () => {
      if (own !== turn) return;
      stop();
      say("Microphone: it was unplugged or taken away: plug it in and start again", true);
    });
    await context.resume();
    Object.assign(opened, await connect(context, source, { ...options, played: false }));
    $("stop").disabled = false;
    $("microphone").setAttribute("aria-pressed", "true");
    say("Microphone: listening");
  });
}

function hearRecording(name, read) {
  return start(name, async (own, options) => {
    const buffer = await decode(await read(), model.rate);
    if (own !== turn) return;
    $("stop").disabled = false;
    if ($("speed").checked) {
      const began = performance.now();
      playing = {};
      await hearAtOnce(buffer, options);
      const times = (1000 * buffer.duration) / (performance.now() - began);
      if (own !== turn) return;
      stop();
      return say(`${name}: heard ${buffer.duration.toFixed(1)} s, ${times.toFixed(0)} times as fast as it lasts`);
    }
    const context = new AudioContext({ sampleRate: model.rate });
    playing = { context };
    const source = new AudioBufferSourceNode(context, { buffer });
    await context.resume();
    const tell = (reading) => {
      options.tell(reading);
      if (!reading.ended || own !== turn) return;
      stop();
      say(`${name}: heard to its end`);
    };
    Object.assign(playing, await connect(context, source, { ...options, tell, played: true, length: buffer.length }));
    source.start();
    say(`${name}: playing`);
  });
}

// A name as one line; what cannot be seen, or turns the direction of writing, can.
function visible(name) {
  const code = (letter) => `\\u${letter.codePointAt(0).toString(16).padStart(4, "0")}`;
  return name.slice(0, 100).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, code);
}

function hearFile(file) {
  return hearRecording(visible(file.name), () => {
    if (file.size > MOST_BYTES) throw new Error("a file must have at most 128 MiB: cut it");
    return file.arrayBuffer();
  });
}

function chooseModel() {
  stop();
  model = data.models[$("model").value];
  model.module ??= unpack(toBytes(model.wasm)).then((bytes) => WebAssembly.compile(bytes));
  fill($("chip"), model.costs.map(({ target }) => target));
  $("forgetting").hidden = $("wearing").hidden = !model.forgets;
  $("speaking").hidden = !model.speech;
  const kilobytes = (model.bytes / 1000).toFixed(0);
  $("about").textContent = `${model.name}: ${kilobytes} kB of WebAssembly. Licence of the weights: ${model.licence}${model.use && `, ${model.use}`}. wav2small ${data.version}. Model ${model.digest.slice(0, 12)}.`;
  showCosts();
  begin();
}

function showCosts() {
  const cost = model.costs[$("chip").value];
  showFacts($("costs"), cost.facts);
  $("basis").textContent = cost.basis;
}

function save(name, type, parts) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// The last seconds of what was heard, a minute at most.
function lastSamples(seconds) {
  const count = Math.min(view.heard, seconds * model.rate);
  return Int16Array.from({ length: count }, (_, i) => kept[(view.heard - count + i) % kept.length]);
}

function saveSound() {
  const samples = lastSamples(KEPT_SECONDS);
  const head = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  write(0, "RIFF");
  head.setUint32(4, 36 + samples.byteLength, true);
  write(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, model.rate, true);
  head.setUint32(28, 2 * model.rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  write(36, "data");
  head.setUint32(40, samples.byteLength, true);
  save("heard.wav", "audio/wav", [head, samples]);
}

function saveScores() {
  const names = [...model.labels, ...model.labels.map((name) => `${name}_integer`)];
  const lines = rows.map((row) => row.map((value) => +value.toFixed(6)).join(","));
  save("scores.csv", "text/csv", [["seconds", ...names].join(","), "\n", lines.join("\n"), "\n"]);
}

function makeRows() {
  for (const name of model.labels) {
    const row = $("now").tBodies[0].insertRow();
    row.className = name;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    const meter = document.createElement("meter");
    meter.setAttribute("aria-label", name);
    row.append(head);
    row.insertCell();
    row.insertCell();
    row.insertCell().append(meter);
  }
}

makeRows();
fill($("model"), data.models.map(({ name }) => name));
fill($("voice"), data.voices.map(({ name }) => name));
$("model").addEventListener("change", chooseModel);
$("chip").addEventListener("change", showCosts);
for (const id of ["alone", "own", ...Object.keys(SLIDERS)]) $(id).addEventListener("input", showSettings);
$("microphone").addEventListener("click", hearMicrophone);
$("open").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) hearFile(file);
  $("file").value = ""; // so that the same file can be chosen again
});
$("play").addEventListener("click", () => {
  const voice = data.voices[$("voice").value];
  hearRecording(voice.name, () => toBytes(voice.data).buffer);
});
$("stop").addEventListener("click", () => {
  stop();
  say("Stopped");
});
$("calm").addEventListener("click", () => {
  calm = [];
  $("calm").disabled = true;
  $("calm").textContent = "Listening for four seconds\u2026";
});
$("anyone").addEventListener("click", () => {
  personal = [];
  $("anyone").disabled = true;
  say("The scores are those of anyone again");
  showSettings();
});
$("save").addEventListener("click", saveSound);
$("table").addEventListener("click", saveScores);
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("drop", kind === "dragover");
    const file = kind === "drop" && event.dataTransfer.files[0];
    if (file) hearFile(file);
  });
}
chooseModel();
showSettings();
