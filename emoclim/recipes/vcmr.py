"""VCMR: representations of music that are conditioned on the pictures of its videos.

K. Avramidis, S. Stewart and S. Narayanan, "On the role of visual context in enriching music representations", ICASSP
2023, whose code is https://github.com/klean2050/VCMR. All shares are in percent. Each system has two rows, one for each
data set with tags; both are of one encoder. Lines "by the code's history" are no numbers of the paper: they stood in an
earlier state of its repository, of one run on the test sets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from emoclim.modality import Modality
from emoclim.recipes.base import Data, Line, Metric, Recipe, Row, Table
from emoclim.recipes.vcmr_presets import PRESETS

ENCODERS: Mapping[Modality, str] = {"video": "clip_video", "audio": "sample_cnn"}
DATA_SETS = {"mtat": ("MTAT", "tagging"), "mtg": ("MTG-M", "moodtheme")}
FEWER = {49_152: "3.07 s", 59_049: "3.69 s", 78_732: "4.92 s"}  # inputs beside that of 98,415 samples, 6.15 s
SHARES = (0.05, 0.1, 0.2, 0.5, 0.8)
GROUPS = ("genre", "mood", "instrument", "vocals")
SCORES = ("ROC-AUC", "PR-AUC")
BOTH = tuple(Metric(name, name) for name in SCORES)
HISTORY = " (by the code's history, one run)"


def _rows(data_set: str, length: int = 0) -> tuple[Row, Row]:
    """Make the row of an encoder of sound alone, and that of the one that goes on with it beside videos."""
    told, tags = DATA_SETS[data_set]
    suffix = f"{data_set}-{length}" if length else data_set
    alone = Row(
        f"audio-only-{suffix}",
        f"Audio-only, {told}{(length and f', {FEWER[length]}') or ''}",
        "pretrain",
        {"audio": ENCODERS["audio"]},
        trained="audio",
        settings={"sample_cnn": {"length": length}} if length else {},
        data={"audio": "audio"},
        tags=tags,
        objective="nt_xent",
        own={"head": "projector"},
        groups=("audio-only", data_set),
    )
    conditioned = replace(
        alone,
        name=f"vcmr-{suffix}",
        title=alone.title.replace("Audio-only", "VCMR"),
        encoders=ENCODERS,
        start=alone.name,
        stage="video",
        groups=("vcmr", data_set),
    )
    return alone, conditioned


ROWS = {name: _rows(name) for name in DATA_SETS}
SHORTER = {length: {name: _rows(name, length) for name in DATA_SETS} for length in FEWER}


def _named(*kinds: str, data_sets: Iterable[str] = DATA_SETS) -> tuple[Row, ...]:
    """Return rows of all lengths."""
    of_all = (rows[name] for rows in (ROWS, *SHORTER.values()) for name in data_sets)
    return tuple(row for pair in of_all for row in pair if row.name.startswith(kinds))


OTHERS = (
    "CLMR's numbers are those of its encoder that was trained on the Million Song Dataset; SampleCNN, HarmonicCNN and "
    "MediaEval 2020 learnt from the tags themselves."
)
CONVERSION = (
    "Lines by the code's history are of one earlier run: its audio-only encoder finds tags better than the paper's "
    "mean over three seeds of tag heads, so that the gain is smaller there."
)
TABLE_1 = Table(
    "Table 1: music tagging (%)",
    "Table 1",
    "tagging",
    ("model",),
    BOTH,
    (
        Line("Audio-only, MTAT", ("77.4", "22.6"), row=ROWS["mtat"][0]),
        Line(f"Audio-only, MTAT{HISTORY}", ("80.92", "23.64")),
        Line("VCMR, MTAT", ("89.1", "35.3"), row=ROWS["mtat"][1]),
        Line(f"VCMR, MTAT{HISTORY}", ("89.08", "35.27")),
        Line("CLMR, MTAT", ("87.8", "33.1")),
        Line("SampleCNN, MTAT", ("90.6", "44.2")),
        Line("HarmonicCNN, MTAT", ("91.3", "46.1")),
        Line("Audio-only, MTG-M", ("57.8", "5.3"), row=ROWS["mtg"][0]),
        Line(f"Audio-only, MTG-M{HISTORY}", ("60.96", "6.02")),
        Line("VCMR, MTG-M", ("70.7", "10.1"), row=ROWS["mtg"][1]),
        Line(f"VCMR, MTG-M{HISTORY}", ("70.71", "10.07")),
        Line("MediaEval 2020, MTG-M", ("76.6", "15.0")),
    ),
    ("audio", "video", "tagging", "moodtheme"),
    (OTHERS, CONVERSION),
)
FIGURE_2 = Table(
    "Figure 2: groups of tags, MTAT (%)",
    "Figure 2, which prints no numbers",
    "tagging",
    ("model",),
    tuple(Metric(group, f"{group} ROC-AUC") for group in (*GROUPS, "other")),
    (
        Line("Audio-only, MTAT", (), row=ROWS["mtat"][0]),
        Line(f"Audio-only, MTAT{HISTORY}", ("85.12", "80.71", "82.57", "73.75", "88.55")),
        Line("VCMR, MTAT", (), row=ROWS["mtat"][1]),
        Line(f"VCMR, MTAT{HISTORY}", ("92.32", "87.10", "91.04", "84.77", "94.02")),
    ),
    ("audio", "video", "tagging"),
    (
        "Means of ROC-AUC over the tags of a group, as the code groups them; the figure has no group of other tags. "
        "Three tags are in none: woman, male vocal, no voice.",
    ),
)


def _figure(name: str, source: str, metrics: Sequence[Metric], rows: Iterable[Row], *remarks: str) -> Table:
    """Lay out rows of which nothing is printed as numbers."""
    lines = tuple(Line(row.title, (), row=row) for row in rows)
    columns, data = ("model",), ("audio", "video", "tagging", "moodtheme")
    return Table(name, f"{source}, which prints no numbers", "tagging", columns, tuple(metrics), lines, data, remarks)


FIGURE_3 = _figure(
    "Figure 3: few training items with tags (%)",
    "Figure 3",
    [Metric(name, f"{100 * share:g} % {name}", f"{100 * share:g} %") for share in SHARES for name in SCORES],
    [replace(row, options={"fractions": SHARES}) for pair in ROWS.values() for row in pair],
    "Heads that learn from all training items are those of table 1.",
)
FIGURE_4 = _figure(
    "Figure 4: length of the input (%)",
    "Figure 4",
    BOTH,
    [row for name in DATA_SETS for of in (*SHORTER.values(), ROWS) for row in of[name]],
    "The paper says 4.96 s where its network can have 4.92 s.",
)

EVERY, MTG = _named(""), _named("", data_sets=("mtg",))
GAPS: Mapping[str, tuple[Row, ...]] = {
    "effects on crops are computed by audiomentations and by this package, the reverb from its response; there, by "
    "torchaudio-augmentations and sox": _named("audio-only"),
    "an epoch has as many batches as is set (100); there, one for all clips, 1,133 and 566 by the code": EVERY,
    "tag heads see windows of each track; there, crops from anywhere": MTG,
}
TAG_HEAD = {"tag_head": "vcmr"}
PAPER, CODE = (replace(alone, stages={"video": beside}) for alone, beside in PRESETS.values())
RECIPE = Recipe(
    "K. Avramidis et al., On the Role of Visual Context in Enriching Music Representations, ICASSP 2023",
    ("video", "audio"),
    "nt_xent",
    {
        "audio": Data(
            "audio",
            "music_videos",
            cropped=True,
            seconds=15.0,
            n_items=161_200,
            option="kind=audio",
        ),
        "video": Data("video", "music_videos", n_items=161_200),
        "tagging": Data("audio", "magnatagatune", split="pons2017", cropped=True, seconds=29.1, tagged=True),
        "moodtheme": Data("audio", "mtg_jamendo", split="split-0", tagged=True),
    },
    {
        "paper": replace(
            PAPER,
            tagging=TAG_HEAD,
            gaps=GAPS,
            remarks=(
                "The published code does otherwise than the paper says: other optimisers and rates, frozen layers "
                "whose statistics go on, and a split of clips, not of videos: see --preset paper-code.",
            ),
        ),
        "paper-code": replace(
            CODE,
            tagging=TAG_HEAD | {"keep_by": "PR-AUC"},
            gaps={
                **GAPS,
                "training steps are in 32 bits; there, in 16": EVERY,
                "tag heads have 50 epochs at most; there, 100": EVERY,
                "frozen encoders of tag heads keep their statistics; there, these follow the batches": EVERY,
                "tag heads of MTG-M learn from its whole training set; there, from the first 90 %": MTG,
            },
            remarks=(
                "The code splits clips, so that those of one video are on both sides, and its validation losses leak: "
                "emoclim prepare music_videos FOLDER --split paper-code does so too.",
            ),
        ),
    },
    {"table1": TABLE_1, "figure2": FIGURE_2, "figure3": FIGURE_3, "figure4": FIGURE_4},
)
