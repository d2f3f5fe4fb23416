"""Where a speech model listens: how often its attention goes backwards, and a picture over the spectrogram.

usage: attention.py DATA --path MODEL [--split test] [--limit N] [--picture OUT.png --ids ID ...]

Transcribes the recordings of a split and follows the attention of each transcript: of all steps from one symbol to the
next, the share whose largest weight does not stand before that of the symbol before. The end counts as a symbol.
--picture draws, for each of the recordings, its features over time and below them the weights of each symbol, the
darkest the largest (PNG, SVG or PDF by the ending; of several recordings one below the other).
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy

ROOT = Path(__file__).resolve().parents[2]
FRAME_SECONDS = 0.01


class Heard(NamedTuple):
    """What a model made of a recording.

    Attributes:
        name: of the recording.   features: (N, F), as the model reads them.
        symbols: T, of the transcript and its end.   weights: (T, S), rows sum to 1.
    """

    name: str
    features: numpy.ndarray
    symbols: list[str]
    weights: numpy.ndarray


def share_forward(weights: list[numpy.ndarray]) -> tuple[int, int]:
    """Steps whose largest weight is not before that of the step before, and all. Args: (T, S) of each recording."""
    steps = [numpy.diff(of_recording.argmax(axis=1)) for of_recording in weights]
    return sum(int((step >= 0).sum()) for step in steps), sum(map(len, steps))


def transcribe(data: str, path: str, split: str, beam: int, lenpen: float, longest: int, limit: int):
    """Yields `Heard` for the recordings of a split in the manifest's order, for the first `limit` if that is not 0."""
    import torch
    from fairseq import utils
    from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator

    sys.path.insert(0, str(ROOT))
    utils.import_user_module(argparse.Namespace(user_dir=str(ROOT / "s2s_plugin")))
    from s2s_plugin.checkpoints import load_model

    model, cfg, task = load_model(path, {"data": data})
    task.load_dataset(split)
    dataset = task.dataset(split)
    names = [row["id"] for row in SpeechToTextDatasetCreator._load_samples_from_tsv(data, split)]
    search = argparse.Namespace(beam=beam, lenpen=lenpen, max_len_a=0, max_len_b=longest)
    generator = task.build_generator([model], search)
    dictionary = task.target_dictionary
    model.eval()
    for index, name in enumerate(names[: limit or None]):
        sample = dataset.collater([dataset[index]])
        with torch.no_grad():
            best = task.inference_step(generator, [model], sample)[0][0]
        if best["attention"].numel() == 0:
            raise ValueError(f"--path {path}: the model has no attention")
        symbols = [dictionary[token] for token in best["tokens"][:-1].tolist()] + ["</s>"]
        yield Heard(name, sample["net_input"]["src_tokens"][0].numpy(), symbols, best["attention"].t().numpy())


def draw(path: Path, heard: list[Heard], font: Path | None = None) -> None:
    """Writes the picture; raises ValueError for another ending than .png, .svg and .pdf, and for a font that is none.

    Characters that no font here has are told of in a warning, and drawn as boxes."""
    from matplotlib import rcParams
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sys.path.insert(0, str(ROOT / "scripts"))
    from attention_fonts import BUNDLED, find_fonts
    from attention_weights import printable

    rcParams["text.usetex"] = False  # names and symbols are no TeX
    heard = [one._replace(name=printable(one.name), symbols=[*map(printable, one.symbols)]) for one in heard]
    try:
        fonts = find_fonts((symbol for one in heard for symbol in (*one.symbols, one.name)), font)
    except ValueError as error:
        if font:
            raise
        print(f"warning: drawn as boxes: {error}", file=sys.stderr)
        fonts = [BUNDLED]
    heights = [height for one in heard for height in (1.4, 0.35 + 0.16 * len(one.symbols))]
    longest = max(len(one.features) for one in heard) * FRAME_SECONDS
    figure = Figure(figsize=(min(2 + 1.6 * longest, 40), sum(heights) + 0.7 * len(heard)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for above, below, one in zip(axes[0::2], axes[1::2], heard, strict=True):
        seconds = len(one.features) * FRAME_SECONDS
        above.imshow(
            one.features.T, origin="lower", aspect="auto", extent=(0, seconds, 0, one.features.shape[1]), cmap="magma",
            interpolation="nearest",
        )  # fmt: skip
        above.set_title(one.name, loc="left", fontsize=10, family=fonts).set_parse_math(False)
        above.set_ylabel("features", fontsize=8)
        above.tick_params(labelbottom=False, labelsize=7)
        rows, steps = one.weights.shape
        below.imshow(
            one.weights, aspect="auto", extent=(0, seconds, rows, 0), cmap="Blues", vmin=0,
            interpolation="nearest",
        )  # fmt: skip
        below.set_yticks([row + 0.5 for row in range(rows)], one.symbols, fontsize=7, family=fonts)
        for label in below.get_yticklabels():
            label.set_parse_math(False)
        below.set_xlabel("seconds", fontsize=8)
        below.tick_params(labelsize=7)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise ValueError(f"--picture {path}: {error}") from None


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of the manifests")
    parser.add_argument("--path", required=True, help="the model")
    parser.add_argument("--split", default="test", help="recordings of this manifest")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--lenpen", type=float, default=1.0)
    parser.add_argument("--max-len-b", type=int, default=200, help="symbols of a transcript, at most")
    parser.add_argument("--limit", type=int, default=0, help="recordings, the first of the split; 0: all")
    parser.add_argument("--picture", type=Path, help="file for the picture, .png, .svg or .pdf")
    parser.add_argument("--font", type=Path, help="for scripts that no font of this machine has: .ttf, .otf or .ttc")
    parser.add_argument("--ids", nargs="+", help="recordings of the picture (the first of the split)")
    args = parser.parse_args()
    if not Path(args.path).is_file():
        raise ValueError(f"--path {args.path}: there is no such file")
    if not (Path(args.data) / f"{args.split}.tsv").is_file():
        raise ValueError(f"--split {args.split}: there is no {args.data}/{args.split}.tsv")
    if args.ids and not args.picture:
        raise ValueError("--ids goes with --picture")
    if args.font and not args.picture:
        raise ValueError("--font goes with --picture")
    if args.picture and args.picture.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--picture {args.picture}: end it in .png, .svg or .pdf")
    if args.picture and not args.picture.absolute().parent.is_dir():
        raise ValueError(f"--picture {args.picture}: there is no folder {args.picture.parent}")
    if args.limit < 0:
        raise ValueError(f"--limit {args.limit}: must not be negative")
    weights, drawn = [], {}
    for heard in transcribe(args.data, args.path, args.split, args.beam, args.lenpen, args.max_len_b, args.limit):
        weights.append(heard.weights)
        if args.picture and (heard.name in args.ids if args.ids else not drawn):
            drawn[heard.name] = heard
    if args.picture:
        missing = [name for name in args.ids or [] if name not in drawn]
        if missing:
            raise ValueError(f"--ids {missing[0]}: there is no such recording among {len(weights)} of {args.split}.tsv")
        draw(args.picture, list(drawn.values()), args.font)
    forward, steps = share_forward(weights)
    print(f"forward: {100 * forward / max(steps, 1):.1f} % of {steps:,} steps, {len(weights):,} recordings")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
