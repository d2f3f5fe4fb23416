"""bfloat16 arithmetic over float32 parameters."""

import copy
import pickle
import warnings

import pytest
import torch

from s2s_plugin.models.config import AttnRNNS2SConfig
from s2s_plugin.modules import precision
from s2s_plugin.modules.linear import Linear
from s2s_plugin.ops.int8 import SEVEN_BITS
from tests.models.builders import make_model

SOURCE, PREV = torch.tensor([[4, 9, 5, 2], [6, 2, 1, 1]]), torch.tensor([[2, 8, 4], [2, 12, 6]])


def twins(**options):
    """The same parameters in float32 and in bfloat16 arithmetic."""
    torch.manual_seed(41)
    exact, rounded = make_model(**options), make_model(compute_dtype="bfloat16", **options)
    rounded.load_state_dict(exact.state_dict())
    return exact, rounded


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_it_computes_in_bfloat16_and_learns_in_float32(cell):
    exact, rounded = twins(
        encoder_cell=cell, decoder_cell=cell, decoder_layers=2, share_decoder_input_output_embed=True
    )
    results = []
    for model in (exact, rounded):
        logits, extra = model(SOURCE, None, PREV)
        torch.log_softmax(logits.float(), dim=2)[:, :, 5].sum().backward()
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in model.parameters())
        assert extra["attn"][0].dtype == torch.float32
        results.append(logits)
    assert results[0].dtype == torch.float32 and results[1].dtype == torch.bfloat16
    torch.testing.assert_close(results[1].float(), results[0], rtol=0.02, atol=0.01)
    assert not torch.equal(results[1].float(), results[0])


def test_steps_see_new_weights_after_an_update():
    """fairseq's optimisers change `.data`, which torch does not count."""
    _, model = twins()
    encoder_out = model.eval().encoder(SOURCE)
    with torch.no_grad():
        model.decoder(PREV[:, :1], encoder_out=encoder_out, incremental_state={})
        model.train()
        for parameter in model.parameters():
            parameter.data.mul_(-2.0)
        model.eval()
        encoder_out = model.encoder(SOURCE)
        got, _ = model.decoder(PREV[:, :1], encoder_out=encoder_out, incremental_state={})
    expected, _ = model.decoder(PREV[:, :1], encoder_out=encoder_out)
    torch.testing.assert_close(got, expected)


def test_weights_are_cast_once_in_evaluation():
    linear, x = Linear(3, 4).eval(), torch.ones(1, 3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x).dtype == torch.bfloat16
        first = linear.cache.entry[1]
        y = linear(x)
        assert linear.cache.entry[1] is first
        linear.load_state_dict({name: x + 1 for name, x in linear.state_dict().items()})
        torch.testing.assert_close(linear(x), y + 4, rtol=0.02, atol=0.02)
        assert linear.cache.entry[1] is not first
    assert set(linear.state_dict()) == {"weight", "bias"}


def test_copies_of_a_model_that_has_translated():
    """What is kept of the weights, in a layout that torch cannot copy, stays behind."""
    _, model = twins()
    with torch.no_grad():
        expected, _ = model(SOURCE, None, PREV)
        for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(copied(SOURCE, None, PREV)[0], expected)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="unknown compute dtype 'float8': choose from float32, bfloat16, int8"):
        make_model(compute_dtype="float8")


def test_a_cpu_that_is_slower_in_bfloat16_is_warned_of(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="products in float32 are faster on this CPU"):
        make_model(compute_dtype="bfloat16")


