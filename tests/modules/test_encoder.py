"""The encoder: batch and padding out of the picture."""

import pytest
import torch

from s2s_plugin.modules.cells import CellKind
from s2s_plugin.modules.encoder import RNNEncoder
from s2s_plugin.modules.frames import build_frames
from s2s_plugin.ops.reference import GATES


def make_encoder(cell="lstm", kind=None, **changes):
    torch.manual_seed(11)
    kind = CellKind(cell, **(kind or {}))
    options = dict(kind=kind, input_size=5, hidden_size=3, num_layers=2, bidirectional=True, dropout=0.0)
    return RNNEncoder(**{**options, **changes}).double().eval()


def pad(sentences, side):
    """(B, S, E) and mask from a list of (S_i, E)."""
    size = max(len(x) for x in sentences)
    x = torch.full((len(sentences), size, sentences[0].size(1)), 7.0, dtype=torch.float64)
    mask = torch.ones(len(sentences), size, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        place = slice(0, len(sentence)) if side == "right" else slice(size - len(sentence), size)
        x[row, place], mask[row, place] = sentence, False
    return x, mask


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"kind": {"layer_norm": True, "transitions": 2}, "residual": True}], ids=str)
def test_a_sentence_is_read_alike_alone_and_in_a_batch(cell, bidirectional, side, options):
    encoder = make_encoder(cell, bidirectional=bidirectional, **options)
    sentences = [torch.randn(n, 5, dtype=torch.float64) for n in (4, 1, 7)]
    x, mask = pad(sentences, side)
    batch = encoder(x, mask)
    assert batch.memory[mask].eq(0).all()
    for row, sentence in enumerate(sentences):
        alone = encoder(sentence.unsqueeze(0), torch.zeros(1, len(sentence), dtype=torch.bool))
        torch.testing.assert_close(batch.memory[row][~mask[row]], alone.memory[0])
        torch.testing.assert_close(batch.last[row], alone.last[0])


def test_one_layer_equals_torchs_bidirectional_lstm_on_a_packed_batch():
    encoder = make_encoder(num_layers=1)
    twin = torch.nn.LSTM(5, 3, bidirectional=True, batch_first=True).double()
    for name, parameter in twin.named_parameters():
        layers = encoder.backward_layers if name.endswith("_reverse") else encoder.forward_layers
        parameter.data.copy_(getattr(layers[0], name.removesuffix("_reverse")))
    sentences = [torch.randn(n, 5, dtype=torch.float64) for n in (6, 4, 1)]
    x, mask = pad(sentences, "right")
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([6, 4, 1]), batch_first=True)
    expected, (last, _) = twin(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    got = encoder(x, mask)
    torch.testing.assert_close(got.memory, expected)
    torch.testing.assert_close(got.last, torch.cat([last[0], last[1]], dim=1))


def test_padding_gets_no_gradient():
    encoder = make_encoder()
    x, mask = pad([torch.randn(n, 5, dtype=torch.float64) for n in (4, 2)], "left")
    x.requires_grad_()
    state = encoder(x, mask)
    (state.memory.sum() + state.last.sum()).backward()
    assert x.grad[mask].eq(0).all() and x.grad[~mask].ne(0).any()


def test_frames_of_both_sides():
    mask = torch.tensor([[True, True, False, False, False], [False, False, True, True, True]])
    frames = build_frames(mask)
    assert frames.lengths.tolist() == [3, 2]
    position = torch.arange(5).expand(2, 5)
    assert position.gather(1, frames.to_left)[:, :2].tolist() == [[2, 3], [0, 1]]
    assert position.gather(1, frames.reverse)[0, :3].tolist() == [4, 3, 2]
    assert position.gather(1, frames.reverse)[1, :2].tolist() == [1, 0]
    for into, back in ((frames.to_left, frames.from_left), (frames.reverse, frames.reverse)):
        assert into.gather(1, back).equal(position)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cell": "sru"}, "unknown cell 'sru': choose from tanh, gru, lstm"),
        ({"num_layers": 0}, "num_layers must be a positive whole number, not 0"),
        ({"hidden_size": -3}, "hidden_size must be a positive whole number, not -3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
    ],
)
def test_bad_values_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(**change)


def test_a_residual_connection_adds_the_layer_below():
    deep, plain, lower = make_encoder(residual=True), make_encoder(), make_encoder(num_layers=1)
    plain.load_state_dict(deep.state_dict())
    lower.load_state_dict({name: value for name, value in deep.state_dict().items() if "layers.0." in name})
    x, mask = pad([torch.randn(n, 5, dtype=torch.float64) for n in (4, 1, 7)], "right")
    torch.testing.assert_close(deep(x, mask).memory, plain(x, mask).memory + lower(x, mask).memory)
