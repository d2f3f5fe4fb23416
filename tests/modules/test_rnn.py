"""Recurrent layers: torch's, and what runs in their place."""

import pytest
import torch

from s2s_plugin.modules.cells import CellKind
from s2s_plugin.modules.dropout import draw_keep
from s2s_plugin.modules.rnn import RecurrentLayer, build_rnn, run_rnn, zero_state
from s2s_plugin.ops import reference


@pytest.mark.parametrize("name", reference.GATES)
def test_training_on_a_cpu_equals_torchs_layer(name):
    torch.manual_seed(71)
    layer = build_rnn(CellKind(name), 4, 5).double()
    x, hidden = torch.randn(6, 3, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    cell = torch.randn(3, 5, dtype=torch.float64) if name == "lstm" else None
    results = []
    for run in ("ours", "torch's"):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        if run == "ours":
            y, (last, last_cell) = run_rnn(layer, leaf, hidden, cell)
        else:
            y, last = layer(leaf, hidden[None] if cell is None else (hidden[None], cell[None]))
            last, last_cell = (last[0], None) if cell is None else (last[0][0], last[1][0])
        y.square().sum().backward()
        results.append([y, last, leaf.grad, *(p.grad.clone() for p in layer.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", reference.GATES)
def test_a_layer_of_our_own_is_the_specification(name):
    """With norms and a deep transition, in training (where nothing is dropped) and evaluation."""
    torch.manual_seed(72)
    kind = CellKind(name, layer_norm=True, transitions=2)
    layer = build_rnn(kind, 4, 5).double()
    for parameter in layer.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    x = torch.randn(6, 3, 4, dtype=torch.float64)
    start = tuple(state if state is None else state.double() for state in zero_state(kind, x, 5))
    proj = layer.input_proj
    x_preact = reference.layer_norm(x @ proj.weight.t(), proj.gain, proj.bias, 5)
    expected = reference.recurrence(x_preact, *start, [cell.weights() for cell in layer.cells], name)
    y, (last, last_cell) = run_rnn(layer, x, *start)
    torch.testing.assert_close(y, expected.hidden)
    torch.testing.assert_close(last, expected.last_hidden)
    with torch.no_grad():
        torch.testing.assert_close(run_rnn(layer.eval(), x, *start)[0], expected.hidden)


def test_dropout_on_the_state_is_one_mask_a_sentence():
    """The factors that the layer draws make the specification's result."""
    torch.manual_seed(73)
    layer = build_rnn(CellKind("lstm", dropout=0.5), 4, 5)
    assert isinstance(layer, RecurrentLayer)
    x, start = torch.randn(6, 3, 4), zero_state(layer.kind, torch.randn(6, 3, 4), 5)
    torch.manual_seed(74)
    y, _ = run_rnn(layer, x, *start)
    torch.manual_seed(74)
    keep = draw_keep((1, 3, 5), 0.5, x)
    cells = [cell.weights() for cell in layer.cells]
    torch.testing.assert_close(
        y, reference.recurrence(layer.input_proj(x), *start, cells, "lstm", hidden_keep=keep).hidden
    )
    layer.eval()
    torch.testing.assert_close(
        run_rnn(layer, x, *start)[0], reference.recurrence(layer.input_proj(x), *start, cells, "lstm").hidden
    )
