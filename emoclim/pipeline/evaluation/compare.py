"""Compare the evaluations of several runs, query by query (`emoclim compare`)."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emoclim.config import CompareConfig, EvaluateConfig, RelevanceConfig
from emoclim.errors import ConfigError, RunError, name_some
from emoclim.files import read_json, write_json
from emoclim.pipeline.evaluation.files import QUERIES_FILE, QueryTable, read_queries
from emoclim.pipeline.machine import limit_threads
from emoclim.pipeline.workspace import FOLDS_FILE, Workspace
from emoclim.reports import ComparisonReport, System, compare

MIN_RESAMPLES = 100
# of settings.json, what was found rather than asked for, and what does not reach the scores of one head
NOT_ASKED_FOR = ("schema", "plan", "left_out", "study", "select", "keep", "heads", "kept", "chosen", "interrupted")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An evaluation on disk."""

    name: str
    file: Path
    table: QueryTable
    setup: str  # all that the scores depend on but for the seed, as text; empty if that is not known
    seed: int | None


def compare_runs(
    runs: Sequence[str],
    config: CompareConfig = CompareConfig(),
    *,
    metrics: Sequence[str] = (),
    output: Path | None = None,
    workspace: Workspace = Workspace(),
) -> ComparisonReport:
    """Compare the evaluations of runs with that of the first; with `over_seeds` those alike are one."""
    if output is not None and output.exists():
        raise ConfigError(f"{output} exists already; give another name")
    if config.resamples < MIN_RESAMPLES:
        raise ConfigError(f"{config.resamples} resamples are too few for an interval; give at least {MIN_RESAMPLES}")
    found = [_evaluated(workspace, name, config) for name in runs]
    if len({one.file.resolve() for one in found}) < len(found):
        raise ConfigError(f"an evaluation is named twice in {', '.join(runs)}; name each once")
    names = _metrics(found, metrics)
    found = [_aligned(found[0], one) for one in found]
    by_setup: dict[str, list[Evaluated]] = {}
    for one in found:
        by_setup.setdefault(one.setup or one.name, []).append(one)
    alike = by_setup.values()
    as_one = config.over_seeds
    fact = "are taken as one, by the mean over their seeds" if as_one else "have the same settings but for the seed"
    notes = tuple(
        f"{', '.join(one.name for one in group)} {fact}"
        for group in alike
        if len(group) > 1 and len({one.seed for one in group}) == len(group)
    )
    systems = [_system(group, as_one) for group in (alike if as_one else [[one] for one in found])]
    by_partner = found[0].table.settings.get("relevant") == "partner"  # each is a class of its own
    mean = "micro" if by_partner else config.mean
    with limit_threads(1):
        report = compare(systems, names, mean=mean, n_resamples=config.resamples, seed=config.seed)
    report = replace(report, split=found[0].table.split, notes=notes)
    if output is not None:
        write_json(output, report.to_dict())
    return report


def _evaluated(workspace: Workspace, name: str, config: CompareConfig) -> Evaluated:
    """Find an evaluation by its file, its folder, or its run."""
    file = next((file for file in (Path(name), Path(name) / QUERIES_FILE) if file.is_file()), None)
    if file is None:
        asked = EvaluateConfig(**{name: getattr(config, name) for name in ("split", *RelevanceConfig.model_fields)})
        crossed = workspace.runs / name / FOLDS_FILE  # a run that keeps no heads
        folder = crossed.parent if crossed.is_file() else workspace.run(name)
        file = folder / "evaluation" / asked.folder_name / QUERIES_FILE
    if not file.is_file():
        if (workspace.runs / name / FOLDS_FILE).is_file():
            there = name_some(sorted(str(one.parent) for one in file.parent.parent.glob(f"*/{QUERIES_FILE}")))
            raise RunError(f"run {name} was cross-validated and has no {file}; name instead {there or 'another run'}")
        words = ["emoclim", "evaluate", name, "--split", config.split]
        words += ["--label-map", str(config.label_map)] if config.label_map else []
        words += ["--within", config.within] if config.within else []
        words += ["--relevant", config.relevant] if config.relevant else []
        raise RunError(f"run {name} has no {file}; make it with: {shlex.join(words)}")
    table = read_queries(file)
    return Evaluated(name, file, table, *_setup_and_seed(file, table.settings))


