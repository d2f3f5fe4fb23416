import pytest
import torch

from tests.scripts.loading import load_script

script = load_script("average_checkpoints.py")
average, best_of = script.average, script.best_of


def state(value: float, count: int) -> dict:
    tied = torch.full((2, 3), value)
    return {"embed": tied, "output": tied, "count": torch.tensor(count)}


def test_floating_point_tensors_are_averaged_and_tied_ones_stay_one():
    mean = average([state(1.0, 5), state(4.0, 7)])
    assert mean["embed"].eq(2.5).all() and mean["embed"].dtype == torch.float32
    assert mean["embed"] is mean["output"]
    assert mean["count"] == 7


def test_checkpoints_of_different_models_are_refused():
    with pytest.raises(ValueError, match="do not hold the same parameters"):
        average([state(1.0, 5), {"embed": torch.ones(2, 4)}])
    with pytest.raises(ValueError, match="a checkpoint is in eight bits: average first"):
        average([{"embed": torch.ones(2, 4, dtype=torch.int8), "embed.int8_scale": torch.ones(2, 1)}])


def test_the_best_are_those_with_the_highest_scores_in_their_names():
    names = [f"run_1/checkpoint.best_bleu_{score}.pt" for score in ("9.9904", "36.1203", "36.1201", "0.0000")]
    assert best_of(names, 2) == [names[1], names[2]]
    assert best_of(names, 9) == [names[1], names[2], names[0], names[3]]
    with pytest.raises(ValueError, match="checkpoint7.pt holds no score"):
        best_of([*names, "checkpoint7.pt"], 2)
