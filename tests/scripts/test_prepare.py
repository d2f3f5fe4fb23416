"""What the recipes say of a user's files before they spend time on them."""

import gzip
import tracemalloc

import pytest
import sentencepiece

from tests.scripts.loading import load_script

prepare = load_script("en_zh/prepare.py")


def write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_pairs_of_plain_and_packed_files(tmp_path, ending):
    source, target = (
        write(tmp_path / f"text.{lang}{ending}", f"{lang} one\n\t{lang}  two \n") for lang in ("en", "zh")
    )
    assert list(prepare.read_pairs(source, target)) == [("en one", "zh one"), ("en two", "zh two")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("one\ntwo\nthree\n", "has 3 lines but .* has 2"),
        ("", "the file is empty"),
        ("good\nb\u00e4d\n".encode("latin-1"), "line 2: not UTF-8"),
        (None, "no such file"),
    ],
    ids=["unequal", "empty", "not UTF-8", "missing"],
)
def test_bad_files_are_refused(tmp_path, text, message):
    source, target = tmp_path / "a.en", write(tmp_path / "a.zh", "一\n二\n")
    if text is not None:
        write(source, text)
    with pytest.raises(prepare.BadInput, match=message):
        list(prepare.read_pairs(source, target))


def test_a_line_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "bomb.en.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"good\n")
        for _ in range(300):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(prepare.BadInput, match="bomb.en.gz, line 2: longer than 16,777,216 bytes"):
        list(prepare.read_lines(path))
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_held_out_sentences_are_the_same_whatever_the_order():
    sources = [f"sentence {number}" for number in range(400)]
    first, second = prepare.choose_held_out(sources, 2)
    assert len(first) == len(second) == 20 and not first & second
    assert prepare.choose_held_out(reversed(sources), 2) == [first, second]


def test_too_few_pairs_cannot_be_split():
    with pytest.raises(prepare.BadInput, match="too few to hold out"):
        prepare.choose_held_out(["one", "two"], 2)


def run(tmp_path, step, *args):
    langs = ["--work", str(tmp_path), "--src-lang", "en", "--tgt-lang", "de"]
    options = prepare.parse([step, *langs, *map(str, args)])
    options.run(options)


@pytest.fixture
def corpus(tmp_path):
    """Arguments for a training text of 60 pairs and a validation text of 2, with white space that is not kept."""
    pairs = [(f"a dog &amp; {number} cats , ça va ?", f"ein  hund und {number} katzen „ ß “") for number in range(60)]
    args = []
    for split, chosen in {"train": pairs, "valid": pairs[:2]}.items():
        for side, texts in zip(("src", "tgt"), zip(*chosen, strict=True), strict=True):
            path = write(tmp_path / f"given.{split}.{side}", "\n".join(texts) + "\n")
            args += [f"--{split}-{side}", path]
    return args


@pytest.mark.parametrize(
    "given, hold_out, counts",
    [
        (8, [], {"train": 60, "valid": 2}),
        (8, ["test"], {"train": 57, "valid": 2, "test": 3}),
        (4, ["valid"], {"train": 57, "valid": 3}),
        (4, ["valid", "test"], {"train": 54, "valid": 3, "test": 3}),
    ],
)
def test_only_what_is_asked_for_is_split_off(given, hold_out, counts, corpus, tmp_path):
    run(tmp_path, "text", *corpus[:given], *(["--hold-out", *hold_out] if hold_out else []))
    found = {path.name: path.read_text().count("\n") for path in (tmp_path / "text").iterdir()}
    assert found == {f"{split}.{lang}": count for split, count in counts.items() for lang in ("en", "de")}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_joint_vocabulary_gives_the_text_back(kind, corpus, tmp_path):
    run(tmp_path, "text", *corpus)
    run(tmp_path, "vocabulary", "--joint-vocab", 100, "--coverage", 1, "--sp-type", kind)
    models = [(tmp_path / "spm" / f"{lang}.model").read_bytes() for lang in ("en", "de")]
    assert models[0] == models[1]
    model = sentencepiece.SentencePieceProcessor(model_proto=models[0])
    assert all(model.unk_id() not in model.encode(text) for text in ("dog &amp; ça", "hund „ ß “"))

    run(tmp_path, "encode", "--max-length", 200)
    for split, lang in (("train", "en"), ("train", "de"), ("valid", "en"), ("valid", "de")):
        text, encoded = ((tmp_path / folder / f"{split}.{lang}").read_text() for folder in ("text", "encoded"))
        assert encoded != text
        # As fairseq does with --remove-bpe sentencepiece.
        back = [line.replace(" ", "").replace("\u2581", " ").strip() for line in encoded.split("\n")]
        assert "\n".join(back) == text


def test_the_pieces_are_the_same_whatever_the_threads(corpus, tmp_path):
    run(tmp_path, "text", *corpus)
    models = []
    for threads in (1, 3):
        run(tmp_path, "vocabulary", "--joint-vocab", 100, "--coverage", 1, "--threads", threads)
        models.append((tmp_path / "spm" / "en.model").read_bytes())  # its settings stand in it
    assert models[0] == models[1]


def test_pieces_that_are_there_can_be_taken(corpus, tmp_path, capsys):
    run(tmp_path, "text", *corpus)
    run(tmp_path, "vocabulary", "--vocab-src", 50, "--vocab-tgt", 60, "--coverage", 1)
    (tmp_path / "spm").rename(tmp_path / "former")
    capsys.readouterr()
    run(tmp_path, "pieces", "--model", tmp_path / "former")
    assert "pieces of" in capsys.readouterr().out
    for lang in ("en", "de"):
        assert (tmp_path / "spm" / f"{lang}.model").read_bytes() == (tmp_path / "former" / f"{lang}.model").read_bytes()
    write(tmp_path / "former" / "de.model", "no pieces")
    with pytest.raises(prepare.BadInput, match="former/de.model is no model of sentencepiece"):
        run(tmp_path, "pieces", "--model", tmp_path / "former")


def test_without_full_coverage_the_rarest_characters_are_unknown(corpus, tmp_path):
    run(tmp_path, "text", *corpus)
    write(tmp_path / "text" / "train.en", "a b a b\n" * 2000 + "q\n")
    run(tmp_path, "vocabulary", "--vocab-src", 20, "--vocab-tgt", 60, "--coverage", 0.99)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spm" / "en.model"))
    assert model.unk_id() in model.encode("q") and model.unk_id() not in model.encode("a b")
    assert (tmp_path / "spm" / "de.model").read_bytes() != (tmp_path / "spm" / "en.model").read_bytes()


def test_test_texts_of_their_own(corpus, tmp_path, capsys):
    run(tmp_path, "text", *corpus)
    run(tmp_path, "vocabulary", "--joint-vocab", 100, "--coverage", 1)
    first = ["--test-src", corpus[1], "--test-tgt", corpus[3]]
    second = ["--test2-src", corpus[5], "--test2-tgt", corpus[7]]
    run(tmp_path, "tests", *first, *second)
    assert "60 pairs of given.train.src, 2 pairs of given.valid.src" in capsys.readouterr().out
    run(tmp_path, "encode", "--folder", "tests")
    names = {f"{test}.{lang}" for test in ("test", "test2") for lang in ("en", "de")}
    for folder in ("tests", "tests-encoded"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == names
    run(tmp_path, "tests", *first)
    assert len(list((tmp_path / "tests").iterdir())) == 2
