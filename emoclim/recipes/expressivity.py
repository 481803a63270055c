"""Chowdhury and Widmer: performances of a piece, by descriptions of their character.

S. Chowdhury and G. Widmer, "Expressivity-aware Music Performance Retrieval using Mid-level Perceptual Features and
Emotion Word Embeddings", FIRE 2023 (https://doi.org/10.1145/3632754.3632761). Of nine pieces one at a time is left out,
and each of the 45 descriptions ranks the performances of its piece. The paper prints shares from 0 to 1; own ones are
in percent. Nobody published its code, features or recordings.
"""

from collections.abc import Mapping
from dataclasses import replace

from emoclim.modality import Modality
from emoclim.recipes.base import Data, Line, Metric, Preset, Recipe, Row, Table

TEXT = {"EWE": "word_vectors", "MTR": "mtr_text", "MiniLM": "minilm"}
AUDIO = {"mid-level": "midlevel", "MTR": "mtr_audio", "timbre": "timbre"}
EXTRA = {"Pitchfork": ("pitchfork_text", "pitchfork_audio"), "MusicCaps": ("musiccaps_text", "musiccaps_audio")}
OWN: Mapping[Modality, str] = {"text": "text", "audio": "audio"}
STAND_INS = {"minilm": "emotion-enriched word vectors", "timbre": "mid-level features"}
COMPONENTS = 8  # that PCA keeps


def _row(text: str, audio: str, *extra: str, pca: bool = False) -> Row:
    """Make a row; `extra` are names of the data that each training fold has beside its own."""
    encoders: Mapping[Modality, str] = {"text": TEXT[text], "audio": AUDIO[audio]}
    added = f", with {' and '.join(extra)}" if extra else ""
    return Row(
        "-".join([*encoders.values(), *map(str.lower, extra), *["pca"] * pca]),
        f"{text} x {audio}{added}{', PCA' if pca else ''}",
        "cross-validate",
        encoders,
        stand_ins={name: STAND_INS[name] for name in encoders.values() if name in STAND_INS},
        data=OWN,
        extra=tuple(name for one in extra for name in EXTRA[one]),
        objective="least_squares",
        own={"components": COMPONENTS} if pca else {},
        groups=("pca",) if pca else (),
    )


ENCODERS = {
    "MTR x MTR": ("0.20 0.42 0.46", _row("MTR", "MTR", *EXTRA)),
    "MTR x mid-level": ("0.22 0.53 0.50", _row("MTR", "mid-level", *EXTRA)),
    "EWE x MTR": ("0.22 0.42 0.47", _row("EWE", "MTR", *EXTRA)),
    "EWE x mid-level": ("0.38 0.64 0.61", _row("EWE", "mid-level", *EXTRA)),
}
OTHERS = [_row("EWE", "timbre"), _row("MiniLM", "mid-level"), _row("MiniLM", "timbre")]
AUGMENTED = {
    "": ("0.22 0.46", "0.29 0.49"),
    "Pitchfork": ("0.24 0.44", "0.40 0.58"),
    "MusicCaps": ("0.33 0.57", "0.27 0.53"),
    "Pitchfork MusicCaps": ("0.38 0.64", "0.36 0.56"),
}
AUGMENTED_ROWS = {
    f"{' and '.join(extra.split()) or 'none'}{', PCA' if pca else ''}": (
        numbers[pca],
        _row("EWE", "mid-level", *extra.split(), pca=pca),
    )
    for extra, numbers in AUGMENTED.items()
    for pca in (False, True)
}

METRICS = tuple(Metric(name, f"text_audio {name}") for name in ("Top-1", "Top-2", "MRR", "hits"))
DATA = (*OWN.values(), *EXTRA["Pitchfork"], *EXTRA["MusicCaps"])
HITS = "Hits are texts that find their own performance first; the paper prints none, but of 45 texts .38 are 17."
RECORDINGS = "None of the 45 recordings is public, so that the paper's numbers cannot be had; what was said of them is."

