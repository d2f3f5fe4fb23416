"""From parallel text to sentencepiece-encoded parallel text. Streams: the corpus need not fit into memory.

    prepare.py text        checks the corpus and writes WORK/text/{train,valid,test}.{SRC,TGT}
    prepare.py tests       checks test sets of their own and writes WORK/tests/{test,test2}.{SRC,TGT}
    prepare.py vocabulary  learns WORK/spm/{SRC,TGT}.model from the training text
    prepare.py pieces      takes them from a folder instead
    prepare.py encode      writes WORK/encoded/SPLIT.{SRC,TGT} or WORK/tests-encoded/SPLIT.{SRC,TGT}

What people bring may be plain or gzipped (by the ending .gz). Lines are UTF-8, and line N of one file translates line N
of the other.
"""

import argparse
import gzip
import hashlib
import heapq
import io
import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

SPLITS = ("train", "valid", "test")
TESTS = ("test", "test2")
LONGEST = 1 << 24
"""Bytes of a line, at most: a small gzip file can hold one that fills the memory."""
Pair = tuple[str, str]


class BadInput(Exception):
    """Something about the user's files that only the user can mend."""


def clean(text: str) -> str:
    """One space for every run of white space, none at the ends.

    Python and fairseq see line ends and word ends in more characters (U+2028, U+3000) than `\\n` and the space, and
    would count lines and words differently.
    """
    return " ".join(text.split())


def read_lines(path: Path) -> Iterator[str]:
    """The cleaned lines of a text file.

    Raises:
        BadInput: the file is missing or empty, or a line is not UTF-8 or too long; then with the line's number.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(LONGEST), b""), start=1):
                if len(raw) == LONGEST:
                    raise BadInput(f"{path}, line {number}: longer than {LONGEST:,} bytes")
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise BadInput(
                        f"{path}, line {number}: not UTF-8 (byte 0x{raw[error.start]:02x} at position "
                        f"{error.start + 1}); convert the file, for example: iconv -f GB18030 -t UTF-8"
                    ) from None
                yield clean(line)
    except (gzip.BadGzipFile, EOFError) as error:
        raise BadInput(f"{path}, after line {number}: broken gzip file ({error})") from None
    if number == 0:
        raise BadInput(f"{path}: the file is empty")


def read_pairs(source: Path, target: Path) -> Iterator[Pair]:
    """The pairs of two parallel files.

    Raises:
        BadInput: as `read_lines`, or the files have not the same number of lines.
    """
    count, missing = 0, object()
    files = read_lines(source), read_lines(target)
    for pair in itertools.zip_longest(*files, fillvalue=missing):
        if missing in pair:
            counts = [count, count]
            longer = pair.index(missing) ^ 1
            counts[longer] += 1 + sum(1 for _ in files[longer])
            raise BadInput(
                f"{source} has {counts[0]:,} lines but {target} has {counts[1]:,}: line N of one must translate line N "
                f"of the other"
            )
        count += 1
        yield pair


def read_columns(path: Path, source: int, target: int) -> Iterator[Pair]:
    """The pairs in two columns of a tab-separated file, as the corpora in examples/ are stored."""
    for line in read_raw_columns(path):
        yield clean(line[source]), clean(line[target])


def read_raw_columns(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.rstrip("\n").split("\t")


def drop_blank(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Leaves out the pairs with nothing on one side."""
    return (pair for pair in pairs if pair[0] and pair[1])


def take(pairs: Iterable[Pair], limit: int) -> Iterator[Pair]:
    """The first pairs, all if `limit` is 0. Reads on to the end, so that mistakes there are found as well."""
    for number, pair in enumerate(pairs):
        if not limit or number < limit:
            yield pair


def source_hash(source: str) -> int:
    return int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "big")


