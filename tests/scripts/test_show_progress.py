"""What people see of a training: the line of an epoch, and the bar of the one under way."""

import json

import pytest

from tests.scripts.loading import load_script

show_progress = load_script("show_progress.py")

VALID = {"epoch": 2, "valid_loss": "4.749", "valid_ppl": "9.83", "valid_bleu": "36.78"}
TRAIN = {"epoch": 2, "train_loss": "3.468", "train_wps": "1069.9"}


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def view():
    """Of a training of 4 epochs."""
    return show_progress.TrainingView(4, clock=Clock())


def feed(view, kind: str, record: dict) -> str | None:
    return view.feed(f"2026-01-31 12:00:00 | INFO | {kind} | {json.dumps(record)}\n")


def test_an_epoch_is_a_line(view):
    assert feed(view, "valid", VALID) is None
    view.clock.seconds = 61
    line = feed(view, "train", TRAIN)
    assert line == "  epoch  2/4  train loss 3.47  valid loss 4.75  ppl 9.83  BLEU 36.78  1,070 tokens/s  1:01"


def test_a_training_that_prunes_says_how_much_is_zero(view):
    feed(view, "valid", VALID)
    assert "BLEU 36.78  sparsity 0.68  1,070 tokens/s" in feed(view, "train", {**TRAIN, "train_sparsity": "0.681"})


def test_the_validation_of_another_epoch_is_not_shown_again(view):
    feed(view, "valid", VALID)
    feed(view, "train", TRAIN)
    assert feed(view, "train", {**TRAIN, "epoch": 3}) == "  epoch  3/4  train loss 3.47  1,070 tokens/s  0:00"


def test_the_bar_says_how_long_it_will_take(view):
    for seconds, update, loss in ((60, 1.0, "5.1"), (120, 1.5, "4.9")):
        view.clock.seconds = seconds
        assert feed(view, "train_inner", {"epoch": 2, "update": update, "loss": loss, "wps": "1000"}) is None
    assert view.bar == "  epoch 2/4 [##########..........]  50%  loss 4.90  1,000 tokens/s  2:00, 5:00 left"


@pytest.mark.parametrize("line", ["text\n", "2026-01-31 12:00:00 | INFO | train | {broken}\n", "\n"])
def test_other_lines_are_left_out(line, view):
    assert view.feed(line) is None and view.bar == ""


@pytest.mark.parametrize(
    "log, said",
    [
        (["Traceback", "  File", "ValueError: bad", "  more of it", ""], ["ValueError: bad", "  more of it"]),
        (["no error", "", "of this kind"], ["no error", "of this kind"]),
        (
            ["[rank1]: RuntimeError: one", "[rank0]: RuntimeError: none", "error: rank 1 of 2 failed"],
            ["RuntimeError: one", "error: rank 1 of 2 failed"],
        ),
    ],
)
def test_the_last_error_of_a_log(log, said):
    assert show_progress.last_error(log) == said
