"""The word alignments that --load-alignments trains by."""

import logging
from pathlib import Path

from fairseq.data import LanguagePairDataset, language_pair_dataset

logger = logging.getLogger(__name__)


def check_link_file(path: Path, dataset_impl: str | None) -> None:
    """Raises ValueError for what fairseq would miss or fail on without saying why: links in text, and none at all.

    Args:
        path: of the file, without its ending.   dataset_impl: of --dataset-impl.
    """
    if str(dataset_impl) == "raw":
        raise ValueError("--load-alignments reads binary data alone: not --dataset-impl raw")
    file = path.with_name(f"{path.name}.bin")
    if file.is_file() and file.stat().st_size == 0:
        raise ValueError(f"--load-alignments: no line of {path} has links")


def check_links(pairs: LanguagePairDataset, path: Path, training: bool) -> None:
    """Sees that there are links to train by, and says how many lines of them fairseq will skip.

    Args:
        path: of the file, without its ending.   training: the sentences are those of --train-subset, which need links.

    Raises:
        FileNotFoundError: no file.
        ValueError: not as many lines as sentences, or none with links that can be used.
    """
    if pairs.align_dataset is None:
        if training:
            raise FileNotFoundError(f"--load-alignments: no {path}: make it with fairseq-preprocess --align-suffix")
        return
    if len(pairs.align_dataset) != len(pairs):
        raise ValueError(f"--load-alignments: {path} has {len(pairs.align_dataset)} lines for {len(pairs)} sentences")
    usable, outside = count_links(pairs)
    if training and not usable:
        raise ValueError(f"--load-alignments: no line of {path} has links, but for {outside} past a sentence's end")
    if outside:
        logger.warning(f"{outside} lines of {path} have links past the end of their sentence and are left out")
        logging.getLogger(language_pair_dataset.__name__).addFilter(is_news)


def count_links(pairs: LanguagePairDataset) -> tuple[int, int]:
    """Sentences with links, and those that fairseq skips, as a link points past the end of a sentence."""
    usable = outside = 0
    for number, (source, target) in enumerate(zip(pairs.src_sizes, pairs.tgt_sizes, strict=True)):
        links = pairs.align_dataset[number].view(-1, 2)
        if len(links) > 0:
            is_inside = int(links[:, 0].max()) < source - 1 and int(links[:, 1].max()) < target - 1
            usable, outside = usable + is_inside, outside + (not is_inside)
    return usable, outside


def is_news(record: logging.LogRecord) -> bool:
    """False for what fairseq says for every sentence whose links it skips, in every epoch."""
    return "alignment size mismatch" not in record.getMessage()
