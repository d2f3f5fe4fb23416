"""Strings of digits out of a few recordings: who is heard where, what a string is made of, what is refused."""

import random
import sys

import numpy
import pytest
import soundfile

from .loading import load_script

audio = load_script("speech/audio.py")
load_script("speech/manifest.py")
load_script("speech/prepare.py")
digits = load_script("speech/digits.py")
SPEAKERS = ("ann", "bob", "eve")


@pytest.fixture
def corpus(tmp_path):
    """Two digits of three speakers, twelve recordings each."""
    rng = numpy.random.default_rng(6)
    for digit in (3, 8):
        for speaker in SPEAKERS:
            for index in range(12):
                samples = 0.1 * rng.standard_normal(800 + 80 * index)
                soundfile.write(tmp_path / f"{digit}_{speaker}_{index}.wav", samples, 8000)
    return tmp_path


@pytest.fixture
def run(monkeypatch, corpus, capsys):
    def run(*args):
        words = ["--data", corpus, "--output", corpus / "out", "--strings", 12, "--valid-strings", 5, *args]
        monkeypatch.setattr(sys, "argv", ["digits.py", *map(str, words)])
        digits.main()
        return capsys.readouterr().out

    return run


def rows(corpus, split):
    return [line.split("\t") for line in (corpus / "out" / f"{split}.tsv").read_text().splitlines()[1:]]


def test_strings_are_words_of_one_speaker(run, corpus):
    assert run().startswith("strings: train 12, valid 5, test ")
    for split in ("train", "valid", "test"):
        for row in rows(corpus, split):
            assert set(row[3].split()) <= {"three", "eight"} and 1 <= len(row[3].split()) <= 7
            assert row[4] in SPEAKERS
    # Two digits, three speakers, recordings 0 to 4, dealt four times.
    assert sum(len(row[3].split()) for row in rows(corpus, "test")) == 2 * 3 * 5 * 4
    before = (corpus / "out" / "features.zip").read_bytes()
    run()
    assert (corpus / "out" / "features.zip").read_bytes() == before
    test = rows(corpus, "test")
    run("--strings", 20)
    assert [row[3:] for row in rows(corpus, "test")] == [row[3:] for row in test]
    run("--seed", 2)
    assert (corpus / "out" / "features.zip").read_bytes() != before


def test_splits_share_no_recording(corpus):
    recordings = digits.find_recordings(corpus)
    for unseen in (None, "bob"):
        pools = digits.share_out(recordings, unseen)
        files = [{path for pool in pools[split].values() for _, path in pool} for split in ("train", "valid", "test")]
        assert not (files[0] & files[1] or files[0] & files[2] or files[1] & files[2])
        assert len(set.union(*files)) == 2 * 3 * 12
    assert set(pools["test"]) == {"bob"} and len(files[2]) == 2 * 12


def test_a_string_is_its_recordings_one_after_the_other(corpus):
    strings = digits.Strings(audio.Filterbank(8000, 10))
    parts = [(3, corpus / "3_ann_0.wav"), (8, corpus / "8_ann_1.wav")]
    utterance = strings.add("x", "ann", parts, 1.0, random.Random(1))
    assert utterance.text == "three eight"
    gaps = strings.parts["x"][1]
    pieces = [numpy.zeros(gaps[0])]
    for (_, path), gap in zip(parts, gaps[1:], strict=True):
        pieces += [audio.read_samples(path, 8000), numpy.zeros(gap)]
    samples = numpy.concatenate(pieces)
    expected = audio.Filterbank(8000, 10).of_samples(samples, "x")
    found = strings(utterance)
    assert found.shape == expected.shape
    loud = expected.mean(axis=1) > expected.mean()
    numpy.testing.assert_allclose(found[loud], expected[loud], atol=0.2)  # but for the hiss
    slow = strings(strings.add("y", "ann", parts, 0.5, random.Random(1)))
    assert len(slow) == pytest.approx(2 * len(found), abs=4)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--unseen", "max"], "--unseen max: choose from ann, bob, eve"),
        (["--strings", "0"], "--strings 0: must be at least 1"),
        (["--specaugment", "huge"], "'huge' \\(choose from"),
    ],
)
def test_what_cannot_be_is_refused(run, args, message):
    with pytest.raises(ValueError, match=message):
        run(*args)


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no recordings of the form digit_speaker_index.wav"):
        digits.find_recordings(tmp_path)
    (tmp_path / "ten_ann_1.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="ten_ann_1.wav: the name is not of the form"):
        digits.find_recordings(tmp_path)
