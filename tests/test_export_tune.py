from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.checks import agreement, parity
from wav2small.export.model.topology import Topology
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.scales import measure_scales, weight_limits
from wav2small.export.quantise.steps import prepare_to_quantise
from wav2small.export.quantise.tune import TuneConfig, _Trained, tune
from wav2small.export.quantise.write import write_quantised

SHORT = TuneConfig(steps=12, batch_size=4, crop_seconds=0.1)


@pytest.fixture(scope="module", params=["wav2small", "wav2small-17k"])
def student(request):
    """Prepared student with 4 bits wherever it hurts, its plan and scales."""
    config = QuantConfig(four_bit_layers=11)
    model, plan = prepare_to_quantise(exported(request.param), config)
    return model, plan, measure_scales(model, plan, clips(8, 0)), config


@pytest.fixture(scope="module")
def tuned(student):
    model, plan, scales, config = student
    return tune(model, plan, scales, list(clips(16, 1)), SHORT, config)


def test_the_exported_file_computes_what_was_trained(student, tuned):
    _, plan, _, config = student
    model, scales = tuned
    trained = _Trained(model, plan, scales, weight_limits(model, plan, config))
    for name, scale in scales.items():  # weights start from trained steps, not anew
        trained.logarithms[name].data = torch.log(torch.tensor(scale.scale))
    signals = list(clips(24, 2))
    with torch.no_grad():
        expected = torch.cat(
            [
                trained.run_rounded(trained.run_float(torch.from_numpy(x)[None]))[
                    trained.output
                ]
                for x in signals
            ]
        ).numpy()
    written = write_quantised(model, plan, scales, config)
    for execution in parity.EXECUTIONS:
        actual = parity.scores(written, signals, execution)
        errors = np.abs(actual - expected).max(axis=1)
        # The two agree to float32's last digits, except for a signal in which a value
        # lies half way between two steps: which way it falls depends on the processor,
        # and so does where tuning ends. A wrong formula is wrong in all signals.
        assert (errors < 1e-6).sum() >= len(signals) // 2
        assert errors.max() < agreement.LARGEST_SCORE_ERROR


def test_it_loses_less_than_rounding_alone(student, tuned):
    model, plan, scales, config = student
    signals = list(clips(24, 3))
    truth = parity.scores(model, signals)
    errors = [
        np.abs(parity.scores(write_quantised(*form, config), signals) - truth).mean()
        for form in ((model, plan, scales), (tuned[0], plan, tuned[1]))
    ]
    assert errors[1] < 0.9 * errors[0]


def test_only_planned_weights_change(student, tuned):
    model, plan, scales, _ = student
    old, new = Topology(model), Topology(tuned[0])
    learned = {
        name
        for layer in plan.layers
        for name in old.nodes[layer.node].input[1:3]
        if name in old.initializers
    }
    changed = {
        name
        for name in old.initializers
        if not np.array_equal(old.array(name), new.array(name))
    }
    assert changed and changed <= learned
    assert set(tuned[1]) == {*plan.measured, *(layer.weight for layer in plan.layers)}
    for name in plan.measured:
        assert tuned[1][name].zero_point == scales[name].zero_point


def test_silent_channels_stay_silent(student, tuned):
    """Padded channels must not come alive, or the zeros would have to be stored."""
    old, new = Topology(student[0]), Topology(tuned[0])
    padded = [name for name in old.initializers if name.endswith("/padded/1")]
    assert padded
    for name in padded:
        np.testing.assert_array_equal(new.array(name)[old.array(name) == 0], 0)


def test_same_seed_same_weights(student, tuned):
    model, plan, scales, config = student
    again = tune(model, plan, scales, list(clips(16, 1)), SHORT, config)
    assert again[0].SerializeToString(deterministic=True) == tuned[0].SerializeToString(
        deterministic=True
    )
    other = tune(
        model, plan, scales, list(clips(16, 1)), replace(SHORT, seed=1), config
    )
    assert other[0].SerializeToString(deterministic=True) != tuned[0].SerializeToString(
        deterministic=True
    )


def test_progress_and_short_signals(student):
    model, plan, scales, config = student
    seen = []
    tune(
        model,
        plan,
        scales,
        [np.full(500, 0.1, np.float32) * np.sin(np.arange(500, dtype=np.float32))],
        replace(SHORT, steps=2),
        config,
        lambda *report: seen.append(report),
    )
    assert [report[:3] for report in seen] == [("tune", 1, 2), ("tune", 2, 2)]
    assert all(report[3]["loss"] >= 0 for report in seen)


def test_a_diverging_run_is_refused(student):
    model, plan, scales, config = student
    wild = replace(SHORT, learning_rate=1e30)
    with pytest.raises(ExportError, match="tuning must stay finite, got nan at step 1"):
        tune(model, plan, scales, list(clips(2, 0)), wild, config)


def test_signals_that_touch_each_other_are_refused():
    """A model that normalises over the batch scores a batch otherwise."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, T] x) => (float[1, 3] y) {
            mean = ReduceMean<keepdims=1>(x)
            c = Sub(x, mean)
            u = Unsqueeze(c, axes)
            z = Conv(u, w)
            y = ReduceMean<axes=[2], keepdims=0>(z)
        }"""
    )
    for name, value in {
        "axes": np.array([1]),
        "w": np.random.default_rng(0).standard_normal((3, 1, 5)).astype(np.float32),
    }.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    prepared, plan = prepare_to_quantise(model)
    signals = [clip + index for index, clip in enumerate(clips(8, 0))]
    scales = measure_scales(prepared, plan, signals)
    with pytest.raises(ExportError, match="each signal of a batch as it does alone"):
        tune(prepared, plan, scales, signals, SHORT)
