"""Options that several commands share, options made from settings and modalities, and how their texts are read."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer

from emoclim.commands.interface.terminal import FORMS, option
from emoclim.data import Setting, read_setting
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES, Modality

if TYPE_CHECKING:
    from emoclim.config import Settings
    from emoclim.recipes import Preset as PaperPreset

T = TypeVar("T")

Root = Annotated[Path, typer.Option("--workspace", help="Folder with data/, cache/ and runs/.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that decode files; default one per core, at most 8.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Segments per forward pass of the encoder; default 8, on a GPU 64.")
]
MaxFailures = Annotated[float, typer.Option(min=0, max=1, help="Share of items that may fail; exit code 3 if more do.")]
On = Annotated[
    str | None,
    typer.Option(help="Workers to share the work out to, as local:8, slurm:16,partition=gpu or ray; default none."),
]
Average = Annotated[
    Literal["embeddings", "features"],
    typer.Option(help="What is averaged over a recording's segments: embeddings (after the heads) or features."),
]
Preset = Annotated[str, typer.Option(help="Settings to start from: default, paper or paper-code.")]
JointConfig = Annotated[
    Path | None,
    typer.Option(help="TOML file with settings above the preset, also [encoder] and [augmentations]; default none."),
]
TrainedRun = Annotated[
    str | None,
    typer.Option("--run", help="Run whose heads to use, by name; default the newest (but for those of reproduce)."),
]
HeadNumber = Annotated[int | None, typer.Option("--head", help="Number of the heads to use; default the run's best.")]
OwnSettings = Annotated[
    list[str] | None,
    typer.Option("--setting", help="NAME=VALUE of the objective, as temperature=0.1; repeatable; default its own."),
]
Store = Annotated[
    bool, typer.Option("--store", help="Decode all music once and keep it, so that crops of it are read faster.")
]
LossWeights = Annotated[
    list[str] | None,
    typer.Option(
        help="Weights of the objective's terms, of emo_clim A>B,B>A,A>A,B>B for modalities A and B in the order of "
        "the options above; may be repeated; default the objective's own, or equal."
    ),
]
SweepFile = Annotated[
    Path | None, typer.Option(help="TOML file of settings to try, each with a list of values; default none.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds to try everything with, from --seed on.")]
HeadsFile = Annotated[Path | None, typer.Option(help="TOML file with settings above the preset; default none.")]
RunName = Annotated[str | None, typer.Option(help="Name of the run; default the next number and the encoders.")]
Resume = Annotated[
    str | None, typer.Option(help="Run to go on with after it was stopped or killed; default a new run.")
]
RESUMED = "--resume goes on with what the run was begun with"
EncoderSettings = Annotated[
    list[str] | None,
    typer.Option("--setting", help="NAME=VALUE of the encoder, as overlap=0.5; repeatable; default its own."),
]


def library_options(default: str) -> tuple[Parameter, ...]:
    """Make one option per modality, called like its folder."""
    text = "Cache of {}, by its encoder, import or manifest; default {}."
    return tuple(option(facts.folder, str | None, text.format(facts.nouns, default)) for facts in MODALITIES.values())


LIBRARIES = library_options("the newest")


def named_libraries(options: Mapping[str, Any]) -> dict[Modality, str]:
    """Return the values of :data:`LIBRARIES` that were given, by modality."""
    return {name: options[facts.folder] for name, facts in MODALITIES.items() if options[facts.folder] is not None}


@dataclass(frozen=True, slots=True)
class SettingOptions:
    """Options made from the fields of settings that have a description, which is their help."""

    settings: type["Settings"]
    # by field, what its option is called where that is not the field's name
    renamed: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()
    several: Collection[str] = ()  # fields whose options may be repeated, to try each value
    default: str = ""  # where it is not that of the field

    def options(self) -> list[Parameter]:
        """Make the options; where one is not given, its value is None, or that of a switch its default."""
        made = []
        for name, (called, facts) in self._fields().items():
            kind, text = _plain(facts.annotation), f"{facts.description}."
            if self.default:
                text = f"{text.partition('; default')[0].removesuffix('.')}; default {self.default}."
            if kind is bool:
                made.append(option(called, bool, text, facts.default))
                continue
            if get_origin(kind) is tuple:
                kind, text = str, text.replace("; default", ", with commas between; default")
            if name in self.several:
                kind = list[kind if kind in (int, float) else str]  # type: ignore[misc]
                text = f"{facts.description}; may be repeated."
            made.append(option(called, kind | None, text))
        return made

    def given(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what was given, by field."""
        found = {}
        for name, (called, facts) in self._fields().items():
            if (value := options[called]) is not None:
                kind = _plain(facts.annotation)
                if get_origin(kind) is tuple:
                    part = _plain(get_args(kind)[0])
                    value = read_list(value, f"--{called.replace('_', '-')}", part if part in (int, float) else str)
                found[name] = value
        return found

    def _fields(self) -> dict[str, tuple[str, Any]]:
        """By field, what its option is called and what pydantic knows of it."""
        fields = self.settings.model_fields.items()
        return {
            name: (self.renamed.get(name, name), facts)
            for name, facts in fields
            if facts.description and name not in self.left_out
        }


