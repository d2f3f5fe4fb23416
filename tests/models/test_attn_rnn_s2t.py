"""From speech to text: a recording's answer depends on nothing else, steps equal teacher forcing, CTC by hand."""

from argparse import Namespace
from itertools import product
from types import SimpleNamespace

import pytest
import torch

from s2s_plugin.criterions.label_smoothed_cross_entropy import AttnLabelSmoothedCrossEntropyCriterion
from s2s_plugin.models.attn_rnn_s2t import AttnRNNS2TModel
from tests.models.builders import make_dictionary

FEATURES, LENGTHS = 5, (23, 9, 4)
VARIANTS = {
    "convolutions": {},
    "location, pyramid, deep decoder": {
        "encoder_conv_channels": "2",
        "encoder_layers": 3,
        "encoder_halvings": 1,
        "encoder_bidirectional": True,
        "attn_location_filters": 2,
        "attn_location_width": 3,
        "decoder_layers": 2,
    },
    "coverage, parallel, no convolutions": {
        "encoder_conv_channels": "0",
        "attn_mode": "parallel",
        "coverage_attn": True,
        "share_decoder_input_output_embed": True,
    },
}


def make_speech_model(**options):
    torch.manual_seed(81)
    task = SimpleNamespace(source_dictionary=None, target_dictionary=make_dictionary(4))
    sizes = {"encoder_hidden_size": 4, "decoder_embed_dim": 4, "decoder_hidden_size": 6, "attn_dim": 5, "dropout": 0.0}
    defaults = {"encoder_conv_channels": "3,2", "input_feat_per_channel": FEATURES, "input_channels": 1}
    return AttnRNNS2TModel.build_model(Namespace(**{**sizes, **defaults, **options}), task).double().eval()


def make_sample():
    torch.manual_seed(82)
    frames = torch.randn(len(LENGTHS), max(LENGTHS), FEATURES, dtype=torch.float64)
    prev = torch.tensor([[2, 4, 5, 6], [2, 7, 1, 1], [2, 6, 6, 1]])
    return frames, torch.tensor(LENGTHS), prev


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recording_alone_equals_itself_in_a_batch(variant):
    model, (frames, lengths, prev) = make_speech_model(**VARIANTS[variant]), make_sample()
    logits, extra = model(frames, lengths, prev)
    for row, length in enumerate(LENGTHS):
        alone, alone_extra = model(frames[row : row + 1, :length], lengths[row : row + 1], prev[row : row + 1])
        torch.testing.assert_close(logits[row], alone[0])
        steps = alone_extra["attn"][0].size(2)
        torch.testing.assert_close(extra["attn"][0][row, :, :steps], alone_extra["attn"][0][0])
        assert extra["attn"][0][row, :, steps:].eq(0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_equal_teacher_forcing_and_rows_can_be_moved(variant):
    model, (frames, lengths, prev) = make_speech_model(**VARIANTS[variant]), make_sample()
    expected, _ = model(frames, lengths, prev)
    order = torch.tensor([2, 0, 1])
    encoder_out, state = model.encoder(frames, lengths), {}
    for t in range(prev.size(1)):
        if t == 2:
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
            model.decoder.reorder_incremental_state(state, order)
            expected, prev = expected[order], prev[order]
        logits, _ = model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
        torch.testing.assert_close(logits[:, 0], expected[:, t])


def make_criterion(**options):
    task = SimpleNamespace(target_dictionary=make_dictionary(4), cfg=None)
    return AttnLabelSmoothedCrossEntropyCriterion(task, False, 0.1, **options)


def test_the_ctc_loss_is_the_sum_over_all_paths():
    """Of two recordings of four and of three steps, against every path that reads as the target."""
    model = make_speech_model(encoder_ctc=True, encoder_conv_channels="2")
    frames, lengths = torch.randn(2, 8, FEATURES, dtype=torch.float64), torch.tensor([8, 5])
    target = torch.tensor([[4, 5, 2], [6, 2, 1]])
    net_input = {"src_tokens": frames, "src_lengths": lengths, "prev_output_tokens": target}
    sample = {"net_input": net_input, "target": target, "ntokens": 5}
    _, extra = model(**net_input)
    lprobs, steps = extra["ctc"]
    assert steps.tolist() == [4, 3]
    total = 0.0
    for row, labels in enumerate(([4, 5], [6])):
        paths = 0.0
        for path in product(range(lprobs.size(2)), repeat=int(steps[row])):
            merged = [symbol for k, symbol in enumerate(path) if k == 0 or symbol != path[k - 1]]
            if [symbol for symbol in merged if symbol != 0] == labels:
                paths += float(sum(lprobs[row, s, symbol] for s, symbol in enumerate(path)).exp())
        total -= torch.tensor(paths).log().item()
    plain, _, _ = make_criterion()(make_without_ctc(model), sample)
    loss, _, log = make_criterion(ctc_weight=0.3)(model, sample)
    assert float(log["ctc_loss"]) * 0.6931472 == pytest.approx(total, rel=1e-4)
    assert float(loss) == pytest.approx(0.7 * float(plain) + 0.3 * total, rel=1e-4)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_an_ignored_prefix_is_no_label():
    model = make_speech_model(encoder_ctc=True, encoder_conv_channels="2")
    frames, lengths = torch.randn(1, 12, FEATURES, dtype=torch.float64), torch.tensor([12])
    target = torch.tensor([[7, 4, 5, 2]])
    net_input = {"src_tokens": frames, "src_lengths": lengths, "prev_output_tokens": target}
    sample = {"net_input": net_input, "target": target, "ntokens": 4}
    _, _, log = make_criterion(ctc_weight=0.3, ignore_prefix_size=1)(model, sample)
    _, _, expected = make_criterion(ctc_weight=0.3)(model, {**sample, "target": target[:, 1:]})
    torch.testing.assert_close(log["ctc_loss"], expected["ctc_loss"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frames_of_another_dtype_are_taken_as_the_parameters(dtype):
    """As where fairseq-generate halves the model and not the frames."""
    model, (frames, lengths, prev) = make_speech_model(encoder_ctc=True).to(dtype), make_sample()
    logits, extra = model(frames.float(), lengths, prev)
    assert logits.isfinite().all() and extra["ctc"][0].dtype == torch.float32


def make_without_ctc(model):
    without = make_speech_model(encoder_conv_channels="2")
    state = {name: value for name, value in model.state_dict().items() if "ctc_proj" not in name}
    without.load_state_dict(state)
    return without


def test_a_target_that_is_too_long_for_its_recording_does_no_harm():
    model = make_speech_model(encoder_ctc=True)
    target = torch.tensor([[4, 5, 6, 7, 4, 5, 2]])
    net_input = {
        "src_tokens": torch.randn(1, 4, FEATURES, dtype=torch.float64),
        "src_lengths": torch.tensor([4]),
        "prev_output_tokens": target,
    }
    loss, _, _ = make_criterion(ctc_weight=0.3)(model, {"net_input": net_input, "target": target, "ntokens": 7})
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
