"""Pruning while fairseq-train trains: the options, and the places in its loop where the pruner has its say."""

from dataclasses import dataclass, field, fields
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..compress.pruning import SCOPES, Pruner, Schedule, check_schedule, matrices


@dataclass
class PruningConfig(TranslationConfig):
    prune_target: float = field(
        default=0.0,
        metadata={
            "help": "share of the weights that become zero in training, the smallest first (Zhu and Gupta 2017); "
            "0: none. A finished model is stored small by `python -m s2s_plugin pack`"
        },
    )
    prune_start: int = field(default=0, metadata={"help": "updates before the first pruning"})
    prune_end: Optional[int] = field(
        default=None, metadata={"help": "updates by which --prune-target is reached; some more should follow"}
    )
    prune_every: int = field(default=100, metadata={"help": "updates between two prunings"})
    prune_scope: ChoiceEnum(list(SCOPES)) = field(
        default="all",
        metadata={"help": "prune the smallest weights of all matrices together, or the same share of each"},
    )
    prune_except: Optional[str] = field(
        default=None,
        metadata={
            "help": "parts of names of matrices to leave alone, with commas between: embed_tokens,attention. Vectors "
            "are left alone in any case"
        },
    )


class PruningTask(TranslationTask):
    """fairseq's `translation`, which prunes with --prune-target. Masks are zeros in the parameters: see `Pruner`."""

    prunable = pruner = None

    @classmethod
    def setup_task(cls, cfg: PruningConfig, **kwargs):
        """Raises ValueError for a schedule that is none, or parts of one without --prune-target."""
        if cfg.prune_target:
            if cfg.prune_end is None:
                raise ValueError(f"--prune-target {cfg.prune_target} needs --prune-end: by which update it is reached")
            check_schedule(schedule_of(cfg), str(cfg.prune_scope))
        else:
            for entry in fields(PruningConfig):
                if entry.name.startswith("prune_") and str(getattr(cfg, entry.name)) != str(entry.default):
                    option = f"--{entry.name.replace('_', '-')} {getattr(cfg, entry.name)}"
                    raise ValueError(f"{option} goes with --prune-target")
        return super().setup_task(cfg, **kwargs)

    def build_model(self, cfg, from_checkpoint=False):
        """Raises ValueError where --prune-except leaves nothing to prune or names nothing."""
        model = super().build_model(cfg, from_checkpoint)
        if self.cfg.prune_target and not from_checkpoint:
            self.prunable = matrices(model, [word for word in (self.cfg.prune_except or "").split(",") if word])
        return model

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        """Raises ValueError where the pruning should have ended before this run and has not."""
        if self.cfg.prune_target and self.pruner is None:  # now, when a checkpoint has been read
            self.pruner = Pruner(self.prunable, schedule_of(self.cfg), str(self.cfg.prune_scope), update_num)
        done = super().train_step(sample, model, criterion, optimizer, update_num, ignore_grad)
        if self.pruner is not None:
            self.pruner.mask_gradients()
            metrics.log_scalar("sparsity", self.pruner.sparsity, weight=0, round=3)
        return done

    def optimizer_step(self, optimizer, model, update_num):
        super().optimizer_step(optimizer, model, update_num)
        if self.pruner is not None:
            self.pruner.after_update(update_num + 1)


def schedule_of(cfg: PruningConfig) -> Schedule:
    return Schedule(cfg.prune_target, cfg.prune_start, cfg.prune_end, cfg.prune_every)
