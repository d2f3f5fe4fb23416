"""The model as fairseq's generator and trainer use it."""

import io

import pytest
import torch

from s2s_plugin.models.build import build_copy_map
from s2s_plugin.models.presets import PRESETS
from s2s_plugin.modules.first_layer import FIRST_LAYERS
from tests.models.builders import make_dictionary, make_model, make_task, preset

PAD, EOS = 1, 2
SOURCES = [[4, 9, 5, 7, EOS], [6, 6, EOS], [10, EOS]]
PREV = torch.tensor([[EOS, 8, 4, 5], [EOS, 12, 12, 6], [EOS, 4, 4, 4]])

VARIANTS = {
    "default": {},
    "bidirectional": {"encoder_bidirectional": True},
    "deep gru": {"encoder_layers": 2, "decoder_layers": 3, "encoder_cell": "gru", "decoder_cell": "gru"},
    "mixed cells, mean bridge": {"encoder_cell": "tanh", "decoder_bridge": "mean", "decoder_layers": 2},
    "zero bridge": {"decoder_bridge": "zero"},
    "conditional, deep transitions, norms": {
        "attn_mode": "conditional",
        "encoder_layer_norm": True,
        "decoder_layer_norm": True,
        "decoder_cell": "gru",
        "encoder_transition_depth": 2,
        "decoder_transition_depth": 2,
        "encoder_bidirectional": True,
    },
    "heads, normed, residual, maxout": {
        "attn_heads": 3,
        "attn_dim": 9,
        "attn_energy": "normed",
        "encoder_layers": 3,
        "decoder_layers": 3,
        "encoder_residual": True,
        "decoder_residual": True,
        "decoder_readout": "maxout",
        "decoder_context": "first",
    },
    "parallel heads, linear": {"attn_mode": "parallel", "attn_heads": 3, "attn_dim": 9, "decoder_readout": "linear"},
    "coverage and copying": {"coverage_attn": True, "copy_attn": True},
    "coverage, parallel heads, copying, deep": {
        "attn_mode": "parallel",
        "attn_heads": 3,
        "attn_dim": 9,
        "coverage_attn": True,
        "copy_attn": True,
        "decoder_layers": 2,
    },
    "coverage, conditional": {"attn_mode": "conditional", "coverage_attn": True},
    "location": {"attn_location_filters": 2, "attn_location_width": 3},
    "location, coverage, parallel heads": {
        "attn_mode": "parallel",
        "attn_heads": 3,
        "attn_dim": 9,
        "attn_location_filters": 2,
        "coverage_attn": True,
    },
    "no attention": {"decoder_attention": "0", "attn_dim": None, "decoder_layers": 2},
    **{name: {**preset(name), "dropout": 0.0} for name in PRESETS},
}


def pad(sources, side="right"):
    size = max(map(len, sources))
    rows = [s + [PAD] * (size - len(s)) if side == "right" else [PAD] * (size - len(s)) + s for s in sources]
    return torch.tensor(rows)


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    torch.manual_seed(22)
    return make_model(**request.param).double()


def test_alone_equals_in_a_batch_on_either_side(model):
    right, extra_right = model(pad(SOURCES), None, PREV)
    left, extra_left = model(pad(SOURCES, "left"), None, PREV)
    torch.testing.assert_close(left, right)
    for row, source in enumerate(SOURCES):
        alone, extra = model(torch.tensor([source]), None, PREV[row : row + 1])
        torch.testing.assert_close(right[row], alone[0])
        if extra["attn"] is not None:
            size = len(source)
            torch.testing.assert_close(extra_right["attn"][0][row, :, :size], extra["attn"][0][0])
            torch.testing.assert_close(extra_left["attn"][0][row, :, -size:], extra["attn"][0][0])
            assert extra_right["attn"][0][row, :, size:].eq(0).all()


def test_steps_equal_teacher_forcing(model):
    expected, expected_extra = model(pad(SOURCES), None, PREV)
    encoder_out, state = model.encoder(pad(SOURCES)), {}
    for t in range(PREV.size(1)):
        logits, extra = model.decoder(PREV[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
        assert logits.size(1) == 1
        torch.testing.assert_close(logits[:, 0], expected[:, t])
        if extra["attn"] is not None:
            torch.testing.assert_close(extra["attn"][0][:, 0], expected_extra["attn"][0][:, t])


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 0, 2], [1], [0, 1, 2], [2, 2, 1, 0, 0]])
def test_reorder_then_step_is_step_then_reorder(model, order):
    """Any order: beams that move within their sentence, rows that leave, rows that change places."""
    order = torch.tensor(order)
    encoder_out, state = model.encoder(pad(SOURCES)), {}
    model.decoder(PREV[:, :1], encoder_out=encoder_out, incremental_state=state)
    after, _ = model.decoder(PREV[:, :2], encoder_out=encoder_out, incremental_state=dict(state))
    moved = model.encoder.reorder_encoder_out(encoder_out, order)
    model.decoder.reorder_incremental_state(state, order)
    before, _ = model.decoder(PREV[order, :2], encoder_out=moved, incremental_state=state)
    torch.testing.assert_close(before, after[order])


