"""From recordings to fairseq's manifests: values, slices, statistics, and every kind of bad file."""

import os
import shutil
import sys
import zipfile

import numpy
import pytest
import soundfile
from fairseq.data.audio.audio_utils import get_features_or_waveform
from fairseq.data.audio.speech_to_text_dataset import S2TDataConfig, SpeechToTextDatasetCreator
from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.characters import Characters
from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE, SentencepieceConfig

from .loading import load_script

audio = load_script("speech/audio.py")
load_script("speech/manifest.py")
prepare = load_script("speech/prepare.py")
RATE = 8000


def tone(hertz: float, seconds: float) -> numpy.ndarray:
    return 0.3 * numpy.sin(2 * numpy.pi * hertz * numpy.arange(int(seconds * RATE)) / RATE)


@pytest.fixture
def corpus(tmp_path):
    """Two tables of two recordings each, wav and flac, one with two channels."""
    for number, suffix in enumerate(("wav", "flac", "wav", "wav")):
        samples = tone(200 * (number + 1), 0.3 + 0.1 * number)
        soundfile.write(
            tmp_path / f"{number}.{suffix}", numpy.stack([samples, samples], axis=1)[:, : 1 + number % 2], RATE
        )
    (tmp_path / "train.tsv").write_text("id\taudio\ttext\tspeaker\na\t0.wav\tone two\tann\nb\t1.flac\ttwo\tbob\n")
    (tmp_path / "valid.tsv").write_text("id\taudio\ttext\na\t2.wav\ttwo  one\nb\t3.wav\tone\n")
    return tmp_path


@pytest.fixture
def run(monkeypatch, corpus, capsys):
    def run(*args):
        words = ["--output", corpus / "out", "--train", corpus / "train.tsv", "--valid", corpus / "valid.tsv", *args]
        monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, words)])
        prepare.main()
        return capsys.readouterr()

    return run


def test_a_tone_is_in_its_band_and_frames_are_10_ms_apart():
    bank = audio.Filterbank(RATE, 40)
    low, high = (bank.of_samples(tone(hertz, 1.0), "tone") for hertz in (300, 3000))
    assert low.shape == high.shape == (98, 40)  # windows of 25 ms in a second
    assert low.mean(axis=0).argmax() < 15 < 30 < high.mean(axis=0).argmax()
    louder = bank.of_samples(2 * tone(300, 1.0), "tone")
    peak = low.mean(axis=0).argmax()
    numpy.testing.assert_allclose((louder - low)[:, peak], numpy.log(4), atol=1e-3)  # energies are squares


@pytest.mark.parametrize("units", ["char", "word"])
def test_fairseq_reads_what_was_written(run, corpus, units):
    assert run("--units", units, "--bands", "20").out == "recordings at 8000 Hz: train 2, valid 2\n"
    config = S2TDataConfig(corpus / "out" / "config.yaml")
    dictionary = Dictionary.load(str(corpus / "out" / "dict.txt"))
    data = SpeechToTextDatasetCreator.from_tsv(
        str(corpus / "out"), config, "valid", dictionary, None, Characters() if units == "char" else None, False, 1, 1
    )
    frames = audio.Filterbank(RATE, 20)(corpus / "2.wav")
    statistics = numpy.load(corpus / "out" / "statistics.npz")
    item = data[0]
    numpy.testing.assert_allclose(item.source.numpy(), (frames - statistics["mean"]) / statistics["std"], rtol=1e-5)
    words = "▁".join(["two", "one"]) if units == "char" else ["two", "one"]
    assert [dictionary[index] for index in item.target[:-1]] == list(words)
    train = numpy.concatenate([audio.Filterbank(RATE, 20)(corpus / name) for name in ("0.wav", "1.flac")])
    numpy.testing.assert_allclose(statistics["mean"], train.mean(axis=0), rtol=1e-4)
    numpy.testing.assert_allclose(statistics["std"], train.std(axis=0), rtol=1e-3)


def test_pieces_are_learnt_from_the_training(run, corpus):
    run("--units", "piece", "--vocab-size", "10")  # of which <unk>, <s> and </s> are three
    out = corpus / "out"
    config = S2TDataConfig(out / "config.yaml")
    bpe = SentencepieceBPE(SentencepieceConfig(sentencepiece_model=config.bpe_tokenizer["sentencepiece_model"]))
    dictionary = Dictionary.load(str(out / "dict.txt"))
    assert config.bpe_tokenizer["bpe"] == "sentencepiece" and len(dictionary) == 7 + 4
    data = SpeechToTextDatasetCreator.from_tsv(str(out), config, "valid", dictionary, None, bpe, False, 1, 1)
    target = data[0].target[:-1]
    assert dictionary.unk() not in target and bpe.decode(dictionary.string(target)) == "two one"


