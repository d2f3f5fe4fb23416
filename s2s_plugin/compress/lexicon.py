"""The candidates of a vocabulary shortlist, learnt from where a model looks in its training data."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import torch
from fairseq.data import Dictionary
from tqdm import tqdm


@torch.no_grad()
def count_links(model, batches: Iterable[dict], pad: int, threshold: float = 0.1) -> Counter:
    """How much of its attention each target word gives to each source word, weights below the threshold left out.

    Args:
        model: of fairseq, with attention, in evaluation.
        batches: as fairseq's dataset collates them.
        pad: of both dictionaries.

    Returns:
        By (source, target), the sum of the weights.

    Raises:
        ValueError: the model has no attention.
    """
    counts = Counter()
    for batch in batches:
        attn = model(**batch["net_input"])[1]["attn"]
        if attn is None or attn[0] is None:
            raise ValueError("the model has no attention, so that it has no candidates to learn from")
        source, target, attn = batch["net_input"]["src_tokens"], batch["target"], attn[0].float()
        is_link = attn.ge(threshold) & target.ne(pad)[:, :, None] & source.ne(pad)[:, None, :]
        row, t, s = is_link.nonzero(as_tuple=True)
        pairs, place = torch.stack([source[row, s], target[row, t]], dim=1).unique(dim=0, return_inverse=True)
        weights = torch.zeros(len(pairs)).index_add_(0, place, attn[row, t, s])
        for (one, other), weight in zip(pairs.tolist(), weights.tolist(), strict=True):
            counts[one, other] += weight
    return counts


def learn_lexicon(model, task, data: Path, split: str, size: int) -> list[str]:
    """Lines for `Lexicon.read`, from a split of fairseq's data.

    Raises:
        FileNotFoundError: no such data.   ValueError: what `count_links` raises.
    """
    task.cfg.data = str(data)
    task.load_dataset(split)
    dataset = task.dataset(split)
    batches = dataset.batch_by_size(dataset.ordered_indices(), max_tokens=4000)
    bar = tqdm(batches, unit=" batches", disable=None, mininterval=1)
    samples = (dataset.collater([dataset[index] for index in batch]) for batch in bar)
    counts = count_links(model, samples, task.source_dictionary.pad())
    return lexicon_lines(counts, task.source_dictionary, task.target_dictionary, size)


def lexicon_lines(counts: Counter, source: Dictionary, target: Dictionary, size: int) -> list[str]:
    """Lines `source target weight`, the `size` heaviest of each source word, whose weights sum to 1 or less."""
    by_source = defaultdict(list)
    for (one, other), weight in counts.items():
        if other >= target.nspecial:
            by_source[one].append((weight, other))
    lines = []
    for one, found in sorted(by_source.items()):
        total = sum(weight for weight, _ in found)
        for weight, other in sorted(found, key=lambda pair: (-pair[0], pair[1]))[:size]:
            lines.append(f"{source[one]} {target[other]} {weight / total:.4g}")
    return lines
