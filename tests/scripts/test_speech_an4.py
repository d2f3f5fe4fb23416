"""A small folder of AN4's form: speakers set aside, differences and tempos by hand, what is broken named."""

import sys

import numpy
import pytest

from .loading import load_script

load_script("speech/audio.py")
load_script("speech/manifest.py")
load_script("speech/prepare.py")
an4 = load_script("speech/an4.py")


@pytest.fixture
def corpus(tmp_path):
    """Fourteen speakers of two recordings each to train with, one to test."""
    rng = numpy.random.default_rng(5)
    for split, speakers in (("train", [f"s{k}" for k in range(10, 24)]), ("test", ["t"])):
        ids, lines = [], []
        for speaker in speakers:
            for word in ("yes", "no"):
                frames = rng.standard_normal((30, 13)).astype(">f4")
                path = tmp_path / "feat" / "an4" / speaker / f"{word}-{speaker}.mfc"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes((30 * 13).to_bytes(4, "big") + frames.tobytes())
                ids.append(f"an4/{speaker}/{word}-{speaker}")
                lines.append(f"{word.upper()} ({word}-{speaker})")
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / f"an4_{split}.fileids").write_text("\n".join(ids) + "\n")
        (tmp_path / "etc" / f"an4_{split}.transcription").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.fixture
def run(monkeypatch, corpus, capsys):
    def run(*args):
        monkeypatch.setattr(sys, "argv", ["an4.py", "--data", str(corpus), "--output", str(corpus / "out"), *args])
        an4.main()
        return capsys.readouterr().out

    return run


def test_speakers_are_set_aside_and_tempos_are_of_the_training(run, corpus):
    assert run("--tempos", "1", "1.25", "--warps", "1", "1.1") == "train 104, valid 2, test 2\n"
    rows = [line.split("\t") for line in (corpus / "out" / "train.tsv").read_text().splitlines()[1:]]
    assert {row[4] for row in rows} == {f"s{k}" for k in range(10, 24) if k != 16}
    assert [row[2] for row in rows if row[0] == "yes-s10@1.25@1.1"] == ["24"] and rows[0][3] == "YES"


def test_features_of_elsewhere_are_refused(run, corpus):
    for name in ("../../secret", "/etc/secret"):
        for part, line in (("fileids", name), ("transcription", "YES (secret)")):
            path = corpus / "etc" / f"an4_train.{part}"
            path.write_text(line + "\n" + path.read_text().partition("\n")[2])
        with pytest.raises(ValueError, match=f"'{name}.mfc' is outside {corpus / 'feat'}"):
            run()
    assert not (corpus / "out").exists()


def test_masks_reach_the_config(run, corpus):
    run("--specaugment", "small")
    assert "time_mask_T: 20" in (corpus / "out" / "config.yaml").read_text()


def test_differences_of_a_ramp_are_its_slope():
    frames = numpy.outer(numpy.arange(9.0), [1.0, -2.0])
    numpy.testing.assert_allclose(an4.differences(frames)[2:-2], [[1.0, -2.0]] * 5)


@pytest.mark.parametrize("tempo, count", [(1.0, 9), (0.5, 17), (2.0, 5), (0.9, 9)])
def test_stretched_frames_are_between_those_of_the_recording(tempo, count):
    frames = numpy.outer(numpy.arange(9.0), [1.0, -2.0])
    found = an4.stretch(frames, tempo)
    assert len(found) == count
    numpy.testing.assert_allclose(found[:, 0], tempo * numpy.arange(count))
    assert len(an4.stretch(frames[:1], tempo)) == 1


@pytest.mark.parametrize("warp", [1.0, 0.9, 1.1])
def test_a_shorter_vocal_tract_has_its_formants_higher(warp):
    def spectrum(cepstra, hertz):
        low, high, here = (1127.01048 * numpy.log(1 + numpy.asarray(f) / 700) for f in (*an4.BAND, hertz))
        place = (here - low) / (high - low)
        return cepstra[0] + 2 * sum(c * numpy.cos(k * numpy.pi * place) for k, c in enumerate(cepstra) if k)

    cepstra = numpy.array([2.0, 1.0, -0.7, 0.4, -0.3] + [0.0] * 8)
    hertz = numpy.linspace(300, 5500, 50)
    found = spectrum(an4.vocal_tract(warp) @ cepstra, hertz)
    numpy.testing.assert_allclose(found, spectrum(cepstra, hertz / warp), atol=0.06)  # 13 cepstra of a series
    assert warp == 1 or abs(found - spectrum(cepstra, hertz)).max() > 0.2


def test_what_is_broken_is_named(run, corpus):
    with pytest.raises(ValueError, match="--warps 1.0 0.1: numbers from 0.5 to 2"):
        run("--warps", "1", "0.1")
    with pytest.raises(ValueError, match="--tempos 3.0: numbers from 0.5 to 2"):
        run("--tempos", "3")
    (corpus / "feat" / "an4" / "s11" / "no-s11.mfc").write_bytes(b"x")
    with pytest.raises(ValueError, match="no-s11.mfc: 1 bytes are no Sphinx file"):
        run()
    text = (corpus / "etc" / "an4_test.transcription").read_text()
    (corpus / "etc" / "an4_test.transcription").write_text(text.replace("(no-t)", "(yes-t)"))
    with pytest.raises(ValueError, match="'NO \\(yes-t\\)' is not the transcription of an4/t/no-t"):
        run()