@pytest.mark.parametrize("beams", [[0, 0, 0, 1, 1, 1, 2, 2, 2], [2, 0, 0], [1, 1]])
def test_beams_begin_as_their_sentences_do(model, beams):
    beams = torch.tensor(beams)
    encoder_out, alone, state = model.encoder(pad(SOURCES)), {}, {}
    together = model.encoder.reorder_encoder_out(encoder_out, beams)
    for t in range(2):
        expected, _ = model.decoder(PREV[:, : t + 1], encoder_out=encoder_out, incremental_state=alone)
        found, _ = model.decoder(PREV[beams, : t + 1], encoder_out=together, incremental_state=state)
        torch.testing.assert_close(found, expected[beams])


def test_the_memory_is_projected_once_a_sentence():
    model, beams, rows = make_model(), torch.tensor([0, 0, 1, 1, 2, 2]), []
    model.decoder.decoder.first_layer.attention.key_proj.register_forward_hook(lambda _, x, y: rows.append(len(x[0])))
    encoder_out = model.encoder.reorder_encoder_out(model.encoder(pad(SOURCES)), beams)
    model.decoder(PREV[beams, :1], encoder_out=encoder_out, incremental_state={})
    assert rows == [3]


def test_what_belongs_to_sentences_is_not_copied_when_beams_move():
    model = make_model()
    beams = torch.tensor([0, 0, 1, 1, 2, 2])
    encoder_out, state = model.encoder.reorder_encoder_out(model.encoder(pad(SOURCES)), beams), {}
    prev = PREV[beams]
    model.decoder(prev[:, :1], encoder_out=encoder_out, incremental_state=state)
    within = torch.tensor([1, 1, 2, 3, 5, 4])
    keys = model.decoder.get_incremental_state(state, "decoder_state")["keys"]
    assert model.encoder.reorder_encoder_out(encoder_out, within) is encoder_out
    model.decoder.reorder_incremental_state(state, within)
    assert model.decoder.get_incremental_state(state, "decoder_state")["keys"] is keys
    model.decoder.reorder_incremental_state(state, torch.tensor([0, 1, 4, 5]))
    assert model.decoder.get_incremental_state(state, "decoder_state")["keys"].size(0) == 4


def test_attention_is_given_while_training():
    model = make_model().train()
    _, extra = model(pad(SOURCES), None, PREV)
    assert extra["attn"][0].shape == (3, 4, 5) and extra["attn"][0].requires_grad


def test_state_dict_round_trip(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    expected, _ = model(pad(SOURCES), None, PREV)
    for parameter in model.parameters():
        parameter.data.add_(1.0)
    model.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(model(pad(SOURCES), None, PREV)[0], expected)


def test_every_parameter_learns(model):
    model.train()
    logits, extra = model(pad(SOURCES), None, PREV)
    torch.log_softmax(logits, dim=2)[:, :, 5].sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or p.grad.eq(0).all()]


def test_shared_embeddings_are_one_tensor():
    joint = make_dictionary(8)
    sizes = {"encoder_embed_dim": 4, "decoder_embed_dim": 4}
    tied = make_model(make_task(joint, joint), share_all_embeddings=True, **sizes)
    assert tied.encoder.embed_tokens is tied.decoder.embed_tokens
    assert tied.decoder.output_weight is tied.encoder.embed_tokens.weight
    output = make_model(share_decoder_input_output_embed=True)
    assert output.decoder.output_weight is output.decoder.embed_tokens.weight
    assert make_model().decoder.output_weight is not make_model().decoder.embed_tokens.weight


def test_dropout_options_reach_their_places():
    general = make_model(dropout=0.3)
    places = [general.encoder.dropout_in, general.encoder.encoder.dropout, general.decoder.dropout_in]
    places += [general.decoder.decoder.dropout, general.decoder.decoder.readout_dropout]
    assert {place.p for place in places} == {0.3}
    special = make_model(
        dropout=0.3, encoder_dropout_in=0.0, encoder_dropout_out=0.1, decoder_dropout_in=0.2, decoder_dropout_out=0.4
    )
    assert special.encoder.dropout_in.p == 0.0
    assert special.encoder.encoder.dropout.p == 0.1
    assert special.decoder.dropout_in.p == 0.2
    assert special.decoder.decoder.dropout.p == 0.4


