"""Write trained heads to a file, and read them as they were written, or not at all."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from emoclim.data import FeatureSpec, Taxonomy, plain_relevance, read_plain_relevance
from emoclim.encoders import read_own, write_own, zero_denormals
from emoclim.errors import RunError, reason_of
from emoclim.learning.branches import KINDS, Banks, Branch
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import Modality

FORMAT = 3


def save_heads(heads: Heads, path: Path | str) -> None:
    """Write heads to one safetensors file; the same heads give the same bytes.

    Tensors are called ``<branch>.<parameter>``; all else stands as JSON in the file's metadata.

    Parameters
    ----------
    heads
        Any number of them.
    path
        Of the file, which is replaced if it is there.
    """
    plain = {name: asdict(branch) for name, branch in heads.banks.branches.items()}
    banks = {
        name: {"kind": type(heads.banks.bank(name)).__name__, "about": heads.banks.bank(name).about()}
        | {"branch": plain.pop(name, None)}
        for name in heads.banks
    }
    objective = {
        "name": heads.objective.name,
        "modalities": list(heads.objective.modalities),
        "settings": [one.model_dump(mode="json") for one in heads.objective.settings],
    }
    about: dict[str, Any] = {"format": FORMAT, "banks": banks, "objective": objective}
    if heads.objective.learnt:
        about["learnt"] = heads.objective.learnt
    about |= {"without_bank": plain}  # branches all of whose layers are those of others
    about |= {"specs": {modality: spec.to_dict() for modality, spec in heads.specs.items()}}
    if (known := heads.objective.taxonomy) is not None:
        own = {modality: list(numbers) for modality, numbers in known.own.items()}
        relevance = plain_relevance(known.relevance)
        about["taxonomy"] = {"classes": known.classes, "own": own, "relevance": relevance, "name": known.name}
    write_own(heads.banks.state_dict(), Path(path), about)


def load_heads(path: Path | str) -> Heads:
    """Read what :func:`save_heads` wrote.

    Parameters
    ----------
    path
        ``heads.safetensors`` of a run, for example.

    Raises
    ------
    RunError
        The file is not there, is damaged, is none of heads, or they are no numbers.
    """
    try:
        return read_own(Path(path), _from_file)
    except Exception as error:  # to which values of other types than ours may lead
        reason = reason_of(error) if isinstance(error, OSError) else " ".join(str(error).split())
        raise RunError(f"{path} is no file of heads ({reason}); name one that train-heads wrote") from error


def _from_file(tensors: dict[str, Tensor], about: dict[str, Any]) -> Heads:
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']}, not {FORMAT}: it is of another version")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not tensor.numel():
            raise ValueError(f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, not of float32")
        if not tensor.isfinite().all() or (name.endswith(".running_var") and (tensor < 0).any()):
            raise ValueError(f"{name} holds values that no training leaves, such as NaN")
    zero_denormals(tensors.values())
    banks = {
        name: KINDS[bank["kind"]].from_state(
            {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")},
            **bank["about"],
        )
        for name, bank in about["banks"].items()
    }
    known = {name: bank["branch"] for name, bank in about["banks"].items() if bank["branch"]}
    branches = {
        name: Branch(**{**branch, "through": tuple(branch.get("through", ()))})
        for name, branch in (known | about.get("without_bank", {})).items()
    }
    specs = {cast(Modality, name): FeatureSpec.from_dict(spec) for name, spec in about["specs"].items()}
    objective = make_objective(**about["objective"])
    objective.recall(about.get("learnt", {}))
    if "taxonomy" in about:
        objective.taxonomy = _taxonomy(**about["taxonomy"])
    return Heads(Banks(banks, branches), specs, objective)


def _taxonomy(classes: list[str], own: dict[Modality, list[int]], relevance: list[Any], name: str) -> Taxonomy:
    tables = read_plain_relevance(relevance)
    if any(table.shape != (len(classes), len(classes)) for table in tables.values()):
        raise ValueError(f"what is relevant to what does not fit its {len(classes)} classes")
    return Taxonomy(tuple(classes), {modality: tuple(numbers) for modality, numbers in own.items()}, tables, name)