def choose_held_out(sources: Iterable[str], parts: int, largest: int = 1000, share: float = 0.05) -> list[set[int]]:
    """Chooses the sentences to hold out of training: `parts` sets of hashes of source sentences.

    Each set has `share` of the corpus, at most `largest`. The choice depends on nothing but the sentences: it is the
    same on every machine and in whatever order they come.
    """
    count = 0
    chosen: dict[int, None] = {}
    heap: list[int] = []  # negated: the largest hash comes off first
    for source in sources:
        count += 1
        value = source_hash(source)
        if value in chosen or (len(heap) == parts * largest and value > -heap[0]):
            continue
        chosen[value] = None
        heapq.heappush(heap, -value)
        if len(heap) > parts * largest:
            del chosen[-heapq.heappop(heap)]
    # Of a corpus with few different sentences most must stay for training.
    available = len(chosen) // (parts if len(chosen) == parts * largest else parts + 1)
    size = min(largest, int(count * share), available)
    if size < 1:
        raise BadInput(f"{count} pairs are too few to hold out validation and test sentences: give them as files")
    ordered = sorted(chosen)
    return [set(ordered[part * size : (part + 1) * size]) for part in range(parts)]


def write_pairs(pairs: Iterable[Pair], folder: Path, split: str, langs: Pair) -> int:
    """Writes the two files of a split; returns the number of pairs."""
    count = 0
    with (
        (folder / f"{split}.{langs[0]}").open("w", encoding="utf-8", newline="\n") as source,
        (folder / f"{split}.{langs[1]}").open("w", encoding="utf-8", newline="\n") as target,
    ):
        for pair in pairs:
            source.write(pair[0] + "\n")
            target.write(pair[1] + "\n")
            count += 1
    return count


def split_training(pairs, folder: Path, missing: list[str], langs: Pair) -> dict[str, int]:
    """Splits validation or test sentences, or both, off the training pairs.

    All pairs with a held-out source sentence leave the training set; the first of each goes to its part.
    `pairs` is a function: the corpus is read twice.
    """
    held_out = choose_held_out((source for source, _ in pairs()), len(missing))
    split_of = {value: split for split, values in zip(missing, held_out, strict=True) for value in values}
    counts, written = dict.fromkeys(["train", *missing], 0), set()
    with ExitStack() as stack:
        files = {
            (split, lang): stack.enter_context((folder / f"{split}.{lang}").open("w", encoding="utf-8", newline="\n"))
            for split in counts
            for lang in langs
        }
        for pair in pairs():
            value = source_hash(pair[0])
            split = split_of.get(value, "train")
            if value in written:
                continue
            if split != "train":
                written.add(value)
            counts[split] += 1
            for lang, text in zip(langs, pair, strict=True):
                files[split, lang].write(text + "\n")
    return counts