def _setup_and_seed(file: Path, evaluation: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return setup and seed of an evaluation, by the settings of the run that it lies in, if they tell."""
    folder = next((folder for folder in file.resolve().parents if (folder / "settings.json").is_file()), None)
    if folder is None or "head" not in evaluation:
        return "", None
    settings: dict[str, Any] = read_json(folder / "settings.json", RunError, "train again")
    try:
        head = next(head for head in settings["heads"] if head["candidate"] == evaluation["head"])
        setup = {name: value for name, value in settings.items() if name not in NOT_ASKED_FOR} | {
            "libraries": {modality: library["digest"] for modality, library in settings["libraries"].items()},
            "loss_weights": head["loss_weights"],
            "config": {name: value for name, value in head["config"].items() if name != "seed"},
            "evaluation": {name: value for name, value in evaluation.items() if name != "head"},
        }
        return json.dumps(setup, sort_keys=True), head["config"]["seed"]
    except (AttributeError, KeyError, StopIteration, TypeError):  # trained in another way
        return "", None


def _metrics(found: Sequence[Evaluated], asked: Sequence[str]) -> list[str]:
    """Return the metrics that are asked for, or all that every evaluation has."""
    tables = [next(iter(one.table.directions.values())).metrics for one in found]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    if unknown := [name for name in asked if name not in shared]:
        raise ConfigError(f"not every run has {name_some(unknown)}; all of them have {', '.join(shared) or 'none'}")
    if not shared:
        raise RunError(f"{name_some(one.name for one in found)} have no metric in common; evaluate them alike")
    return list(dict.fromkeys(asked)) or shared


def _aligned(first: Evaluated, other: Evaluated) -> Evaluated:
    """Bring the queries of an evaluation into the order of the first; raise unless both asked the same."""
    if difference := next(_differences(first.table, other.table), None):
        raise RunError(
            f"{first.name} and {other.name} were not evaluated alike: {difference}; evaluate both on the same manifests"
        )
    theirs = other.table.directions
    directions = {name: theirs[name].in_order(scores.ids) for name, scores in first.table.directions.items()}
    return replace(other, table=replace(other.table, directions=directions))


def _differences(first: QueryTable, other: QueryTable) -> Iterator[str]:
    """Say in which items or queries, or in what of which queries, two evaluations differ."""
    items = [table.settings.get("items") for table in (first, other)]
    if None not in items and items[0] != items[1]:
        yield "not on the same items, by their ids or by what is in their files"
    for name, what in (("label_map", "label map"), ("within", "entry for --within"), ("relevant", "--relevant")):
        one, another = (_told(table.settings.get(name)) for table in (first, other))
        if one != another:
            yield f"the {what} is not the same ({one} and {another})"
    if strange := sorted(first.directions.keys() ^ other.directions.keys()):
        yield f"only one of them has {name_some(strange)}"
    for direction, mine in first.directions.items():
        theirs = other.directions[direction]
        if strange := sorted(set(mine.ids) ^ set(theirs.ids)):
            yield f"in {direction} only one of them has the queries {name_some(strange)}"
        theirs = theirs.in_order(mine.ids)
        columns = {
            "class": (mine.classes, theirs.classes),
            "number of candidates": (mine.n_candidates.tolist(), theirs.n_candidates.tolist()),
            "number of relevant candidates": (mine.n_relevant.tolist(), theirs.n_relevant.tolist()),
        }
        for name, both in columns.items():
            differing = [row for row in zip(mine.ids, *both, strict=True) if row[1] != row[2]]
            if differing:
                id_, *values = differing[0]
                told = f"{id_}: {' and '.join(map(str, values))}"
                yield f"in {direction} the {name} of {len(differing)} queries is not the same ({told})"


def _told(setting: Mapping[str, str] | str | None) -> str:
    return f"{setting.get('name')} {setting.get('digest')}" if isinstance(setting, Mapping) else setting or "none"


def _system(runs: Sequence[Evaluated], over_seeds: bool) -> System:
    """Take one run, or several of one setup, as one system."""
    names = ", ".join(one.name for one in runs)
    if over_seeds and not runs[0].setup:
        raise RunError(f"{names} is in no run whose settings tell its seed; leave out --over-seeds")
    if len({one.seed for one in runs}) < len(runs):
        raise ConfigError(f"{names} have the same settings and not all another seed; name one of each seed")
    tables = [one.table.directions for one in runs]
    directions = {direction: tuple(table[direction] for table in tables) for direction in tables[0]}
    name = f"{runs[0].name} ({len(runs)} seeds)" if len(runs) > 1 else names
    return System(name, tuple(one.name for one in runs), directions)