def test_options_of_regularisation_reach_their_places():
    model = make_model(
        dropout=0.3, encoder_word_dropout=0.1, decoder_word_dropout=0.2, encoder_dropout_hidden=0.15,
        decoder_dropout_hidden=0.25, decoder_dropout_readout=0.35, attn_dropout=0.45, variational_dropout=True,
        decoder_layers=2,
    )  # fmt: skip
    encoder, decoder = model.encoder.encoder, model.decoder.decoder
    assert (model.encoder.word_dropout.p, model.encoder.word_dropout.shared_dim) == (0.1, 2)
    assert (model.decoder.word_dropout.p, model.decoder.word_dropout.shared_dim) == (0.2, 2)
    assert {layer.kind.dropout for layer in encoder.forward_layers} == {0.15}
    assert decoder.first_layer.kind.dropout == decoder.upper_layers[0].kind.dropout == 0.25
    assert (decoder.readout_dropout.p, decoder.dropout.p, decoder.first_layer.attention.dropout) == (0.35, 0.3, 0.45)
    assert model.encoder.dropout_in.shared_dim == model.decoder.dropout_in.shared_dim == encoder.dropout.shared_dim == 1
    assert decoder.dropout.shared_dim == decoder.readout_dropout.shared_dim == 0
    assert make_model(dropout=0.3).decoder.decoder.readout_dropout.p == 0.3


def test_options_of_structure_reach_their_places():
    model = make_model(
        encoder_layers=2, decoder_layers=2, encoder_layer_norm=True, encoder_transition_depth=3,
        decoder_transition_depth=2, encoder_residual=True, decoder_residual=True, attn_heads=2, attn_energy="normed",
        decoder_context="first", decoder_readout="maxout",
    )  # fmt: skip
    encoder, decoder = model.encoder.encoder, model.decoder.decoder
    assert [len(layer.cells) for layer in encoder.forward_layers] == [3, 3] and encoder.kind.layer_norm
    assert isinstance(decoder.first_layer, FIRST_LAYERS["conditional"])
    assert len(decoder.first_layer.cells) == 1 + 2 and len(decoder.upper_layers[0].cells) == 2
    assert not decoder.first_layer.kind.layer_norm
    assert encoder.residual and decoder.residual and not decoder.feeds_context
    assert decoder.first_layer.attention.length.shape == (2, 1) and decoder.first_layer.attention.value_proj is not None
    assert decoder.readout.kind == "maxout"
    for mode in ("recurrent", "parallel"):
        assert type(make_model(attn_mode=mode).decoder.decoder.first_layer) is FIRST_LAYERS[mode]
    assert make_model(decoder_layer_norm=True).decoder.decoder.first_layer.kind.layer_norm


@pytest.mark.parametrize(
    "option",
    [
        "dropout", "encoder_dropout_in", "encoder_dropout_out", "encoder_dropout_hidden", "encoder_word_dropout",
        "decoder_dropout_in", "decoder_dropout_out", "decoder_dropout_readout", "decoder_dropout_hidden",
        "decoder_word_dropout", "attn_dropout",
    ],
)  # fmt: skip
def test_every_dropout_drops_in_training_alone(option):
    torch.manual_seed(23)
    model = make_model(**{"dropout": 0.0, option: 0.5})
    quiet = [model(pad(SOURCES), None, PREV)[0] for _ in range(2)]
    torch.testing.assert_close(*quiet, rtol=0, atol=0)
    model.train()
    assert not torch.equal(*(model(pad(SOURCES), None, PREV)[0] for _ in range(2)))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_initialisation_of_what_is_done_with_the_state(layer_norm):
    model = make_model(
        encoder_cell="lstm",
        hidden_init="orthogonal",
        forget_gate_bias=5.0,
        encoder_layer_norm=layer_norm,
        decoder_cell="gru",
    )
    layer, cell = model.encoder.encoder.forward_layers[0], model.decoder.decoder.first_layer.cells[0]
    weight = layer.cells[0].hidden_proj.weight if layer_norm else layer.weight_hh_l0
    bias = layer.cells[0].hidden_proj.bias if layer_norm else layer.bias_hh_l0
    for block in (*weight.chunk(4), *cell.hidden_proj.weight.chunk(3)):
        torch.testing.assert_close(block @ block.t(), torch.eye(len(block)))
    assert bias[6:12].ge(4.9).all() and bias[:6].le(0.1).all() and bias[12:].le(0.1).all()
    assert cell.hidden_proj.bias.abs().le(0.1).all()