@pytest.mark.parametrize(
    "args, message",
    [
        (["--units", "piece"], "--vocab-size 0 --units piece: the first is the number of pieces"),
        (["--vocab-size", "9"], "--vocab-size 9 --units char: the first is the number of pieces"),
        (["--units", "piece", "--vocab-size", "900"], "--vocab-size 900: Vocabulary size too high"),
        (["--units", "piece", "--vocab-size", "4"], "--vocab-size 4: Vocabulary size is smaller than required_chars"),
    ],
)
def test_a_number_of_pieces_that_cannot_be_is_refused(run, corpus, args, message):
    with pytest.raises(ValueError, match=message):
        run(*args)
    assert not list((corpus / "out").glob("*.new")) and not (corpus / "out" / "dict.txt").exists()


def test_slices_of_the_zip_are_the_features(run, corpus):
    run()
    rows = [line.split("\t") for line in (corpus / "out" / "train.tsv").read_text().splitlines()]
    assert rows[0] == ["id", "audio", "n_frames", "tgt_text", "speaker"] and rows[2][3:] == ["two", "bob"]
    for row, name in zip(rows[1:], ("0.wav", "1.flac"), strict=True):
        expected = audio.Filterbank(RATE, 80)(corpus / name)
        numpy.testing.assert_array_equal(get_features_or_waveform(str(corpus / "out" / row[1])), expected)
        assert int(row[2]) == len(expected)


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/secret.wav", "a/../../secret.wav", "..", "./../x/../../y.wav"])
def test_a_table_names_no_recordings_elsewhere(run, corpus, name):
    table = corpus / "train.tsv"
    table.write_text(table.read_text().replace("1.flac", name))
    message = f"train.tsv, line 3: '{name}' is outside {corpus}; --audio-root names the folder of recordings$"
    with pytest.raises(ValueError, match=message):
        run()
    assert not (corpus / "out").exists()


def test_an_id_leads_out_of_no_archive(run, corpus):
    table = corpus / "train.tsv"
    table.write_text(table.read_text().replace("b\t", "../../b\t"))
    with pytest.raises(ValueError, match="train.tsv, line 3: the id '../../b' leads out of any folder"):
        run()
    table.write_text(table.read_text().replace("../../b\t", "ann/b\t"))
    run()
    assert zipfile.ZipFile(corpus / "out" / "features.zip").namelist()[1] == "train/ann/b.npy"


