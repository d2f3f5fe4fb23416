"""What can be said about GPUs without one: on torch's `meta` device, whose tensors have no values, a step that reads a
value back to decide anything fails, as `.item()`, `.cpu()` and `nonzero()` would make it wait on a GPU."""

import contextlib

import pytest
import torch

from s2s_plugin.ops.cross_entropy import copy_cross_entropy, label_smoothed_cross_entropy
from tests.models.builders import make_model
from tests.models.test_attn_rnn_s2s import VARIANTS

PAD = 1


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """torch refuses to be asked for the autocast of `meta`."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda device, **options: contextlib.nullcontext())


def on_meta(dtype, **options):
    return make_model(**{"dropout": 0.1, **options}).to("meta", dtype)


def output_dtype(options, dtype):
    """Log-probabilities of a mixture are float32."""
    return torch.float32 if options.get("copy_attn") else dtype


def tokens(rows, columns):
    return torch.empty(rows, columns, dtype=torch.int64, device="meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["float32", "fp16", "bf16"])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_training_step_reads_no_value_back(options, dtype):
    model = on_meta(dtype, **options).train()
    target = tokens(3, 4)
    features, extra = model(tokens(3, 5), None, target, features_only=True)
    output = model.decoder.output_weight, model.decoder.output_bias
    if "copying" in extra:
        gen_logit, source = extra["copying"]
        loss, nll_loss = copy_cross_entropy(features, *output, target, 0.1, PAD, gen_logit, extra["attn"][0], source)
    else:
        loss, nll_loss = label_smoothed_cross_entropy(features.flatten(0, 1), *output, target.view(-1), 0.1, PAD)
    loss.backward()
    assert features.dtype == dtype
    assert loss.dtype == nll_loss.dtype == torch.float32
    assert extra["attn"] is None or extra["attn"][0].dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == dtype for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["float32", "fp16", "bf16"])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_step_of_a_search_reads_no_value_back(options, dtype):
    model = on_meta(dtype, **options).eval()
    order, state = torch.empty(6, dtype=torch.int64, device="meta"), {}
    with torch.no_grad():
        encoder_out = model.encoder.reorder_encoder_out(model.encoder(tokens(3, 5)), order)
        for length in (1, 2):
            logits, _ = model.decoder(tokens(6, length), encoder_out=encoder_out, incremental_state=state)
            model.decoder.reorder_incremental_state(state, order)
            encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
    assert logits.shape == (6, 1, 13) and logits.dtype == output_dtype(options, dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_model_in_half_precision_translates_step_by_step(options, dtype):
    """As `fairseq-generate --fp16` makes it; on the CPU, where there are values."""
    torch.manual_seed(71)
    model = make_model(**options).to(dtype)
    source, prev = torch.tensor([[4, 9, 5, 2], [6, 2, 1, 1]]), torch.tensor([[2, 8, 4], [2, 12, 6]])
    with torch.no_grad():
        expected, _ = model(source, None, prev)
        encoder_out, state = model.encoder(source), {}
        for t in range(prev.size(1)):
            logits, _ = model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
            torch.testing.assert_close(logits[:, 0], expected[:, t], rtol=0.02, atol=0.01)
    assert logits.dtype == output_dtype(options, dtype)


def test_such_a_reading_is_noticed():
    with pytest.raises((RuntimeError, NotImplementedError)):
        tokens(3, 5).sum().item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        tokens(3, 5).nonzero()
