"""Corpora that are learned chapter by chapter, and by several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ears import Ear
from test_annotate_varied import ANNOTATE, FAST, content, corpus

from wav2small import checkpoint
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.clips import Clips, places
from wav2small.config import AugmentConfig, DistillConfig, VariationConfig
from wav2small.course import Corpus, Course, Dev, open_course
from wav2small.distillation import distill
from wav2small.errors import InputError
from wav2small.export.base.progress import Progress
from wav2small.finetune.parallel import Group, SharedBatchNorm2d, share_statistics
from wav2small.splits import chance_split

SHORT = 4 / 3600
"""Chapters of 4 s in hours, a part of the corpus of the tests."""

STILL = AugmentConfig(
    band_probability=0.0,
    room_probability=0.0,
    noise_probability=0.0,
    silence_probability=0.0,
    gain=0.0,
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    table = corpus(folder / "audio", 30)
    annotate([table], folder / "labels", Ear(), config=replace(ANNOTATE, shard_files=4))
    return folder / "labels"


def open_corpus(labels: Path, folder: Path, config: DistillConfig) -> Course:
    store = LabelStore.open(labels)
    corpus = Corpus(store, store.root, folder, config, [], Ear(), None)
    return open_course(corpus, None)


def test_chapters_hold_all_shards_once(labels):
    store = LabelStore.open(labels)
    chapters = store.chapters(SHORT)
    assert [path for part in chapters for path in part] == store.shards()
    read = [store.read(part) for part in chapters]
    lengths = [float(np.sum(part.ends - part.starts)) for part in read]
    assert min(lengths[:-1]) >= 4
    assert len(chapters) > 3
    assert store.chapters(1) == [store.shards()]


def test_each_step_of_chapters_is_a_batch_of_one_of_them(labels, tmp_path):
    config = replace(FAST, chapter_hours=SHORT, epochs=3, non_speech=0.0, augment=STILL)
    course = open_corpus(labels, tmp_path, config)
    store = LabelStore.open(labels)
    chapters = store.chapters(SHORT)
    steps = course.steps_per_epoch
    found: dict[tuple[int, int], list[int]] = {}
    for step in range(3 * steps):
        epoch, number, position = course.place(step)
        found.setdefault((epoch, number), []).append(position)
        signals, scores = course.make_batch(step)
        np.testing.assert_allclose(
            scores.numpy(), Ear().predict(list(signals.numpy())), rtol=1e-5, atol=1e-6
        )
        # never more than what is learned, what comes, what was, and the clips of dev
        assert len(list(tmp_path.iterdir())) <= 4
    course.close()
    assert set(found) == {(e, n) for e in range(3) for n in range(len(chapters))}
    for positions in found.values():
        assert positions == list(range(len(positions)))
    orders = [[n for e, n in found if e == epoch] for epoch in range(3)]
    assert len({tuple(order) for order in orders}) > 1


def test_held_out_speakers_and_test_rows_are_not_learned(labels, tmp_path):
    config = replace(FAST, chapter_hours=SHORT, dev_share=0.3)
    course = open_corpus(labels, tmp_path, config)
    store = LabelStore.open(labels)
    learned, tested = set(), set()
    for number, shards in enumerate(store.chapters(SHORT)):
        read = store.read(shards)
        speakers = np.array(read.metadata["speaker"])
        learned |= set(speakers[course.chapter(number).items])
        train, dev = chance_split(read, 0.3, 0, stated=False)
        assert not (train & dev).any()
        tested |= set(speakers[dev])
        assert not set(speakers[course.chapter(number).items]) & set(speakers[dev])
    course.close()
    assert learned
    assert tested
    assert not learned & tested
    assert "s14" not in learned | tested  # whose split is test
    assert len(course.dev.items) == len(course.dev.truth) > 2


def test_rows_that_are_stated_for_development_are_taken(labels):
    read = LabelStore.open(labels).read()
    read.metadata["split"][:] = ["dev"] * 5 + ["train"] * (len(read.names) - 5)
    train, dev = chance_split(read, 0.3, 0, stated=True)
    assert list(np.flatnonzero(dev)) == [0, 1, 2, 3, 4]
    assert (train == ~dev).all()


def test_the_share_of_speakers_is_as_asked():
    labels = type("Rows", (), {})()
    labels.names = [f"{i}.wav" for i in range(20_000)]
    labels.metadata = {"split": [None] * 20_000, "speaker": [None] * 20_000}
    _, dev = chance_split(labels, 0.1, 0, stated=False)
    assert dev.mean() == pytest.approx(0.1, abs=0.01)
    _, other = chance_split(labels, 0.1, 1, stated=False)
    assert (dev & other).mean() == pytest.approx(0.01, abs=0.005)


def test_a_run_by_chapters_repeats_and_resumes(labels, tmp_path):
    config = replace(FAST, chapter_hours=SHORT, evaluations=4)
    distill(labels, tmp_path / "whole", config, teacher=Ear())
    distill(labels, tmp_path / "again", config, teacher=Ear())

    def stop(stage: str, done: int, total: int, figures: object) -> None:
        if stage == "train" and done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(labels, tmp_path / "broken", config, teacher=Ear(), progress=stop)
    distill(labels, tmp_path / "broken", config, teacher=Ear(), resume=True)
    assert content(tmp_path / "whole") == content(tmp_path / "again")
    assert content(tmp_path / "whole") == content(tmp_path / "broken")
    assert {path.name for path in (tmp_path / "whole").iterdir()} == {"best", "last"}
    said = checkpoint.load(tmp_path / "whole" / "best")[1]["labels"]
    assert said["clips"] == len(LabelStore.open(labels))


def test_stored_scores_of_chapters_give_the_weights_of_online_teaching(
    labels, tmp_path
):
    config = replace(FAST, chapter_hours=SHORT)
    varied = VariationConfig(count=3, crop_seconds=0.3, chapter_hours=SHORT)
    root = LabelStore.open(labels).root
    options = replace(ANNOTATE, shard_files=4)
    annotate(
        [root / "m.csv"], tmp_path / "labels", Ear(), config=options, variations=varied
    )
    distill(labels, tmp_path / "online", config, teacher=Ear())
    distill(tmp_path / "labels", tmp_path / "stored", config)
    name = "last/model.safetensors"
    online, stored = (
        (tmp_path / run / name).read_bytes() for run in ("online", "stored")
    )
    assert online == stored


def test_a_chapter_without_audio_is_named(labels, tmp_path):
    config = replace(FAST, chapter_hours=SHORT)
    with pytest.raises(InputError, match=r"cannot be read below .*: pass --audio-root"):
        distill(labels, tmp_path / "run", config, teacher=Ear(), audio_root=tmp_path)


def test_another_process_waits_for_the_clips(labels, tmp_path):
    from threading import Thread

    store = LabelStore.open(labels)
    wanted = places(store.read(), store.root)
    found: list[int] = []

    def wait() -> None:
        clips, _ = Clips.decode(wanted, tmp_path / "clips", writes=False)
        found.append(len(clips))

    thread = Thread(target=wait)
    thread.start()
    assert found == []
    Clips.decode(wanted, tmp_path / "clips")
    thread.join(30)
    assert found == [len(wanted)]


# Several processes ------------------------------------------------------------

SCRIPT = """
    import os, sys
    sys.path[:0] = [{root!r}, {tests!r}]
    from pathlib import Path
    import torch
    from ears import Ear
    from test_course import note, shared
    from wav2small.distillation import distill

    torch.set_num_threads(1)
    folder = Path({folder!r})
    marker = folder / "killed"

    if os.environ["RANK"] == "1" and not marker.exists():
        from wav2small.distillation import _Distillation

        evaluate = _Distillation.evaluate

        def die(*arguments):
            if marker.exists():
                os._exit(9)
            marker.touch()
            return evaluate(*arguments)

        _Distillation.evaluate = die

    distill(
        Path({labels!r}), folder / "two", shared({hours!r}), teacher=Ear(), resume=True,
        progress=note(folder / "losses"),
    )
