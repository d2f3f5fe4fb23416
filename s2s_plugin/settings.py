"""Settings out of a checkpoint, checked before fairseq sees them.

A checkpoint holds the settings of its training: `cfg`, groups of them, or in the older form `args`, all of them in one
Namespace. fairseq merges them with its own and builds the task and the model of them, evaluates some, opens files that
others name. Here each is compared with the type and the choices of its field: that of the dataclass which fairseq or
this package declares for the task, model, criterion ... that the settings name, or else of the command line's option.
What no field is known for, settings of earlier versions, may be numbers and words.
"""

import argparse
import inspect
import json
import re
import types
import typing
from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache

from fairseq.dataclass.configs import FairseqConfig, GenerationConfig
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY

from .literals import read_literal

MOST_SETTINGS, MOST_LEVELS, LONGEST_TEXT, LARGEST = 20_000, 10, 10_000, 2**63 - 1

EVALUATED = frozenset(
    "adafactor_eps adam_betas adamax_betas adaptive_input_cutoff adaptive_softmax_cutoff character_filters "
    "conv_aggregator_layers conv_feature_layers decoder_attention decoder_glu decoder_kernel_size_list decoder_layers "
    "downsample encoder_attention encoder_glu encoder_kernel_size_list encoder_layers gated_attention lamb_betas "
    "lang_tok_style langs_tok left_pad_source left_pad_target override_encoder_layers pipeline_balance "
    "pipeline_decoder_balance pipeline_decoder_devices pipeline_devices pipeline_encoder_balance "
    "pipeline_encoder_devices pretrained project_input self_attention wer_args weight_softmax "
    "xformers_att_config".split()
)
"""What fairseq evaluates where it is a string: it must be a literal or one word."""

LEFT_OUT = frozenset(
    "user_dir decoder_embed_path encoder_embed_path load_pretrained_decoder_from load_pretrained_encoder_from "
    "post_save_script shortlist".split()
)
"""Files and folders of the training that fairseq would read, import or run: a finished model needs none of them."""

GO_WITH = {"encoder_embed_path": "encoder_freeze_embed", "decoder_embed_path": "decoder_freeze_embed"}
"""What fairseq's `lstm` refuses without the file, and matters in training alone."""

NAMES = frozenset("_name arch task criterion optimizer lr_scheduler scoring bpe tokenizer simul_type ema".split())
LANGUAGES = frozenset("source_lang target_lang".split())


class SettingsError(ValueError):
    """Settings that are no settings of fairseq's; the message names the first one, without the file."""


class NoCheckpoint(SettingsError):
    """A file that is whole and no checkpoint of fairseq's."""


def check_state(state) -> None:
    """Checks what a checkpoint holds beside its tensors, and puts the checked settings in their place.

    Args:
        state: what `torch.save` stored. `cfg` and `args` are replaced by copies without what `LEFT_OUT` names.

    Raises:
        SettingsError: not a checkpoint of fairseq's, or a setting that its field does not take.
    """
    if not isinstance(state, dict):
        raise NoCheckpoint(f"it holds no dictionary but {type(state).__name__}")
    budget = Budget()
    if state.get("args") is not None:
        state["args"] = Namespace(**checked_group("args", state["args"], budget))
    if state.get("cfg") is not None:
        if not isinstance(state["cfg"], dict):
            raise SettingsError(f"cfg is {type(state['cfg']).__name__}")
        state["cfg"] = {name: _checked_part(name, part, budget) for name, part in _items("cfg", state["cfg"])}


class Budget:
    """Counts settings, so that a short file cannot hold lists of lists without end."""

    def __init__(self):
        self.left = MOST_SETTINGS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise SettingsError(f"it holds more than {MOST_SETTINGS} settings")


def _items(name: str, group):
    for key, value in group.items():
        if not isinstance(key, str) or len(key) > 200:
            raise SettingsError(f"{name} holds a setting without a name")
        yield key, value


def _checked_part(name: str, part, budget: Budget):
    if isinstance(part, dict):
        return checked_group(name, part, budget)
    if isinstance(part, Namespace):
        return Namespace(**checked_group(name, part, budget))
    _check_plain(name, part, budget)
    return part


