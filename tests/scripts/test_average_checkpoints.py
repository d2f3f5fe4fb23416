import pytest
import torch

from tests.scripts.loading import load_script

average = load_script("average_checkpoints.py").average


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
