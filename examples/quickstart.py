import wav2small
from wav2small.bundled import DEMO  # or a folder, or a manifest, of your own speech

wav2small.annotate(DEMO, "labels")
config = wav2small.DistillConfig(student="wav2small-rt", epochs=10)
wav2small.distill("labels", "run", config=config)
wav2small.export_model("run", "model", calibration=DEMO)
report = wav2small.bench("model", targets=["generic-m4-64k"])
for window in wav2small.predict(DEMO.parent / "de_f2_p08_r103_031.opus", model="model"):
    print(window.start, window.end, window.kind, window.scores)
print(report.verdict)