"""


def shared(hours: float) -> DistillConfig:
    """Without what each process draws for itself."""
    return replace(
        FAST,
        epochs=6,
        evaluations=4,
        non_speech=0.0,
        augment=STILL,
        chapter_hours=hours,
        # a faster one makes of the last bits of a sum other weights within ten steps
        learning_rate=2e-5,
    )


def note(path: Path) -> Progress:
    """Write down the losses of each step, the last time that it is done."""

    def progress(
        stage: str, done: int, total: int, figures: Mapping[str, float]
    ) -> None:
        if stage == "train":
            with path.open("a") as file:
                file.write(json.dumps([done, sorted(figures.items())]) + "\n")

    return progress


def losses(path: Path) -> np.ndarray:
    lines = dict(json.loads(line) for line in path.read_text().splitlines())
    return np.array([[value for _, value in lines[step]] for step in sorted(lines)])


@pytest.mark.slow
@pytest.mark.parametrize("hours", [24.0, SHORT])
def test_two_processes_train_as_one_though_one_is_killed(labels, tmp_path, hours):
    progress = note(tmp_path / "alone")
    distill(labels, tmp_path / "one", shared(hours), teacher=Ear(), progress=progress)
    script, tests = tmp_path / "script.py", Path(__file__).parent
    script.write_text(
        textwrap.dedent(SCRIPT).format(
            root=str(tests.parent),
            tests=str(tests),
            folder=str(tmp_path),
            labels=str(labels),
            hours=hours,
        )
    )
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *words, "--max-restarts", "1", str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "exitcode: 9" in done.stderr
    alone, together = losses(tmp_path / "alone"), losses(tmp_path / "losses")
    assert len(alone) == len(together) > 20
    np.testing.assert_allclose(together, alone, atol=1e-3)
    one, two = (checkpoint.load(tmp_path / run / "last") for run in ("one", "two"))
    for mine, other in zip(one[1]["history"], two[1]["history"], strict=True):
        assert mine["mean"] == pytest.approx(other["mean"], abs=2e-3)
    assert one[1]["labels"] == two[1]["labels"]
    for name, weight in one[0].items():
        np.testing.assert_allclose(two[0][name], weight, atol=2e-3, err_msg=name)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"best", "last"}


def test_statistics_are_shared_only_where_they_are_learned():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
    names = set(module.state_dict())
    share_statistics(module)
    assert type(module[1]) is SharedBatchNorm2d
    assert set(module.state_dict()) == names
    signal = torch.randn(3, 1, 2, 2)
    own = torch.nn.BatchNorm2d(2).eval()
    torch.testing.assert_close(
        module.eval()[1](module[0](signal)), own(module[0](signal))
    )


def test_processes_draw_their_own_noise():
    from wav2small.crops import step_rng

    draws = [step_rng(0, 5, Group(rank, 3)).random() for rank in range(3)]
    assert len(set(draws)) == 3
    assert step_rng(0, 5, Group()).random() == step_rng(0, 5).random()


def test_a_course_of_one_chapter_has_the_steps_of_before():
    course = Course(FAST, [7], lambda n: None, Dev([], np.zeros(0), np.zeros(0)), {}, 0)  # type: ignore[arg-type, return-value]
    assert [course.place(step) for step in (0, 6, 7, 20)] == [
        (0, 0, 0), (0, 0, 6), (1, 0, 0), (2, 0, 6)
    ]  # fmt: skip