def _plain(annotation: Any) -> Any:
    """Strip from a type None, and what pydantic checks of it."""
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    if get_origin(annotation) is Annotated or NoneType in get_args(annotation):
        return _plain(kinds[0])
    return annotation


def given_options(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line, but for the form of the output."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    return given - FORMS.keys()


def refuse_useless(
    context: typer.Context, useless: Collection[str] | None = None, why: str = "", beside: Collection[str] = ()
) -> None:
    """Raise :class:`ConfigError` if options were given that have no effect; None are all but those `beside`."""
    given = given_options(context) - set(beside)
    if found := sorted(given if useless is None else given & set(useless)):
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in found)
        raise ConfigError(f"{listed} would have no effect: {why}; leave out what is not meant")


def read_pairs(pairs: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """``["overlap=0.5"]`` as a mapping."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"{option} {pair!r} is not NAME=VALUE; write for example {example}")
        if name in found:
            raise ConfigError(f"{option} {name} is given twice ({found[name]!r}, {text!r}); leave out one of the two")
        found[name] = text
    return found


def parse_mix(text: str | None) -> dict[str, float] | None:
    """Return the shares of ``--mix`` by name; None where there is none."""
    if text is None:
        return None
    example = "emotion=.7,content=.3"
    pairs = read_pairs([pair.strip() for pair in text.split(",")], "--mix", example)
    try:
        return {name: float(share) for name, share in pairs.items()}
    except ValueError as error:
        raise ConfigError(f"--mix {text!r} holds what is no number; write for example {example}") from error


def parse_settings(pairs: Sequence[str] | None, example: str = "overlap=0.5") -> dict[str, Setting]:
    """The pairs of ``--setting`` as a mapping, numbers read as such."""
    return {name: read_setting(text) for name, text in read_pairs(pairs, "--setting", example).items()}


def named_encoders(
    names: Sequence[str] | None,
    checkpoints: Sequence[str] | None,
    settings: Sequence[str] | None,
    preset: "PaperPreset",
) -> dict[str, Any]:
    """Return the encoders that are named, with the files and settings of each, by modality."""
    from emoclim.encoders import find_encoder

    if not names:
        raise ConfigError("name the encoder to train with --encoder; see: emoclim encoders")
    by_modality: dict[Any, str] = {}
    for name in names:
        other = by_modality.setdefault(find_encoder(name).MODALITY, name)
        if other is not name:
            raise ConfigError(f"encoders {other} and {name} both take {find_encoder(name).MODALITY}; name one of them")
    files = read_pairs(_of_each(checkpoints, "=", "--checkpoint", names), "--checkpoint", f"{names[0]}=FILE")
    given: dict[str, list[str]] = {name: [] for name in names}
    for pair in _of_each(settings, ".", "--setting", names):
        name, _, rest = pair.partition(".")
        given[name].append(rest)
    return {
        "encoders": by_modality,
        "checkpoints": {modality: files.get(name) for modality, name in by_modality.items()},
        "encoder_settings": {
            modality: preset.encoder(name) | parse_settings(given[name]) for modality, name in by_modality.items()
        },
    }


def _of_each(texts: Sequence[str] | None, mark: str, option: str, names: Sequence[str]) -> list[str]:
    """Put the name of the only encoder before what names none."""
    told = []
    for text in texts or ():
        if any(text.startswith(f"{name}{mark}") for name in names):
            told.append(text)
        elif len(names) == 1:
            told.append(f"{names[0]}{mark}{text}")
        else:
            raise ConfigError(
                f"{option} {text!r} does not say of which encoder; write for example {names[0]}{mark}{text}"
            )
    return told


def read_list(text: str, option: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """``"1,5"`` as values of a kind."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        which = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text!r} is not a list of {which} with commas between them") from error
