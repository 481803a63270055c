"""Toy objectives in ``tests/learning/objectives/toys``, one file each, and how a package offers them."""

from pathlib import Path

from emoclim.learning.objectives.loading import objective_names

TOYS = Path(__file__).parent / "learning" / "objectives" / "toys"
OURS = tuple(objective_names())
NAMES = tuple(sorted(path.stem for path in TOYS.glob("*.py")))


def install(folder: Path, package: str, points: dict[str, str], group: str = "emoclim.objectives") -> None:
    """Write what a wheel says of itself."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]", *(f"{name} = {module}" for name, module in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
