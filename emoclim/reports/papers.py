"""The papers' tables with a result of one's own below, in their layout.

Figures are those of S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended
version, Tables 1, 3, 4 and 5, in percent. The manifests behind them were never published, so that no result of another
manifest is comparable; every table says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emoclim.reports.queries import Intervals
from emoclim.reports.retrieval import DirectionReport, RetrievalReport
from emoclim.reports.tables import Estimate, Row

OTHER_DATA = "All rows but those of one's own are the paper's: other data, not comparable."
DIRECTIONS = ("image_audio", "audio_image", "image_image", "audio_audio")
METRICS = ("P@1", "P@5", "MRR")
TITLES = ("Image → Music", "Music → Image", "Image → Image", "Music → Music")

TABLE_1: Mapping[str, Sequence[float]] = {
    "Short-Chunk CNN (frozen)": (61.32, 64.23, 71.88, 62.24, 61.43, 70.78, 73.23, 72.54, 81.07, 56.50, 55.34, 68.90),
    "Short-Chunk CNN (unfrozen)": (65.96, 63.95, 75.50, 65.17, 63.46, 69.87, 69.31, 69.25, 78.72, 56.27, 55.15, 67.43),
    "Harmonic CNN (frozen)": (70.14, 65.94, 78.59, 63.97, 64.34, 72.23, 70.54, 70.48, 79.54, 56.10, 55.16, 68.46),
    "Harmonic CNN (unfrozen)": (63.28, 63.18, 74.08, 68.76, 67.58, 74.00, 69.24, 68.64, 78.20, 56.67, 57.83, 68.46),
    "CLAP (frozen)": (68.75, 68.15, 76.65, 66.29, 67.32, 73.95, 69.61, 70.71, 79.27, 60.96, 60.80, 72.19),
}
TABLE_3: Sequence[Row] = (
    ("Won et al., V-A regression", "Text → Music", "Alm's", "AudioSet", "61.00", "73.98"),
    ("Won et al., V-A regression", "Text → Music", "ISEAR", "AudioSet", "62.18", "70.75"),
    ("Won et al., metric learning (3 branches)", "Text → Music", "Alm's", "AudioSet", "51.56", "58.80"),
    ("Won et al., metric learning (3 branches)", "Text → Music", "ISEAR", "AudioSet", "60.19", "66.75"),
    ("Doh et al., triplet + EmoSim (audio)", "Speech → Music", "IEMOCAP", "AudioSet", "68 ± 3", "76 ± 3"),
    ("Doh et al., triplet + EmoSim (audio)", "Speech → Music", "RAVDESS", "AudioSet", "67 ± 2", "75 ± 3"),
    ("Emo-CLIM (frozen Harmonic CNN)", "Image → Music", "DeepEmotion", "AudioSet", "65.94", "78.59"),
    ("Emo-CLIM (frozen CLAP)", "Image → Music", "DeepEmotion", "AudioSet", "68.15", "76.65"),
)
TABLE_4: Sequence[Row] = (
    ("Short-Chunk CNN", "music tagging", "91.29", "46.14"),
    ("Harmonic CNN", "music tagging", "91.27", "46.11"),
    ("CLMR", "SSL", "89.3", "36.0"),
    ("VCMR", "SSL", "89.08", "35.27"),
    ("CLAP", "SSL", "91.04", "39.40"),
    ("Emo-CLIM (frozen Harmonic CNN)", "music tagging → SupCon", "89.70", "36.00"),
    ("Emo-CLIM (unfrozen Harmonic CNN)", "music tagging → SupCon", "88.55", "33.80"),
    ("Emo-CLIM (CLAP)", "SSL → SupCon", "89.94", "37.12"),
)
TABLE_5: Sequence[Row] = (
    ("excitement ↔ exciting", "71.87", "32.24", "60.73", "68.68", "273", "458"),
    ("amusement ↔ funny", "48.52", "71.29", "78.69", "29.41", "472", "89"),
    ("contentment ↔ happy", "71.42", "58.94", "83.74", "38.94", "513", "115"),
    ("anger ↔ angry", "74.07", "81.68", "66.44", "69.89", "118", "95"),
    ("sadness ↔ sad", "71.71", "75.51", "74.45", "72.90", "263", "138"),
    ("fear ↔ scary", "71.34", "84.26", "60.21", "85.0", "97", "140"),
)


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of the paper, with rows of one's own below."""

    title: str
    note: str
    rows: tuple[Row, ...]


def retrieval_tables(
    report: RetrievalReport, intervals: Mapping[str, Intervals], name: str, classes: Mapping[str, str]
) -> tuple[PaperTable, ...]:
    """Tables 1, 3 and 5, as far as the report has images and music."""
    if any(name not in report.directions for name in DIRECTIONS):
        return ()
    found = [report.directions[direction] for direction in DIRECTIONS]
    ends = [intervals[direction].macro for direction in DIRECTIONS]
    first = ("audio encoder", *(f"{title} {metric}" for title in TITLES for metric in METRICS))
    own = (name, *(_percent(one.metrics.get(metric)) for one in found for metric in METRICS))
    sure = ("95 % interval", *(_ends(one.get(metric)) for one in ends for metric in METRICS))
    published = tuple((row, *(f"{value:.2f}" for value in values)) for row, values in TABLE_1.items())
    forward = found[0].metrics
    third = (name, "Image → Music", "own", "own", _percent(forward.get("P@5")), _percent(forward.get("MRR")))
    between = ("95 % interval", "", "", "", _ends(ends[0].get("P@5")), _ends(ends[0].get("MRR")))
    return (
        PaperTable("Table 1: retrieval (%)", OTHER_DATA, (first, *published, own, sure)),
        PaperTable(
            "Table 3: other emotion-supervised retrieval (%)",
            OTHER_DATA,
            (("method", "modalities", "non-music data", "music data", "P@5", "MRR"), *TABLE_3, third, between),
        ),
        _per_class(found, intervals, classes),
    )


def tagging_table(roc_auc: float | None, average_precision: float | None, name: str) -> PaperTable:
    """Table 4, with macro means of one's own, shares from 0 to 1, below."""
    own = (name, "", _percent(roc_auc), _percent(average_precision))
    header = ("method", "pre-training", "ROC-AUC", "PR-AUC")
    return PaperTable("Table 4: music tagging, MagnaTagATune (%)", OTHER_DATA, (header, *TABLE_4, own))


def _per_class(
    found: Sequence[DirectionReport], intervals: Mapping[str, Intervals], classes: Mapping[str, str]
) -> PaperTable:
    note = "The first six rows are the paper's, with CLAP: other data, not comparable. Below, with 95 % intervals."
    header = ("emotion", *TITLES, "images", "music clips")
    own = tuple(
        (
            f"own: {shown}",
            *(
                f"{_percent(one.per_class[name].metrics.get('P@5'))} "
                f"({_ends(intervals[one.name].classes.get(name, {}).get('P@5')) or '–'})"
                for one in found
            ),
            str(found[2].per_class[name].n_queries),
            str(found[3].per_class[name].n_queries),
        )
        for name, shown in classes.items()
    )
    return PaperTable("Table 5: P@5 by class (%)", note, (header, *TABLE_5, *own))


def _ends(interval: Estimate | None) -> str:
    return "" if interval is None else interval.ends


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"
