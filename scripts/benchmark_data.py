"""What the benchmarks run on: a corpus as fairseq reads it, batches of it, and batches of random words."""

import contextlib
import gzip
import hashlib
import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def prepare_text(source: Path, target: Path, folder: Path) -> Path:
    """Learns a joint sentencepiece model of 8,000 pieces and preprocesses the two files; returns fairseq's folder."""
    import sentencepiece
    from fairseq_cli import preprocess

    counts = [len(read_lines(path)) for path in (source, target)]
    if counts[0] != counts[1]:
        sys.exit(f"error: {source} has {counts[0]} lines, but {target} has {counts[1]}")
    folder.mkdir(parents=True, exist_ok=True)
    print(f"preparing {source} and {target} in {folder}", file=sys.stderr, flush=True)
    sentencepiece.SentencePieceTrainer.train(
        input=[str(source), str(target)], model_prefix=str(folder / "spm"), vocab_size=8000, model_type="bpe",
        character_coverage=0.9995, normalization_rule_name="identity", minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    for path, language in ((source, "src"), (target, "tgt")):
        pieces = (" ".join(model.encode(line, out_type=str)) + "\n" for line in read_lines(path))
        (folder / f"train.{language}").write_text("".join(pieces), encoding="utf-8")
    words = ["--source-lang", "src", "--target-lang", "tgt", "--joined-dictionary"]
    args = preprocess.options.get_preprocessing_parser().parse_args(
        [*words, "--trainpref", str(folder / "train"), "--destdir", str(folder / "data-bin"), "--workers", "2"]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        preprocess.main(args)
    return folder / "data-bin"


def read_lines(path: Path) -> list:
    """Lines by their line feeds alone; Unicode knows other ends, which stand inside of sentences."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def find_data(paths: list, work: Path) -> Path:
    """The folder of fairseq-preprocess that the paths stand for: see the top of this file."""
    if len(paths) == 1:
        return paths[0]
    if not paths:
        paths = [work / "examples.en", work / "examples.zh"]
        if not all(path.exists() for path in paths):
            work.mkdir(parents=True, exist_ok=True)
            with gzip.open(ROOT / "examples/en_zh/data/train.tsv.gz", "rt", encoding="utf-8") as file:
                rows = [line.rstrip("\n").split("\t") for line in file]
            for path, column in zip(paths, (0, 1), strict=True):
                unfinished = path.with_suffix(".new")
                unfinished.write_text("".join(row[column] + "\n" for row in rows), encoding="utf-8")
                unfinished.rename(path)
    source, target = paths
    digest = hashlib.sha256(source.read_bytes() + b"\0" + target.read_bytes()).hexdigest()
    folder = work / f"{source.name}-{target.name}-{digest[:12]}"
    ready = folder / "data-bin" / "train.src-tgt.tgt.idx"
    return ready.parent if ready.exists() else prepare_text(source, target, folder)


def choose_batches(dataset, max_tokens: int, count: int) -> list:
    """`count` batches of at most `max_tokens`, spread evenly over all lengths."""
    import numpy

    numpy.random.seed(1)
    batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=max_tokens)
    count = min(count, len(batches))
    return [batches[int((place + 0.5) * len(batches) / count)] for place in range(count)]


def random_sample(dictionary, sentences: int, length: int) -> dict:
    """A batch of random words: `sentences` sources and targets of `length` tokens each."""
    import torch

    generator = torch.Generator().manual_seed(1)
    source, target = (
        torch.randint(dictionary.nspecial, len(dictionary), (sentences, length), generator=generator) for _ in range(2)
    )
    source[:, -1] = target[:, -1] = dictionary.eos()
    inputs = {
        "src_tokens": source,
        "src_lengths": torch.full((sentences,), length),
        "prev_output_tokens": target.roll(1, dims=1),
    }
    tokens = sentences * length
    return {"id": torch.arange(sentences), "nsentences": sentences, "ntokens": tokens, "net_input": inputs,
            "target": target}  # fmt: skip