def test_a_checkpoint_of_version_0_1_is_read():
    """There the only cell of the attending layer had no name of its own."""
    model = make_model()
    old = {name.replace("first_layer.cells.0.", "first_layer."): value for name, value in model.state_dict().items()}
    assert old.keys() != model.state_dict().keys()
    other = make_model()
    other.load_state_dict(old)
    for name, value in model.state_dict().items():
        assert value.equal(other.state_dict()[name])


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_pretrained_embeddings_are_read_and_frozen(tmp_path, side):
    path = tmp_path / "vectors.txt"
    width = {"encoder": 6, "decoder": 4}[side]
    word = {"encoder": "w3", "decoder": "t3"}[side]
    path.write_text(f"1 {width}\n{word} {' '.join(['0.5'] * width)}\n")
    model = make_model(**{f"{side}_embed_path": str(path), f"{side}_freeze_embed": True})
    embedding = getattr(model, side).embed_tokens
    assert embedding.weight[4 + 3].eq(0.5).all() and embedding.weight[4].ne(0.5).any()
    assert not embedding.weight.requires_grad
    assert embedding.weight[PAD].eq(0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoder_cell": "sru"}, "unknown cell 'sru': choose from tanh, gru, lstm"),
        ({"decoder_bridge": "sum"}, "unknown bridge 'sum': choose from zero, last, mean"),
        ({"decoder_attention": "perhaps"}, "--decoder-attention perhaps: choose from 1, true, 0, false"),
        ({"decoder_attention": "0", "attn_dim": None, "decoder_bridge": "zero"}, "sees nothing of the source"),
        ({"decoder_attention": "0", "attn_dim": 3}, "--attn-dim can mean nothing with --decoder-attention 0"),
        ({"decoder_attention": "0", "attn_dim": None, "attn_mode": "parallel"}, "--attn-mode can mean nothing"),
        (
            {"decoder_attention": "0", "attn_dim": None, "attn_heads": 2, "attn_dropout": 0.1},
            "heads and --attn-dr",
        ),
        ({"decoder_attention": "0", "attn_dim": None, "attn_energy": "normed"}, "--attn-energy can mean nothing"),
        ({"encoder_residual": True}, "--encoder-residual is between layers: it needs --encoder-layers of at least 2"),
        ({"decoder_residual": True}, "--decoder-residual is between layers: it needs --decoder-layers of at least 2"),
        ({"decoder_context": "first"}, "it needs --decoder-layers 2"),
        (
            {"forget_gate_bias": 1.0, "encoder_cell": "gru", "decoder_cell": "tanh"},
            "gate-bias 1.0 is for lstm",
        ),
        ({"attn_heads": 3}, "attn_dim 8 cannot be shared out between 3 heads"),
        ({"share_all_embeddings": True}, "needs a joint dictionary"),
        (
            {"share_decoder_input_output_embed": True, "decoder_out_embed_dim": 5},
            r"--decoder-embed-dim \(4\) equal to --decoder-out-embed-dim \(5\)",
        ),
        ({"encoder_embed_path": "/no/such/file"}, "no file of pretrained embeddings at /no/such/file"),
        ({"decoder_layers": 0}, "num_layers must be a positive whole number, not 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_model(**options)


def test_sizes_of_shared_embeddings_are_both_named():
    joint = make_dictionary(8)
    with pytest.raises(ValueError, match=r"--encoder-embed-dim \(6\) equal to --decoder-embed-dim \(4\)"):
        make_model(make_task(joint, joint), share_all_embeddings=True)


def test_pretrained_embeddings_of_another_width_are_refused(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("1 3\nw3 1 2 3\n")
    with pytest.raises(ValueError, match="the vector of 'w3' has 3 values, but --encoder-embed-dim is 6"):
        make_model(encoder_embed_path=str(path))


def test_a_checkpoint_of_other_dictionaries_is_refused():
    state = make_model().state_dict()
    other = make_model(make_task(target=make_dictionary(20, "t")))
    with pytest.raises(ValueError, match="target dictionary holds 24 symbols, but the checkpoint was trained with 13"):
        other.load_state_dict(state)


def test_a_source_word_stands_for_the_target_word_of_its_spelling():
    source, target = make_dictionary(4), make_dictionary(2)
    target.add_symbol("other")
    copied = build_copy_map(source, target).tolist()
    assert copied[:4] == [source.bos(), source.pad(), source.eos(), source.unk()]
    assert [target[index] for index in copied[4:]] == ["w0", "w1", "<unk>", "<unk>"]