def make_text(args) -> None:
    langs = (args.src_lang, args.tgt_lang)
    folder = fresh_folder(Path(args.work) / "text")
    counts = {}
    if args.corpus:
        columns = [("en", "zh").index(lang) for lang in langs]
        for split in SPLITS:
            pairs = read_columns(Path(args.corpus) / f"{split}.tsv.gz", *columns)
            if args.limit:
                pairs = take(pairs, args.limit if split == "train" else max(2, args.limit // 20))
            counts[split] = write_pairs(pairs, folder, split, langs)
    else:
        train = Path(args.train_src), Path(args.train_tgt)

        def training_pairs() -> Iterator[Pair]:
            return take(drop_blank(read_pairs(*train)), args.limit)

        # The small files first: a mistake in them then shows before the large ones are read.
        if args.valid_src:
            counts["valid"] = write_given(Path(args.valid_src), Path(args.valid_tgt), folder, "valid", langs)
        if args.hold_out:
            counts.update(split_training(training_pairs, folder, args.hold_out, langs))
        else:
            counts["train"] = write_pairs(training_pairs(), folder, "train", langs)
        if counts["train"] == 0:
            raise BadInput(f"{train[0]} and {train[1]} hold no pair with text on both sides")
    publish_folder(folder)
    purposes = {"train": "pairs to train on", "valid": "to validate", "test": "to test"}
    print(", ".join(f"{counts[split]:,} {purpose}" for split, purpose in purposes.items() if split in counts))


def make_tests(args) -> None:
    langs = (args.src_lang, args.tgt_lang)
    folder = fresh_folder(Path(args.work) / "tests")
    said = []
    for test in TESTS:
        source, target = getattr(args, f"{test}_src"), getattr(args, f"{test}_tgt")
        if source:
            count = write_given(Path(source), Path(target), folder, test, langs)
            said.append(f"{count:,} pairs of {Path(source).name}")
    publish_folder(folder)
    print(", ".join(said))


def write_given(source: Path, target: Path, folder: Path, split: str, langs: Pair) -> int:
    """Writes the pairs of two files that hold a split; returns their number."""
    count = write_pairs(drop_blank(read_pairs(source, target)), folder, split, langs)
    if count == 0:
        raise BadInput(f"{source} and {target} hold no pair with text on both sides")
    return count


def learn_vocabulary(
    texts: list[Path], model: Path, *, kind: str, size: int, coverage: float, sample: int = 2_000_000
) -> int:
    """Learns a sentencepiece model from text files; returns the number of its pieces, at most `size`.

    The text is not normalised (`identity`): sentencepiece's default turns full-width punctuation into ASCII. It learns
    with sentencepiece's own number of threads, whatever the machine: another one gives other sums and pieces. A corpus
    that does not hold so many pieces gets as many as it holds. Of a corpus of more than `sample` lines as many are
    drawn at random, always the same ones.

    Raises:
        BadInput: fewer pieces were asked for than the text has characters.
    """
    import sentencepiece

    # The generator has a seed of its own, so that the same text gives the same model.
    sentencepiece.set_random_generator_seed(1)
    learnt = io.BytesIO()  # sentencepiece would say nothing of a file that it cannot write
    lines = sum(1 for text in texts for _ in text.open("rb"))
    names = " and ".join(text.name for text in texts)
    options = {"input_sentence_size": sample, "shuffle_input_sentence": True} if lines > sample else {}
    try:
        sentencepiece.SentencePieceTrainer.train(
            input=[str(text) for text in texts],
            model_writer=learnt,
            model_type=kind,
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=coverage,
            normalization_rule_name="identity",
            minloglevel=2,
            **options,
        )
    except (RuntimeError, OSError) as error:
        few = re.search(r"required_chars\. (\d+) vs (\d+)", str(error))
        if few:
            raise BadInput(
                f"a vocabulary of {size} is too small for {names}: the characters alone take {few.group(2)} pieces"
            ) from None
        raise BadInput(f"sentencepiece cannot learn from {names}: {str(error).strip()}") from None
    model.write_bytes(learnt.getvalue())
    return sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size()


def make_vocabulary(args) -> None:
    folder = fresh_folder(Path(args.work) / "spm")
    texts = {lang: Path(args.work) / "text" / f"train.{lang}" for lang in (args.src_lang, args.tgt_lang)}
    said = []

    def learn(name: str, langs: Iterable[str], size: int, kind: str) -> Path:
        model = folder / f"{name}.model"
        sources = [texts[lang] for lang in langs]
        found = learn_vocabulary(sources, model, kind=kind, size=size, coverage=args.coverage)
        unit = "characters" if kind == "char" else f"{kind} pieces"
        fewer = f" ({size:,} asked for, the text holds no more)" if found < size and kind != "char" else ""
        said.append(f"{' and '.join(langs)} {found:,} {unit}{fewer}")
        return model

    if args.joint_vocab:
        # A copy: whoever wants the model of a language then need not know that it is both languages'.
        model = learn(args.src_lang, list(texts), args.joint_vocab, args.sp_type)
        shutil.copyfile(model, folder / f"{args.tgt_lang}.model")
    else:
        learn(args.src_lang, [args.src_lang], args.vocab_src, args.sp_type)
        learn(args.tgt_lang, [args.tgt_lang], args.vocab_tgt, "char" if args.char else args.sp_type)
    publish_folder(folder)
    print(", ".join(said))


def take_pieces(args) -> None:
    import sentencepiece

    folder = fresh_folder(Path(args.work) / "spm")
    said = []
    for lang in (args.src_lang, args.tgt_lang):
        model = folder / f"{lang}.model"
        shutil.copyfile(Path(args.model) / model.name, model)
        try:
            size = sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size()
        except RuntimeError:
            raise BadInput(f"{Path(args.model) / model.name} is no model of sentencepiece") from None
        said.append(f"{lang} {size:,} pieces")
    publish_folder(folder)
    print(", ".join(said), f"of {args.model}")


def encode_pairs(pairs: Iterable[Pair], processors, max_length: int | None, threads: int) -> Iterator[Pair]:
    """Encodes pairs, in batches so that threads help; leaves out those with a side of more than `max_length` pieces."""
    pairs = iter(pairs)
    while batch := list(itertools.islice(pairs, 20_000)):
        sides = [
            processor.encode(list(texts), out_type=str, num_threads=threads)
            for processor, texts in zip(processors, zip(*batch, strict=True), strict=True)
        ]
        for source, target in zip(*sides, strict=True):
            if max_length is None or max(len(source), len(target)) <= max_length:
                yield " ".join(source), " ".join(target)


def make_encoded(args) -> None:
    import sentencepiece

    langs = (args.src_lang, args.tgt_lang)
    work = Path(args.work)
    text = work / args.folder
    folder = fresh_folder(work / ("encoded" if args.folder == "text" else f"{args.folder}-encoded"))
    models = [sentencepiece.SentencePieceProcessor(model_file=str(work / "spm" / f"{lang}.model")) for lang in langs]
    for split in SPLITS + TESTS[1:]:
        if not (text / f"{split}.{langs[0]}").exists():
            continue
        pairs = read_pairs(*(text / f"{split}.{lang}" for lang in langs))
        longest = args.max_length if split == "train" else None
        kept = write_pairs(encode_pairs(pairs, models, longest, args.threads), folder, split, langs)
        if split == "train":
            total = sum(1 for _ in (text / f"train.{langs[0]}").open("rb"))
            if kept == 0:
                raise BadInput(f"every training pair is longer than --max-length {args.max_length} pieces")
            if kept < total:
                print(f"{total - kept:,} training pairs of more than {args.max_length} pieces left out")
    publish_folder(folder)


def fresh_folder(path: Path) -> Path:
    """An empty folder beside `path`, to be given its name when all is written."""
    new = path.with_name(path.name + ".new")
    new.mkdir(parents=True, exist_ok=True)
    for file in new.iterdir():
        file.unlink()
    return new


def publish_folder(new: Path) -> None:
    path = new.with_name(new.name.removesuffix(".new"))
    if path.exists():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    os.replace(new, path)


def parse(argv: list[str]) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--work", required=True)
    shared.add_argument("--src-lang", required=True)
    shared.add_argument("--tgt-lang", required=True)
    shared.add_argument("--threads", type=int, default=1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    text = steps.add_parser("text", parents=[shared])
    text.add_argument("--corpus", help="folder of {train,valid,test}.tsv.gz; else the files below")
    text.add_argument("--limit", type=int, default=0, help="use only the first training pairs")
    for split in ("train", "valid"):
        text.add_argument(f"--{split}-src")
        text.add_argument(f"--{split}-tgt")
    text.add_argument("--hold-out", nargs="*", choices=("valid", "test"), help="split these off the training text")
    text.set_defaults(run=make_text)
    tests = steps.add_parser("tests", parents=[shared])
    for test in TESTS:
        tests.add_argument(f"--{test}-src")
        tests.add_argument(f"--{test}-tgt")
    tests.set_defaults(run=make_tests)
    vocabulary = steps.add_parser("vocabulary", parents=[shared])
    vocabulary.add_argument("--vocab-src", type=int)
    vocabulary.add_argument("--vocab-tgt", type=int)
    vocabulary.add_argument("--joint-vocab", type=int, help="one model for both languages, instead of the above")
    vocabulary.add_argument("--sp-type", choices=("unigram", "bpe"), default="unigram")
    vocabulary.add_argument("--char", action="store_true", help="single characters on the target side")
    vocabulary.add_argument("--coverage", type=float, required=True)
    vocabulary.set_defaults(run=make_vocabulary)
    pieces = steps.add_parser("pieces", parents=[shared])
    pieces.add_argument("--model", required=True, help="folder of {SRC,TGT}.model")
    pieces.set_defaults(run=take_pieces)
    encode = steps.add_parser("encode", parents=[shared])
    encode.add_argument("--folder", choices=("text", "tests"), default="text")
    encode.add_argument("--max-length", type=int, help="leave longer training pairs out")
    encode.set_defaults(run=make_encoded)
    return parser.parse_args(argv)


def main() -> None:
    args = parse(sys.argv[1:])
    try:
        args.run(args)
    except BadInput as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename or args.work}: {error.strerror}")


if __name__ == "__main__":
    main()