def checked_group(name: str, group, budget: Budget | None = None) -> dict:
    """The settings of a group, all of which fit their fields.

    Args:
        name: `model`, `task`, `common` ..., or `args`.   group: a dictionary or a Namespace.

    Raises:
        SettingsError: one does not fit; the message names it.
    """
    if not isinstance(group, dict | Namespace):
        raise SettingsError(f"{name} is {type(group).__name__}")
    is_flat = isinstance(group, Namespace)
    group = dict(_items(name, vars(group) if is_flat else group))
    known = known_fields(name, group, is_flat)
    budget, checked = budget or Budget(), {}
    for key, value in group.items():
        _check_plain(f"{name}.{key}", value, budget, known.get(key, ()))
        if known.get(key) and not any(field.takes(value) for field in known[key]):
            raise SettingsError(f"{name}.{key} is {_shown(value)}, but takes {known[key][0].wanted}")
        _check_special(name, key, value)
        checked[key] = None if key in LEFT_OUT else value
    for path, freeze in GO_WITH.items():
        if group.get(path) and freeze in checked:
            checked[freeze] = False
    return checked


def _shown(value) -> str:
    shown = repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _check_plain(name: str, value, budget: Budget, known=(), level: int = 0) -> None:
    """Raises SettingsError unless a value is made of numbers and words, not too many of them."""
    budget.spend()
    if level > MOST_LEVELS:
        raise SettingsError(f"{name} has more than {MOST_LEVELS} levels")
    if value is None or isinstance(value, bool | float):
        return
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise SettingsError(f"{name} is a number of {value.bit_length()} bits")
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise SettingsError(f"{name} is a text of {len(value)} characters")
        if "${" in value and not any(field.default == value for field in known):
            raise SettingsError(f"{name} is {_shown(value)}, which refers to something else")
        if any(ord(c) < 32 and c not in "\t\n" for c in value):
            raise SettingsError(f"{name} is {_shown(value)}, which holds control characters")
    elif isinstance(value, list | tuple):
        for element in value:
            _check_plain(name, element, budget, (), level + 1)
    elif isinstance(value, dict | Namespace):
        for key, element in _items(name, value if isinstance(value, dict) else vars(value)):
            _check_plain(f"{name}.{key}", element, budget, (), level + 1)
            _check_special(name, key, element)
    else:
        raise SettingsError(f"{name} is {_shown(value)}")


def _check_special(group: str, key: str, value) -> None:
    """Raises SettingsError for what has a meaning of its own beside its type."""
    if not isinstance(value, str):
        return
    name = f"{group}.{key} is {_shown(value)}"
    if key in NAMES and "${" not in value and not re.fullmatch(r"[\w-]{1,100}", value):
        raise SettingsError(f"{name}, which is no name")
    if key in LANGUAGES and not re.fullmatch(r"[\w@+-][\w.@+-]{0,63}", value):
        raise SettingsError(f"{name}, which is no language")
    if key in EVALUATED and not re.fullmatch(r"\w*", value) and "${" not in value:
        try:
            read_literal(value)
        except ValueError:
            raise SettingsError(f"{name}, which is no value") from None
    if key == "dataset_impl" and value == "fasta":
        raise SettingsError(f"{name}, which runs commands of the shell")
    if key == "eval_bleu_args":
        for option, chosen in _json(name, value).items():
            _check_option_of_search(f"{group}.{key}", option, chosen)
    if key == "eval_bleu_detok_args" and not all(
        chosen is None or isinstance(chosen, bool | int | float | str) for chosen in _json(name, value).values()
    ):
        raise SettingsError(f"{name}, which holds more than options")


def _json(name: str, text: str) -> dict:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingsError(f"{name}, which is no object of JSON")
    return found


def _check_option_of_search(name: str, option: str, value) -> None:
    known = fields_of_dataclass(GenerationConfig).get(option)
    if known is None or option == "lm_path" or not known.takes(value):
        raise SettingsError(f"{name} holds {_shown(option)}: {_shown(value)}, which is no option of a search")


# --- fields ---


class Field(typing.NamedTuple):
    """What a setting may be.

    Attributes:
        takes: tells of a value.   wanted: the same in words.   default: of the field.
    """

    takes: Callable
    wanted: str
    default: object = None


