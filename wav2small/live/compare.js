// What onnxruntime says of the same samples: from a second file that the user opens.

class Runtime {
  constructor({ digest }) {
    this.digest = digest;
    this.instances = new Map();
  }

  // Take the second file of this page, and no other: what is in it is run.
  async open(file) {
    if (!crypto.subtle) throw new Error("this browser checks files in pages from https, localhost or a file alone");
    const packed = file.size > MOST_BYTES ? new ArrayBuffer(0) : await file.arrayBuffer();
    const found = new Uint8Array(await crypto.subtle.digest("SHA-256", packed));
    const digest = [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (digest !== this.digest) throw new Error(`it must be the ${data.runtime.file} that was made with this page, its checksum is another`);
    const content = await unpack(new Uint8Array(packed));
    const end = content.indexOf(10);
    const text = (bytes) => new TextDecoder().decode(bytes);
    this.parts = {};
    let at = end + 1;
    for (const [name, length] of Object.entries(JSON.parse(text(content.subarray(0, end))))) {
      this.parts[name] = content.subarray(at, (at += length));
    }
    const code = encodeURIComponent(text(this.parts.script));
    this.onnxruntime = await import(`data:text/javascript,${code}`);
    this.onnxruntime.env.wasm.numThreads = 1;
    this.onnxruntime.env.wasm.wasmBinary = this.parts.wasm;
  }

  // Scores of samples by the C and by onnxruntime, both from the first sample on.
  async compare(model, samples) {
    if (!this.instances.has(model)) this.instances.set(model, await this.prepare(model));
    const { code, session } = this.instances.get(model);
    const floats = Float32Array.from(samples, (value) => value / 32768);
    const signal = new this.onnxruntime.Tensor("float32", floats, [1, floats.length]);
    const { logits } = await session.run({ signal });
    return [this.hear(model, code, samples), [...logits.data]];
  }

  async prepare(model) {
    const instance = await WebAssembly.instantiate(await model.module);
    // as the reference computes: a rewritten graph rounds elsewhere
    const options = { graphOptimizationLevel: "disabled", executionProviders: ["wasm"] };
    const session = await this.onnxruntime.InferenceSession.create(this.parts[model.digest], options);
    return { code: instance.exports, session };
  }

  hear(model, code, samples) {
    const held = new Int16Array(code.memory.buffer, code.samples(), code.capacity());
    // one that normalises measures the level of all of it first
    held.set(samples.subarray(0, held.length));
    code.begin(samples.length);
    code.forget?.(0);
    code.listen?.(0);
    for (let at = 0; at < samples.length; at += held.length) {
      const part = samples.subarray(at, at + held.length);
      held.set(part);
      code.push(0, part.length);
    }
    if (code.result()) return null;
    const integers = new Int32Array(code.memory.buffer, code.integers(), model.labels.length);
    return [...integers].map((value) => (value - model.zeroPoint) * model.step);
  }
}

{
  const runtime = new Runtime(data.runtime);
  let on = false;
  let wanted = false;
  let busy = false;
  let count = 0;
  let worst = 0;

  const toggle = (now) => {
    on = now;
    $("compared").hidden = !on;
    $("compare").setAttribute("aria-pressed", on);
    if (on) compare();
  };

  const showScores = (ours, theirs) => {
    model.labels.forEach((name, i) => {
      const cells = $("compared").querySelector("tbody").rows[i].cells;
      write(cells[1], ours[i].toFixed(6));
      write(cells[2], theirs[i].toFixed(6));
      write(cells[3], Math.abs(ours[i] - theirs[i]).toExponential(1));
      worst = Math.max(worst, Math.abs(ours[i] - theirs[i]));
    });
    count++;
    write($("difference"), `Largest difference of ${count} comparisons: ${worst.toExponential(1)}. Plain onnxruntime ${data.runtime.version}, its rewriting of graphs switched off.`);
    document.dispatchEvent(new CustomEvent("compared", { detail: { ours, theirs } }));
  };

  const compare = async () => {
    wanted = true;
    if (busy) return;
    busy = true;
    try {
      while (wanted && on) {
        wanted = false;
        const samples = lastSamples(4);
        const [ours, theirs] = samples.length ? await runtime.compare(model, samples) : [];
        if (ours) showScores(ours, theirs);
      }
    } catch (error) {
      toggle(false);
      say(`onnxruntime: ${error.message}`, true);
    }
    busy = false;
  };

  for (const name of model.labels) {
    const row = $("compared").querySelector("tbody").insertRow();
    row.className = name;
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = name;
    row.append(head);
    for (let cell = 0; cell < 3; cell++) row.insertCell();
  }
  $("compare").addEventListener("click", () => (runtime.parts ? toggle(!on) : $("runtime").click()));
  $("runtime").addEventListener("change", async () => {
    const [file] = $("runtime").files;
    $("runtime").value = "";
    if (!file) return;
    try {
      say(`${visible(file.name)}: opening\u2026`);
      await runtime.open(file);
      say(`onnxruntime ${data.runtime.version} hears the same`);
      toggle(true);
    } catch (error) {
      say(`${visible(file.name)}: ${error.message}`, true);
    }
  });
  $("model").addEventListener("change", () => {
    count = worst = 0;
  });
  document.addEventListener("reading", ({ detail: { heard, ended, samples } }) => {
    if (on && (ended || heard % model.rate < samples.length)) compare();
  });
}
