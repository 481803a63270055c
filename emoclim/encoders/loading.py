"""Find an encoder by its name, and load it.

Every module beside this one is an encoder, called like its file, and so is every module that another installed package
names by an entry point of the group ``emoclim.encoders``. Its docstring says in the first line what it makes of what;
it states

* ``MODALITY``, what it takes;
* ``load(*, <settings>) -> Encoder``, or ``load(*, checkpoint: Path, <settings>) -> Encoder`` if it has parameters;
* in the second case ``untrained(*, <settings>) -> nn.Module``, its network before the parameters are read, and, if
  anybody published some, ``published(*, <settings>) -> Published``, the file to use where the user names none;
* if it likes, ``VARIANTS``, the values of its setting ``model`` that are worth a line in its description;
* what words its features can be compared with, if any: ``TEXT``, the name of the encoder that is the text tower beside
  it, of the same file; or ``vocabulary(*, <settings>)``, the words whose probabilities its features are, and if they
  are not yet, ``readout(*, <settings>)``, the name of the linear layer of its network that makes them, and softmax or
  sigmoid.

Beside what ``load`` declares, every encoder has the settings :data:`SHARED`: ``precision`` (fp32, bf16 or fp16), of its
network if it has one, and for images ``views``, how many random crops are encoded beside the picture itself, and their
``view_seed``, and ``decoder`` (pillow, draft or torchvision), of their files.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_type_hints

from emoclim.config import closest
from emoclim.data import DECODERS, DRAFT, PILLOW, VIEWS, Plugins, Setting
from emoclim.encoders.base import DECODER, FULL_PRECISION, PRECISION, PRECISIONS, VIEW_SEED, Encoder, ImageEncoder
from emoclim.encoders.checkpoints.published import Published, checkpoints_folder, obtain
from emoclim.encoders.video_encoder import OF_FRAMES, OverFrames
from emoclim.errors import EncoderError
from emoclim.modality import BOX, MODALITIES, Modality
from emoclim.progress import Track, silent

BESIDE = frozenset({"arithmetic", "base", "known_words", "loading", "text_encoder", "text_towers", "video_encoder"})
ENCODERS = Plugins("emoclim.encoders", "encoder", EncoderError, beside=BESIDE)
SHARED: Mapping[str, Setting] = {PRECISION: FULL_PRECISION, VIEWS: 0, VIEW_SEED: 42, DECODER: PILLOW}
PICTURES: Modality = "image"
MAX_VIEWS = 1000
MAX_SEED = 2**32 - 1


def encoder_names() -> list[str]:
    """List the names of all encoders, sorted: of each file, and of videos for each of pictures."""
    own = ENCODERS.names()
    return sorted({*own, *(name + OF_FRAMES for name in own if _takes_pictures(name))})


def find_encoder(name: str) -> Any:
    """Import one encoder."""
    own, pictures = ENCODERS.names(), name.removesuffix(OF_FRAMES)
    if name not in own and pictures in own and _takes_pictures(pictures):
        return OverFrames(ENCODERS.load(pictures))
    return ENCODERS.load(name)


def _takes_pictures(name: str) -> bool:
    """Return whether an encoder takes pictures; of another package, it may be one that cannot be imported."""
    with suppress(EncoderError):
        return bool(ENCODERS.load(name).MODALITY == PICTURES)
    return False


def own_settings(name: str) -> dict[str, Setting]:
    """Return the settings of an encoder's ``load``: name and default."""
    parameters = inspect.signature(find_encoder(name).load).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key != "checkpoint"}


def has_parameters(name: str) -> bool:
    """Return whether an encoder takes a checkpoint."""
    return "checkpoint" in inspect.signature(find_encoder(name).load).parameters


def is_published(name: str) -> bool:
    """Return whether somebody published parameters of an encoder."""
    return hasattr(find_encoder(name), "published")


def published_file(name: str, settings: Mapping[str, Setting]) -> Published:
    """Return the file that an encoder with parameters uses where none is named; raise where nobody published one."""
    if not is_published(name):
        raise EncoderError(
            f"nobody published parameters of encoder {name!r}; train it with emoclim train-end-to-end, or name a file "
            "of them with --checkpoint"
        )
    published: Callable[..., Published] = find_encoder(name).published
    return published(**relevant_settings(published, settings))