TABLE_1 = Table(
    "Table 1: encoders of descriptions and of performances (own in %)",
    "Table 1",
    "folds",
    ("texts x music",),
    METRICS,
    (
        Line("random order", ("0.18", "0.37", "0.44", ""), chance=True),
        *(Line(title, (*numbers.split(), ""), row=row) for title, (numbers, row) in ENCODERS.items()),
        *(Line(row.title, (), row=row) for row in OTHERS),
    ),
    DATA,
    (
        HITS,
        RECORDINGS,
        "The paper's random order is one draw; what one finds on average is .2000, .4000 and .4539 exactly.",
        "Lines of the paper are trained with Pitchfork and MusicCaps, those after them with neither.",
        "Texts and music of MTR share a space; how the paper compares them is not said, here it is by a map, too.",
    ),
)
TABLE_2 = Table(
    "Table 2: further training data, and PCA of texts, EWE x mid-level (own in %)",
    "Table 2",
    "folds",
    ("further data",),
    METRICS,
    tuple(Line(title, (*numbers.split(), "lost", ""), row=row) for title, (numbers, row) in AUGMENTED_ROWS.items()),
    DATA,
    (
        HITS,
        RECORDINGS,
        "The column MRR is lost in the text of the paper that is at hand. That the other two are Top-1 and Top-2 "
        "follows from the line with both and without PCA, which is Table 1's last.",
    ),
)

PIECE = {"piece": "bach"}
FIGURE_3 = Table(
    "Figure 3: why performances of Bach's prelude are found",
    "Figure 3",
    "reasons",
    ("texts x music",),
    (Metric("performances", "performances"), Metric("found first", "found")),
    tuple(
        Line(row.title, ("7", "") if row.extra else (), row=replace(row, options=PIECE))
        for row in (ENCODERS["EWE x mid-level"][1], AUGMENTED_ROWS["none"][1], *OTHERS)
    ),
    DATA,
    (
        RECORDINGS,
        "figure.html shows, for each text, what each named feature adds to the score of each performance; the paper's "
        "figure shows the features that a text predicts.",
    ),
)

ALL_ROWS = tuple({row.name: row for table in (TABLE_1, TABLE_2) for row in table.rows.values()}.values())
GAPS: Mapping[str, tuple[Row, ...]] = {
    "music's features are standardised over the training items; whether they are there, is not said": ALL_ROWS,
    "of all maps that fit the training items, that of least norm is taken; which one there, is not said": ALL_ROWS,
    f"PCA keeps {COMPONENTS} components; how many there, is not said": tuple(
        row for row in ALL_ROWS if "pca" in row.groups
    ),
}

RECIPE = Recipe(
    "S. Chowdhury and G. Widmer, Expressivity-aware Music Performance Retrieval using Mid-level Perceptual Features "
    "and Emotion Word Embeddings, FIRE 2023",
    ("text", "audio"),
    "least_squares",
    {
        "text": Data("text", "con_espressione", n_items=45, option="items=descriptions"),
        "audio": Data("audio", "con_espressione", n_items=45),
        "pitchfork_text": Data("text", "csv"),
        "pitchfork_audio": Data("audio", "csv"),
        "musiccaps_text": Data("text", "musiccaps", n_items=5_521, option="items=descriptions"),
        "musiccaps_audio": Data("audio", "musiccaps", n_items=5_521),
    },
    {
        "paper": Preset(
            encoders={"word_vectors": {"combine": "sum", "length": 1024}, "midlevel": {"onsets": True}},
            gaps=GAPS,
            files={"word_vectors": "ewe_uni.txt"},
        )
    },
    {"table1": TABLE_1, "table2": TABLE_2, "figure3": FIGURE_3},
    dict.fromkeys(("mtr_text", "mtr_audio"), "of S. Doh et al., Toward Universal Text-To-Music Retrieval, ICASSP 2023"),
)
