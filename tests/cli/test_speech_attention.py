"""The command that says where a speech model listens, on the model and the recordings of test_speech."""

import sys
from pathlib import Path

import numpy
import pytest

from tests.helpers import ROOT, run_command, run_train
from tests.scripts.loading import load_script

from .test_speech import SPEECH, speech  # noqa: F401

attention = load_script("speech/attention.py")


def test_steps_backwards_are_counted():
    weights = numpy.eye(5)[[0, 2, 2, 1, 4]], numpy.eye(3)[[2]]
    assert attention.share_forward(list(weights)) == (3, 4)


@pytest.fixture(scope="module")
def checkpoint(speech, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("listens")
    options = ["--encoder-bidirectional", "--attn-location-filters", "3", "--attn-location-width", "5"]
    run_train(speech, folder, *options, **SPEECH, max_update=260)
    return folder / "checkpoint_last.pt"


def command(*args):
    return run_command((sys.executable, ROOT / "scripts" / "speech" / "attention.py", *args))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_model_listens_forwards_and_is_drawn(speech, checkpoint, tmp_path, ending):  # noqa: F811
    picture = tmp_path / f"out.{ending}"
    done = command(speech, "--path", checkpoint, "--picture", picture, "--ids", "3", "5")
    assert done.returncode == 0, done.stderr
    share = float(done.stdout.split()[1])
    assert done.stdout.startswith("forward: ") and "40 recordings" in done.stdout
    assert share > 90
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert picture.read_bytes().startswith(starts[ending]) and picture.stat().st_size > 5000


def test_the_first_recordings_and_characters_without_a_font(speech, checkpoint, tmp_path):  # noqa: F811
    done = command(speech, "--path", checkpoint, "--limit", "7")
    assert done.returncode == 0 and done.stdout.endswith("7 recordings\n")
    done = command(speech, "--path", checkpoint, "--limit", "7", "--picture", tmp_path / "x.png", "--ids", "8")
    assert done.returncode == 1 and "--ids 8: there is no such recording among 7 of test.tsv" in done.stderr
    heard = attention.Heard("x", numpy.zeros((20, 4)), ["\U00012000", "</s>"], numpy.eye(5)[[0, 3]])  # cuneiform
    attention.draw(tmp_path / "boxes.png", [heard])
    assert (tmp_path / "boxes.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="--font nowhere.ttf: no such file"):
        attention.draw(tmp_path / "boxes.png", [heard], Path("nowhere.ttf"))


@pytest.mark.parametrize(
    "args, message",
    [
        (["--split", "dev"], "--split dev: there is no "),
        (["--ids", "3"], "--ids goes with --picture"),
        (["--font", "x.ttf"], "--font goes with --picture"),
        (["--limit", "-1"], "--limit -1: must not be negative"),
        (["--picture", "x.gif"], "--picture x.gif: end it in .png, .svg or .pdf"),
        (["--picture", "none/x.png"], "there is no folder none"),
    ],
)
def test_what_cannot_be_is_refused(speech, checkpoint, args, message):  # noqa: F811
    done = command(speech, "--path", checkpoint, *args)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
