"""LibriSpeech and AISHELL-1 in small: the tables of their folders, through prepare.py to what fairseq reads."""

import sys

import pytest
from fairseq.data.audio.speech_to_text_dataset import S2TDataConfig, SpeechToTextDatasetCreator
from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.characters import Characters

from .loading import load_script

load_script("speech/audio.py")
manifest = load_script("speech/manifest.py")
prepare = load_script("speech/prepare.py")
stand_in = load_script("speech/stand_in.py")
# Now, while `prepare` is the one of speech: other recipes have one, too.
SCRIPTS = {
    "prepare": prepare,
    "librispeech": load_script("speech/librispeech.py"),
    "aishell": load_script("speech/aishell.py"),
}


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    def run(script, *args):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, args)])
        SCRIPTS[script].main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def librispeech(tmp_path):
    stand_in.make_librispeech(tmp_path / "LibriSpeech")
    return tmp_path / "LibriSpeech"


@pytest.fixture
def aishell(tmp_path):
    stand_in.make_aishell(tmp_path / "data_aishell")
    return tmp_path / "data_aishell"


def test_parts_of_librispeech_become_tables(run, librispeech, tmp_path):
    tables = tmp_path / "tables"
    said = run("librispeech", "--data", librispeech, "--output", tables)
    assert said == "train 48, valid 12, test-clean 12, test-other 12\n"
    with pytest.raises(ValueError, match="is outside .*tables; --audio-root names the folder of recordings"):
        manifest.read_table(tables / "train.tsv")
    rows = manifest.read_table(tables / "train.tsv", librispeech)
    lines = (librispeech / "train-clean-100" / "11" / "7" / "11-7.trans.txt").read_text().splitlines()
    assert [f"{row.name} {row.text}" for row in rows if row.speaker == "11"] == lines
    assert all(row.audio.is_file() and row.audio.stem == row.name for row in rows)
    run("librispeech", "--data", librispeech, "--output", tables, "--train", "train-clean-100", "dev-clean")
    # The speaker of dev-clean here has the number of one of the training.
    assert len((tables / "train.tsv").read_text().splitlines()) == 1 + 60


def test_a_transcript_names_no_recording_elsewhere(run, librispeech, tmp_path):
    path = librispeech / "train-clean-100" / "11" / "7" / "11-7.trans.txt"
    path.write_text("../../../../secret-1-2 TEXT\n")
    with pytest.raises(ValueError, match="'../../../../secret-1-2 TEXT' is no line of an id and its transcript"):
        run("librispeech", "--data", librispeech, "--output", tmp_path / "tables")


def test_librispeech_is_read_by_fairseq(run, librispeech, tmp_path):
    tables = tmp_path / "tables"
    run("librispeech", "--data", librispeech, "--output", tables)
    run(
        "prepare", "--output", tmp_path / "data", "--train", tables / "train.tsv", "--valid", tables / "valid.tsv",
        "--test", tables / "test-clean.tsv", tables / "test-other.tsv", "--units", "piece", "--vocab-size", "24",
        "--audio-root", librispeech,
    )  # fmt: skip
    dictionary = Dictionary.load(str(tmp_path / "data" / "dict.txt"))
    config = S2TDataConfig(tmp_path / "data" / "config.yaml")
    for split in ("train", "valid", "test-clean", "test-other"):
        data = SpeechToTextDatasetCreator.from_tsv(
            str(tmp_path / "data"), config, split, dictionary, None, None, False, 1, 1
        )
        assert len(data) == (48 if split == "train" else 12) and data[0].source.shape[1] == 80


def test_aishell_is_read_by_fairseq_in_characters(run, aishell, tmp_path):
    transcripts = aishell / "transcript" / "aishell_transcript_v0.8.txt"
    lines = transcripts.read_text(encoding="utf-8").splitlines()
    without = next(line.split()[0] for line in lines if line.startswith("BAC009T0002"))
    transcripts.write_text("\n".join(line for line in lines if without not in line), encoding="utf-8")
    tables = tmp_path / "tables"
    said = run("aishell", "--data", aishell, "--output", tables)
    assert said == "train 47, valid 12, test 12; without a transcript 1\n"
    spoken = {line.split()[0]: "".join(line.split()[1:]) for line in lines}
    rows = manifest.read_table(tables / "train.tsv", aishell)
    assert all(row.text == spoken[row.name] and row.speaker == row.audio.parent.name for row in rows)
    words = ["--train", tables / "train.tsv", "--valid", tables / "valid.tsv", "--test", tables / "test.tsv"]
    run("prepare", "--output", tmp_path / "data", "--audio-root", aishell, *words)
    dictionary = Dictionary.load(str(tmp_path / "data" / "dict.txt"))
    assert {dictionary[k] for k in range(4, len(dictionary))} == set("你好北京天气很吗")
    config = S2TDataConfig(tmp_path / "data" / "config.yaml")
    data = SpeechToTextDatasetCreator.from_tsv(
        str(tmp_path / "data"), config, "test", dictionary, None, Characters(), False, 1, 1
    )
    row = manifest.read_table(tables / "test.tsv", aishell)[0]
    assert [dictionary[index] for index in data[0].target[:-1]] == list(row.text)


def test_what_is_not_librispeech_is_named(run, librispeech, tmp_path):
    with pytest.raises(ValueError, match="there is no part train-clean-360; the folders in it: dev-clean, test-clean"):
        run("librispeech", "--data", librispeech, "--output", tmp_path, "--train", "train-clean-360")
    (librispeech / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no transcripts"):
        run("librispeech", "--data", librispeech, "--output", tmp_path, "--valid", "empty")
    (librispeech / "dev-clean" / "10" / "7" / "10-7.trans.txt").write_text("10-7-0000\n")
    with pytest.raises(ValueError, match="10-7.trans.txt: '10-7-0000' is no line of an id and its transcript"):
        run("librispeech", "--data", librispeech, "--output", tmp_path)
    assert not (tmp_path / "train.tsv").exists()


def test_what_is_not_aishell_is_named(run, aishell, tmp_path):
    transcripts = aishell / "transcript" / "aishell_transcript_v0.8.txt"
    good = transcripts.read_text(encoding="utf-8")
    transcripts.write_text("BAC009T0000W0000\n" + good, encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: 'BAC009T0000W0000' is no id with a transcript"):
        run("aishell", "--data", aishell, "--output", tmp_path)
    transcripts.write_text(good, encoding="utf-8")
    (aishell / "wav" / "dev").rename(aishell / "wav" / "development")
    with pytest.raises(ValueError, match="wav/dev: no recording speaker/\\*.wav that has a transcript"):
        run("aishell", "--data", aishell, "--output", tmp_path)