def relevant_settings(function: Callable[..., Any], settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Select the settings that a function of an encoder takes."""
    return {key: settings[key] for key in inspect.signature(function).parameters.keys() & settings.keys()}


def untrained_file(name: str, settings: Mapping[str, Setting], seed: int) -> Path:
    """Write random parameters for an encoder that nobody published any of, unless the file is there; return it.

    The same file starts every training with that seed, also where another version of torch would draw other values.
    """
    import torch

    from emoclim.encoders.checkpoints.own_files import write_own

    make: Callable[..., torch.nn.Module] = find_encoder(name).untrained
    own = relevant_settings(make, settings)
    told = "".join(f"-{key}={value}" for key, value in sorted(own.items()))
    path = checkpoints_folder() / f"{name}{told}-untrained-{seed}.safetensors"
    if not path.is_file():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = make(**own)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_own(network.state_dict(), path)
    return path


def published_files(name: str) -> dict[str, Published]:
    """Return an encoder's published files by its setting ``model``; by ``""`` where it has no `VARIANTS`."""
    if not is_published(name):
        return {}
    found = find_encoder(name)
    if not hasattr(found, "VARIANTS"):
        return {"": published_file(name, {})}
    return {model: published_file(name, {"model": model}) for model in found.VARIANTS}


def load_encoder(
    name: str, *, checkpoint: Path | str | None = None, track: Track = silent, **settings: Setting
) -> Encoder:
    """Make an encoder ready for use; its network is built on first use only.

    Parameters
    ----------
    name
        One of :func:`encoder_names`.
    checkpoint
        File of parameters; None takes the encoder's published one, downloading it if need be.
    track
        Shows the progress of a download.
    settings
        What the encoder's ``load`` takes beyond that, and :data:`SHARED`.

    Raises
    ------
    EncoderError
        Unknown encoder or setting, a setting out of range, or a checkpoint for an encoder without parameters.
    CheckpointError
        The checkpoint is missing or does not fit.

    Examples
    --------
    >>> load_encoder("colour", size=128).input_shape
    (3, 128, 128)
    """
    load: Callable[..., Encoder] = find_encoder(name).load
    settings = _typed(name, load, settings)
    shared = {key: settings.pop(key) for key in SHARED.keys() & settings.keys()}
    if has_parameters(name):
        path = (
            Path(checkpoint)
            if checkpoint
            else obtain(published_file(name, settings), track=track, instead=_instead(name))
        )
        return _with_shared(load(checkpoint=path, **settings), shared)
    if checkpoint is not None:
        raise EncoderError(f"encoder {name!r} has no parameters; leave out the checkpoint {checkpoint}")
    return _with_shared(load(**settings), shared)


def _instead(name: str) -> str:
    """Say what may be used instead of an encoder's published file."""
    own = find_encoder(name).MODALITY
    free = [other for other in encoder_names() if own == find_encoder(other).MODALITY and not has_parameters(other)]
    facts = MODALITIES[own]
    told = f", or take an encoder without one: {', '.join(free)}" if free else ""
    if facts.box not in (None, name):
        told += f", or {facts.box}, which needs no hub: emoclim extract {facts.folder} --encoder {BOX}"
    return f"; or name another with --checkpoint{told}"


def _typed(name: str, load: Callable[..., Encoder], settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Check the types of settings; a whole number may stand for a float."""
    kinds = get_type_hints(load) | {key: type(default) for key, default in SHARED.items()}
    allowed = [*own_settings(name), *SHARED]
    if unknown := sorted(settings.keys() - set(allowed)):
        named = ", ".join(one + closest(one, allowed) for one in unknown)
        raise EncoderError(f"encoder {name!r} has no setting {named}; it takes {', '.join(allowed)}")
    typed = dict(settings)
    for key, value in settings.items():
        if kinds[key] is float and isinstance(value, int) and abs(value) <= MAX_SEED:
            typed[key] = float(value)
        elif not isinstance(value, kinds[key]):
            raise EncoderError(
                f"setting {key} of encoder {name!r} takes a value of type {kinds[key].__name__}, not {value!r:.80}"
            )
    return typed


def _with_shared(encoder: Encoder, shared: Mapping[str, Setting]) -> Encoder:
    """Note precision, views and decoder in an encoder's spec; the usual ones leave it as it is."""
    settings = dict(encoder.spec.settings)
    precision, views, seed, decoder = ({**SHARED, **shared}[key] for key in (PRECISION, VIEWS, VIEW_SEED, DECODER))
    if problem := _problem(encoder, precision, int(views), int(seed), str(decoder)):
        raise EncoderError(f"{encoder.spec.name} {problem}")
    if PRECISION in settings:
        settings[PRECISION] = precision
    if views:
        settings |= {VIEWS: views, VIEW_SEED: seed}
    if decoder != PILLOW:
        settings[DECODER] = decoder
    if settings == encoder.spec.settings:
        return encoder
    return cast(Encoder, replace(cast(Any, encoder), spec=replace(encoder.spec, settings=settings)))


def _problem(encoder: Encoder, precision: Setting, views: int, seed: int, decoder: str) -> str | None:
    """Tell what is wrong with shared settings for an encoder, in words that follow its name."""
    wrong = {
        f"takes a precision of {', '.join(PRECISIONS)}, not {precision}": precision not in PRECISIONS,
        f"has no network to be run at {precision}; leave out the precision": (
            precision != FULL_PRECISION and PRECISION not in encoder.spec.settings
        ),
        "takes no views: they are of images; its windows are its segments": (
            views and not isinstance(encoder, ImageEncoder)
        ),
        f"takes a view_seed from 0 to {MAX_SEED}, not {seed}": not 0 <= seed <= MAX_SEED,
        f"takes from 0 to {MAX_VIEWS} views, not {views}": not 0 <= views <= MAX_VIEWS,
        f"takes a decoder of {', '.join(DECODERS)}, not {decoder}": decoder not in DECODERS,
        "takes no decoder: they are of images; leave it out": (
            decoder != PILLOW and not isinstance(encoder, ImageEncoder)
        ),
        "names no size that pictures may be scaled down to; take another decoder than draft": (
            decoder == DRAFT and isinstance(encoder, ImageEncoder) and encoder.least_side is None
        ),
    }
    return next((problem for problem, found in wrong.items() if found), None)