def known_fields(name: str, group: dict, is_flat: bool) -> dict[str, list[Field]]:
    """The fields of each setting of a group; of several where one flat Namespace holds the settings of many.

    Args:
        name: `model`, `task`, `common` ..., or `args`.   group: its settings.
    """
    if is_flat or name == "args":
        sources = [fields_of_dataclass(kind) for kind in _dataclasses_of_groups().values()]
        for registry in ("task", "arch", *REGISTRIES):
            sources.append(fields_of_name(registry, group.get(registry)))
        own_name = group.get("_name")
        sources += [fields_of_name(registry, own_name) for registry in ("task", "arch", *REGISTRIES)]
    elif name in _dataclasses_of_groups():
        sources = [fields_of_dataclass(_dataclasses_of_groups()[name])]
    else:
        sources = [fields_of_name("arch" if name == "model" else name, group.get("_name"))]
    known: dict[str, list[Field]] = {}
    for source in sources:
        for key, field in source.items():
            known.setdefault(key, []).append(field)
    return known


@cache
def _dataclasses_of_groups() -> dict:
    return {entry.name: entry.type for entry in fields(FairseqConfig) if is_dataclass(entry.type)}


def fields_of_name(registry: str, name) -> dict[str, Field]:
    """Of the task, architecture, criterion ... of that name; none for an unknown one."""
    if not isinstance(name, str):
        return {}
    return _fields_of_name(registry, name)


@cache
def _fields_of_name(registry: str, name: str) -> dict[str, Field]:
    found = {"task": TASK_REGISTRY, "arch": ARCH_MODEL_REGISTRY}.get(registry)
    if found is None:
        found = REGISTRIES[registry]["registry"] if registry in REGISTRIES else {}
    kind = found.get(name)
    if kind is None:
        return {}
    declared = getattr(kind, "__dataclass", None)
    if declared is not None:
        return fields_of_dataclass(declared)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    if hasattr(kind, "add_args"):
        kind.add_args(parser)
    return {action.dest: field_of_option(action) for action in parser._actions}


@cache
def fields_of_dataclass(kind: type) -> dict[str, Field]:
    """By name."""
    return {entry.name: field_of_type(entry.type, entry.default) for entry in fields(kind)}


def field_of_type(kind, default) -> Field:
    """Of a dataclass's field."""
    return Field(lambda value: value == default or fits(value, kind), _in_words(kind), default)


def _in_words(kind) -> str:
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(one.value) for one in kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _in_words(typing.get_args(kind)[0])
    return {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}.get(kind, "another value")


def fits(value, kind) -> bool:
    """Whether a value is of the type of a field; None always is, and a literal of it in a string, as fairseq reads
    what earlier versions stored."""
    if value is None or kind in (typing.Any, object):
        return True
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return str(value) in [str(one.value) for one in kind] + [one.name for one in kind]
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in of)
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, str):
        try:
            return fits(read_literal(value), kind)
        except ValueError:
            return False
    if kind is bool:
        return isinstance(value, bool) or (isinstance(value, int) and value in (0, 1))
    if kind is int:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if kind is float:
        return isinstance(value, int | float)
    if origin in (list, tuple) or kind in (list, tuple):
        elements = value if isinstance(value, list | tuple) else [value]
        return all(any(fits(element, one) for one in of if one is not ...) for element in elements) if of else True
    return isinstance(value, dict | Namespace)


def field_of_option(action: argparse.Action) -> Field:
    """Of an option of the command line."""
    if action.nargs == 0:
        return Field(lambda value: fits(value, bool), "True or False", action.default)
    if action.choices is not None:
        choices = [str(choice) for choice in action.choices]
        return Field(
            lambda value: value is None or str(value) in choices or value == action.default,
            "one of " + ", ".join(choices),
            action.default,
        )
    if action.type in (None, str):  # architectures set numbers where the command line has words
        return Field(lambda value: not isinstance(value, dict | Namespace), "a text or a number", action.default)
    kind = action.type if action.type in (int, float) else None
    if kind is None:  # a function that reads a list or a word for True: what it gives is stored
        return Field(lambda value: not isinstance(value, dict | Namespace), "another value", action.default)
    if action.nargs is not None and action.nargs != "?":
        return Field(lambda value: fits(value, list[kind]) or value == action.default, "a list", action.default)
    return Field(lambda value: fits(value, kind) or value == action.default, _in_words(kind), action.default)
