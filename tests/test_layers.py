"""The layers of the package: who may import whom, and who may load which library."""

import ast
from pathlib import Path

import pytest

import emoclim

ROOT = Path(emoclim.__file__).parent
COMMANDS = {"cache_cli", "compare_cli", "end_to_end_cli", "evaluate_cli", "prepare_cli", "reproduce_cli", "train_cli"}
TRAINING = {"sampling", "crops", "learning", "epochs", "tuning", "unfreezing", "joint", "replicas", "sweep"}
TRAINING |= {"augmentations", "selection"}
EXTRACTION = {"decoding", "batching", "committing", "extraction_plan"}
# a package or module may import those of its own level and below
LEVELS = (
    {"cli", *COMMANDS, "terminal", "__main__", "__init__"},
    {"pipeline"},
    {"stages"},
    {"heads", *TRAINING, *EXTRACTION, "tag_heads", "cache", "encoders", "reports"},
    {"losses", "metrics", "features", "data", "nets"},
    {"allocation", "config", "errors", "files", "interrupts", "modality", "progress", "seeding"},
)
ONLY_IN = {
    "typer": {"cli", *COMMANDS, "terminal"},
    "rich": {"terminal"},
    "tabulate": {"reports/typeset"},
    "optuna": {"pipeline/studies"},
    "audiomentations": {"augmentations"},
    "h5py": {"cache/hdf5"},
    "zarr": {"cache/zarr"},
    "open_clip": {"encoders/clip"},
    "laion_clap": {"encoders/clap", "nets/clap"},
    "matplotlib": {
        "reports/joint_panels",
        "reports/plots",
        "reports/sweep_plots",
        "reports/tagging_plots",
    },
    "jinja2": {"reports/page"},
    "pyarrow": {
        "data/tables",
        "pipeline/caches/exporting",
        "pipeline/caches/feature_tables",
        "pipeline/queries",
        "pipeline/run_files",
    },
}
MODULES = sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py"))

STRANGERS = (  # families whose members never import each other
    {name for name in MODULES if name.startswith("stages/")},
    {name for name in MODULES if name.startswith("encoders/")}
    - {"encoders/base", "encoders/checkpoints", "encoders/denormals", "encoders/loading", "encoders/taggers"},
    {"cache/memory", "cache/hdf5", "cache/zarr"},
    {name for name in MODULES if name.startswith("data/datasets/")}
    - {"data/datasets/base", "data/datasets/files", "data/datasets/loading", "data/datasets/__init__"},
)


def imported(module: str, *, top_only: bool = False) -> set[str]:
    """Dotted names of all modules that a module imports, anywhere in its code or at its top only."""
    tree = ast.parse((ROOT / f"{module}.py").read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    """Those of this package, as paths: ``data/images``."""
    found = {name.removeprefix("emoclim.").replace(".", "/") for name in names if name.startswith("emoclim.")}
    return {name for name in found if name in MODULES or f"{name}/__init__" in MODULES}


def level(module: str) -> int:
    name = module.split("/")[0]
    return next(index for index, names in enumerate(LEVELS) if name in names)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_imports_go_down_only(module: str) -> None:
    upwards = {name for name in own(imported(module)) if level(name) < level(module)}
    assert not upwards, f"{module} imports {upwards}, which lie above it"


@pytest.mark.parametrize("module", MODULES)
def test_config_errors_and_progress_stand_alone(module: str) -> None:
    if level(module) == len(LEVELS) - 1:
        assert own(imported(module)) <= {"errors"}


@pytest.mark.parametrize("module", sorted(set.union(*STRANGERS)))
def test_siblings_that_are_strangers_never_meet(module: str) -> None:
    family = next(names for names in STRANGERS if module in names)
    assert not own(imported(module)) & (family - {module})


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imported(module):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or module in rooms, f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(("encoders/", "nets/"))])
def test_encoders_load_their_package_late(module: str) -> None:
    heavy = {name.split(".")[0] for name in imported(module, top_only=True)} & {"open_clip", "laion_clap", "librosa"}
    assert not heavy