def test_a_folder_of_recordings_may_be_a_link_and_names_absolute(run, corpus, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk") / "sound"
    shutil.copytree(corpus, disk)
    (corpus / "sound").symlink_to(disk)
    for split in ("train", "valid"):
        lines = (corpus / f"{split}.tsv").read_text().replace("\t0.wav", f"\t{corpus}/sound/0.wav")
        (corpus / f"{split}.tsv").write_text(lines.replace("\t2.wav", "\tsound/../sound/2.wav"))
    assert run().out == "recordings at 8000 Hz: train 2, valid 2\n"


def test_a_short_file_that_claims_hours_takes_no_memory(corpus):
    path = corpus / "1.flac"
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # of the 36 bits that count the samples, the highest
    path.write_bytes(data)
    with pytest.raises(ValueError, match="1.flac: longer than 3,600 seconds in stereo"):
        audio.read_samples(path, RATE)


def test_a_pipe_is_no_recording(run, corpus):
    (corpus / "0.wav").unlink()
    os.mkfifo(corpus / "0.wav")  # opening it would wait for ever
    with pytest.raises(ValueError, match="0.wav: there is no such file"):
        run()


def spoil(path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no sound")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "another rate":
        soundfile.write(path, tone(100, 0.5), 2 * RATE)
    elif kind == "no number":
        soundfile.write(path, numpy.full(RATE, numpy.nan), RATE, subtype="FLOAT")
    else:
        soundfile.write(path, tone(100, 0.01), RATE)


BAD = {
    "missing": "there is no such file",
    "empty": "the file is empty",
    "text": "not a recording that can be read",
    "cut": "not a recording that can be read",
    "another rate": "16000 samples a second, not 8000",
    "no number": "holds samples that are no numbers",
    "short": "80 samples, too few for a window of 25 ms",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_fails_or_is_skipped(run, corpus, kind):
    run()
    before = (corpus / "out" / "features.zip").read_bytes()
    spoil(corpus / "3.wav", kind)
    with pytest.raises(ValueError, match=f"3.wav: {BAD[kind]}"):
        run()
    assert (corpus / "out" / "features.zip").read_bytes() == before  # what was there is not lost
    assert sorted(path.name for path in (corpus / "out").iterdir()) == [
        "config.yaml", "dict.txt", "features.zip", "statistics.npz", "train.tsv", "valid.tsv",
    ]  # fmt: skip
    output = run("--bad-files", "skip")
    assert output.out == "recordings at 8000 Hz: train 2, valid 1; 1 skipped\n"
    assert f"skipped: {corpus / '3.wav'}: {BAD[kind]}" in output.err


def test_a_split_of_which_nothing_is_left_fails(run, corpus):
    for name in ("2.wav", "3.wav"):
        spoil(corpus / name, "empty")
    with pytest.raises(ValueError, match="valid: none of its 2 recordings can be read"):
        run("--bad-files", "skip")


@pytest.mark.parametrize(
    "table, message",
    [
        ("id\taudio\nx\t0.wav\n", "no column 'text' in its first line; it has id, audio"),
        ("id\taudio\ttext\nx\t0.wav\n", "line 2: 2 fields for 3 columns"),
        ("id\taudio\ttext\nx\t0.wav\ta\tb\n", "line 2: 4 fields for 3 columns"),
        ("id\taudio\ttext\nx\t0.wav\ta\nx\t1.flac\tb\n", "line 3: the id 'x' stands in line 2 too"),
        ("id\taudio\ttext\nx\t0.wav\t \n", "line 2: 'x' has no transcript"),
        ("id\taudio\ttext\n", "no row below its first line"),
        ("id\taudio\ttext\nx\t0.wav\ta <s>\n", "a transcript holds the word <s>, which fairseq keeps"),
    ],
)
def test_a_bad_table_is_refused(run, corpus, table, message):
    (corpus / "train.tsv").write_text(table)
    with pytest.raises(ValueError, match=message):
        run("--units", "word")
    assert not list(corpus.glob("out/*"))


def test_a_mark_at_the_start_and_windows_line_ends_and_empty_last_lines_are_no_matter(run, corpus):
    (corpus / "train.tsv").write_text("\ufeffid\taudio\ttext\r\na\t0.wav\tone\r\n\r\n", encoding="utf-8")
    assert run().out == "recordings at 8000 Hz: train 1, valid 2\n"


def test_nothing_of_the_users_is_written_over_and_no_old_manifest_is_left(run, corpus, monkeypatch):
    (corpus / "test.tsv").write_text((corpus / "valid.tsv").read_text())
    (corpus / "out").mkdir()
    (corpus / "out" / "mine.tsv").write_text("id\tmine\n")
    run("--test", corpus / "test.tsv")
    assert (corpus / "out" / "test.tsv").exists()
    run()
    assert not (corpus / "out" / "test.tsv").exists() and (corpus / "out" / "mine.tsv").exists()
    with pytest.raises(ValueError, match="train.tsv would be written over; name another folder"):
        run("--output", corpus)


@pytest.mark.parametrize(
    "args, message",
    [(["--bands", "0"], "--bands 0: must be at least 1"), (["--units", "phone"], "'phone' \\(choose from"),
     (["--test", "valid.tsv"], "--test: tables of different names"),
     (["--test", "train-clean.tsv"], "train-clean.tsv: fairseq takes a name that begins with train"),
     (["--output", "a:b"], "--output a:b: must not hold a colon"),
     (["--bands", "200"], "--bands 200: too few or too many for 8000 samples a second"),
     (["--bands", "20", "--specaugment", "ld"], "--specaugment ld masks up to 27 bands, but --bands is 20")],
)  # fmt: skip
def test_bad_options_are_refused(run, args, message):
    with pytest.raises(ValueError, match=message):
        run(*args)


def test_sphinx_features(tmp_path):
    frames = numpy.arange(39, dtype=numpy.float32).reshape(3, 13)
    path = tmp_path / "x.mfc"
    path.write_bytes((39).to_bytes(4, "big") + frames.astype(">f4").tobytes())
    numpy.testing.assert_array_equal(audio.read_sphinx(path), frames)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="x.mfc: 156 bytes are no Sphinx file of frames of 13 coefficients"):
        audio.read_sphinx(path)
    with pytest.raises(ValueError, match="y.mfc: there is no such file"):
        audio.read_sphinx(tmp_path / "y.mfc")


@pytest.mark.parametrize("cmvn", ["global", "utterance"])
@pytest.mark.parametrize("specaugment", ["none", "small"])
def test_fairseq_normalises_and_masks_as_told(run, corpus, cmvn, specaugment):
    run("--cmvn", cmvn, "--specaugment", specaugment)
    config = S2TDataConfig(corpus / "out" / "config.yaml")
    masks = ["specaugment"] if specaugment == "small" else []
    assert config.get_feature_transforms("train", True)["feature_transforms"] == [f"{cmvn}_cmvn", *masks]
    assert config.get_feature_transforms("valid", False)["feature_transforms"] == [f"{cmvn}_cmvn"]


def test_recordings_of_another_folder_and_a_rate_that_is_told(run, corpus):
    (corpus / "sound").mkdir()
    for path in [*corpus.glob("*.wav"), *corpus.glob("*.flac")]:
        path.rename(corpus / "sound" / path.name)
    with pytest.raises(ValueError, match="none of the 2 recordings of the training can be read"):
        run()
    assert run("--audio-root", corpus / "sound").out == "recordings at 8000 Hz: train 2, valid 2\n"
    with pytest.raises(ValueError, match="0.wav: 8000 samples a second, not 16000"):
        run("--audio-root", corpus / "sound", "--sample-rate", "16000")
