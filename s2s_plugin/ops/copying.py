"""Copying from the source: the mixture of the pointer-generator, without a second distribution over the vocabulary."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import CopySource


def copy_source(ids: Tensor) -> CopySource:
    """Finds which positions of a sentence stand for the same word. Args: ids (B, S) int64."""
    words, places = ids.sort(dim=1, stable=True)  # each word's positions in order, the first one in front
    here = torch.arange(ids.size(1), device=ids.device).expand_as(ids)
    goes_on = F.pad(words[:, 1:] == words[:, :-1], (1, 0))
    front = here.masked_fill(goes_on, 0).cummax(dim=1).values
    return CopySource(ids, torch.empty_like(ids).scatter_(1, places, places.gather(1, front)))


def copy_mass(attn: Tensor, source: CopySource) -> Tensor:
    """The weight of each word, at the first of its positions, and 0 at the others; (B, T, S) like `attn`."""
    return torch.zeros_like(attn).scatter_add(2, source.slots.unsqueeze(1).expand_as(attn), attn)


def copy_lprobs(logits: Tensor, gen_logit: Tensor, attn: Tensor, source: CopySource) -> Tensor:
    """The fast twin of `reference.copy_lprobs`: same arguments, shapes and result.

    Only the words of the source differ from what is generated, so only they are computed again.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    gen_logit = gen_logit.to(dtype).unsqueeze(2)
    lprobs = torch.log_softmax(logits, dim=2, dtype=dtype) + F.logsigmoid(gen_logit)
    mass, ids = copy_mass(attn.to(dtype), source), source.ids.unsqueeze(1).expand_as(attn)
    generated = lprobs.gather(2, ids)
    copied = F.logsigmoid(-gen_logit) + mass.clamp_min(torch.finfo(dtype).tiny).log()
    both = torch.where(mass > 0, torch.logaddexp(generated, copied), generated)
    # Every position writes what the first one of its word has, and only that one has a gradient.
    slots = source.slots.unsqueeze(1).expand_as(attn)
    is_first = slots.eq(torch.arange(slots.size(2), device=slots.device))
    return lprobs.scatter(2, ids, torch.where(is_first, both, both.detach().gather(2, slots)))