def test_a_cpu_that_is_slower_in_eight_bits_computes_in_float32_and_says_so_once(monkeypatch):
    monkeypatch.setattr(precision, "int8_rows", lambda: None)
    precision._warn_of_float32.cache_clear()
    exact, stored = make_model(), make_model(compute_dtype="int8")
    stored.load_state_dict(exact.state_dict())
    with torch.no_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        expected, found, again = (model(SOURCE, None, PREV)[0] for model in (exact, stored, stored))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = stored(SOURCE, None, PREV)[0]
    messages = [str(one.message) for one in caught if "int8" in str(one.message)]
    assert len(messages) == 1 and messages[0].endswith("the model computes in float32")
    assert all(torch.equal(one, expected) for one in (found, again, inside))
    with pytest.raises(ValueError, match="--compute-dtype int8 is for translating"):
        stored(SOURCE, None, PREV)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_many_steps_equal_teacher_forcing(cell):
    """The attending layer hands its state on unrounded: 300 steps of a search end where teacher forcing does."""
    _, model = twins(decoder_cell=cell)
    prev = torch.randint(4, 13, (2, 300), generator=torch.Generator().manual_seed(42))
    model.decoder.decoder.first_layer.cells[0].hidden_proj.bias.data.add_(2.0)  # gates that remember
    with torch.no_grad():
        encoder_out, state = model.encoder(SOURCE), {}
        whole, _ = model.decoder(prev, encoder_out=encoder_out)
        for t in range(300):
            step, _ = model.decoder(prev[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
    torch.testing.assert_close(step[:, 0], whole[:, -1], rtol=0.02, atol=0.005)
    assert model.decoder.get_incremental_state(state, "decoder_state")["hidden"].dtype == torch.float32


def test_an_adaptive_softmax_gets_float32():
    model = make_model(compute_dtype="bfloat16", adaptive_softmax_cutoff="5,8")
    out = model(SOURCE, None, PREV)
    lprobs = model.get_normalized_probs(out, log_probs=True, sample={"target": PREV})
    assert lprobs.dtype == torch.float32 and lprobs.isfinite().all()


EIGHT_BITS = {
    "recurrent": {"attn_mode": "recurrent"},
    "conditional lstm": {"encoder_cell": "lstm", "decoder_cell": "lstm", "attn_mode": "conditional"},
    "parallel": {"attn_mode": "parallel"},
    "tanh": {"encoder_cell": "tanh", "decoder_cell": "tanh"},
    "norms": {"encoder_layer_norm": True, "decoder_layer_norm": True},
    "heads": {"attn_heads": 2, "encoder_bidirectional": True},
    "transitions": {"encoder_transition_depth": 2, "decoder_transition_depth": 2},
    "layers": {"encoder_layers": 2, "decoder_layers": 2, "decoder_residual": True},
    "maxout": {"decoder_readout": "maxout"},
    "shared": {"share_decoder_input_output_embed": True, "decoder_out_embed_dim": 4},
    "location": {"attn_location_filters": 2, "attn_location_width": 3},
    "without attention": {"decoder_attention": False, "attn_dim": AttnRNNS2SConfig().attn_dim},
}


@pytest.mark.parametrize("name", EIGHT_BITS)
def test_eight_bits_are_near_and_do_not_know_the_batch(name, monkeypatch):
    monkeypatch.setattr(precision, "int8_rows", lambda: SEVEN_BITS)  # which are right on all CPUs, and the coarser ones
    torch.manual_seed(84)
    exact, rounded = make_model(**EIGHT_BITS[name]), make_model(compute_dtype="int8", **EIGHT_BITS[name])
    rounded.load_state_dict(exact.state_dict())
    source, lengths = torch.tensor([[4, 9, 5, 2], [6, 2, 1, 1]]), torch.tensor([4, 2])
    prev = torch.tensor([[2, 8, 4], [2, 12, 6]])
    with torch.no_grad():
        expected, found = (model(source, lengths, prev)[0].log_softmax(dim=-1) for model in (exact, rounded))
        alone = rounded(source[1:, :2], lengths[1:], prev[1:])[0].log_softmax(dim=-1)
    assert 0 < (found - expected).abs().max() < 0.1
    torch.testing.assert_close(alone, found[1:], atol=5e-3, rtol=0)  # a rounding can fall otherwise


def test_eight_bits_do_not_train():
    model = make_model(compute_dtype="int8")
    batch = torch.tensor([[4, 9, 2]]), torch.tensor([3]), torch.tensor([[2, 8]])
    with pytest.raises(ValueError, match="--compute-dtype int8 is for translating: train in float32 or bfloat16"):
        model(*batch)
    with torch.no_grad(), pytest.raises(ValueError, match="--compute-dtype int8 is for CPUs, not meta"):
        precision.compute_in("int8", torch.device("meta"))


def test_eight_bits_inside_an_autocast():
    model = make_model(compute_dtype="int8")
    batch = SOURCE, torch.tensor([4, 2]), PREV
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = model(*batch)[0]
        torch.testing.assert_close(model(*batch)[0], inside)
