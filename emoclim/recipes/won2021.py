"""Won et al.: music for stories, by emotion.

M. Won, J. Salamon, N. J. Bryan, G. J. Mysore and X. Serra, "Emotion Embedding Spaces for Matching Music to Stories",
ISMIR 2021 (https://arxiv.org/abs/2111.13468), whose code is https://github.com/minzwon/text2music-emotion-embedding.
The paper prints shares from 0 to 1; own ones are in percent.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emoclim.modality import Modality
from emoclim.recipes.base import Data, Line, Metric, Preset, Recipe, Row, Table, Vectors

ENCODERS: Mapping[Modality, str] = {"text": "distilbert", "audio": "music_resnet"}
TEXTS = {"alm": "alm", "isear": "text"}  # name of the data by that of the label maps
TITLES = {"alm": "Alm's", "isear": "ISEAR"}
COLUMNS = {"va": "VA", "w2v": "W2V", "manual": "manual"}


def _row(texts: str, name: str, title: str, objective: str, vectors: Vectors | None = None, **own: Any) -> Row:
    """Make a row of one set of texts; triplets hold against those of two branches, all else against V-A regression."""
    return Row(
        f"{name}-{texts}",
        f"{title}, {TITLES[texts]}",
        "train-heads",
        ENCODERS,
        base=f"2-branch-{texts}" if name == "3-branch" else f"va-{texts}",
        data={"text": TEXTS[texts]},
        objective=objective,
        own=own,
        vectors=vectors,
        label_map=f"won2021-{texts}-w2v",
        measured_by=tuple(f"won2021-{texts}-{column}" for column in COLUMNS),
        groups=(texts, name),
    )


SYSTEMS: Mapping[str, tuple[str, str, Vectors | None, Mapping[str, Any], str]] = {
    "Classification": (
        "classification",
        "classification",
        None,
        {},
        "0.2161 0.2436 0.1861 0.2157 0.2161 0.2436 0.0000 0.0000 0.0000 0.0000 0.0000 0.0000",
    ),
    "Multi-head Classification": (
        "multi-head",
        "multi_head",
        None,
        {},
        "0.2819 0.4181 0.1271 0.1381 0.3446 0.5304 0.3440 0.5084 0.3325 0.3625 0.3551 0.4803",
    ),
    "V-A Regression": (
        "va",
        "va_regression",
        "vad",
        {},
        "0.4325 0.6282 0.4125 0.5749 0.6100 0.7398 0.3018 0.5247 0.1866 0.3709 0.6218 0.7075",
    ),
    "W2V Regression": (
        "w2v",
        "w2v_regression",
        "word_vectors",
        {},
        "0.3960 0.5010 0.4613 0.5591 0.5413 0.6363 0.3008 0.3829 0.4164 0.4908 0.5527 0.7668",
    ),
    "Metric Learning (2-branch)": (
        "2-branch",
        "triplet",
        None,
        {"anchor": "text"},
        "0.3399 0.3778 0.4897 0.5239 0.5374 0.5579 0.2695 0.3287 0.3951 0.4336 0.4438 0.6175",
    ),
    "Metric Learning (3-branch)": (
        "3-branch",
        "triplet",
        "word_vectors",
        {"anchor": "text", "branches": 3},
        "0.3574 0.4348 0.5095 0.5863 0.5156 0.5880 0.2591 0.3445 0.4317 0.4953 0.6019 0.6675",
    ),
}
ROWS = {
    title: tuple(_row(texts, name, title, objective, vectors, **own) for texts in TEXTS)
    for title, (name, objective, vectors, own, _) in SYSTEMS.items()
}
ALL_ROWS = tuple(row for rows in ROWS.values() for row in rows)
REGRESSIONS = (*ROWS["V-A Regression"], *ROWS["W2V Regression"])

GALLERY = "Music of all seven moods is ranked, also of those that a map gives no label of the texts."
CHOSEN = (
    "The paper chose and tested by the same 167 sentences of Alm's (Potter). Here, some must be there to choose by: "
    "emoclim prepare alm FOLDER --split 70-15-15, or a column split of your own."
)
SEVERAL = "By the manual map, up to three of the seven moods are right; see the random order, which is of each map."

TABLE_1 = Table(
    "Table 1: words nearest to a tag",
    "Table 1",
    "words",
    ("tag",),
    (Metric("nearest words", "nearest"),),
    (Line("chill", ()),),
    (),
    ("The paper lists the nearest words of two tables of vectors; its lists are not repeated here.",),
)
TABLE_2 = Table(
    "Table 2: labels of texts, and the moods of music that they are mapped to",
    "Table 2",
    "label_maps",
    ("emotion of texts",),
    tuple(Metric(title, column) for column, title in COLUMNS.items()),
    tuple(
        Line(label, tuple(maps.split(" | ")))
        for label, maps in {
            "anger": "angry | angry | angry",
            "fearful": "sad | scary | scary",
            "happy": "happy | happy | exciting, funny, happy",
            "sad": "sad | sad | sad",
            "surprised": "exciting | happy | exciting",
            "disgust": "angry | angry | angry, scary",
            "fear": "angry | angry | scary",
            "guilt": "sad | angry | angry, sad",
            "joy": "exciting | tender | exciting, funny, happy",
            "sadness": "sad | tender | sad",
            "shame": "angry | sad | angry, sad",
        }.items()
    ),
    (),
    (
        "Own are the nearest moods by --vad (Euclidean distance) and by --word-vectors (cosine), computed; the other "
        "tables go by the printed maps.",
    ),
)
TABLE_3 = Table(
    "Table 3: retrieval of music by texts (own in %)",
    "Table 3",
    "retrieval",
    ("method",),
    tuple(
        Metric(metric, f"won2021-{texts}-{column} text_audio {metric}", f"{TITLES[texts]} {title}")
        for texts in TEXTS
        for column, title in COLUMNS.items()
        for metric in ("P@5", "MRR")
    ),
    (
        *(
            Line(title, numbers.split(), row=ROWS[title][0], further=ROWS[title][1:])
            for title, (*_, numbers) in SYSTEMS.items()
        ),
        Line("random order of the same music", (), chance=True),
    ),
    ("alm", "text", "audio"),
    (GALLERY, CHOSEN, SEVERAL),
)
PANELS = {"V-A Regression": "(a, b)", "W2V Regression": "(c, d)", "Metric Learning (2-branch)": "(e, f)"}
PANELS["Metric Learning (3-branch)"] = "(g, h)"
UMAP = {"projection": "umap"}
FIGURE_3 = Table(
    "Figure 3: embedding spaces (UMAP)",
    "Figure 3",
    "joint_space",
    ("panel",),
    (Metric("texts", "text items"), Metric("music clips", "audio items")),
    tuple(
        Line(f"{panel} {title}, {TITLES[texts]}", sizes, row=replace(row, options=UMAP))
        for number, (texts, sizes) in enumerate((("alm", ("167", "540")), ("isear", ())))
        for title, panel in PANELS.items()
        for row in ROWS[title][number : number + 1]
    ),
    ("alm", "text", "audio"),
    (
        "The paper prints no sizes with the figure; those shown are what it tells of its test sets.",
        "The plane is fitted to music; texts and tags are brought into it. V-A is a plane already.",
        "The paper shows Alm's only.",
    ),
)

FROZEN = "both encoders are frozen, their features at unit length; there, both are trained with the heads"
ADAM = "the optimiser is AdamW; there, Adam"
WIDTHS = "all heads of a row have one hidden width and one batch size; there, some differ by modality"
CHOICE = "the epoch of the lowest validation loss is kept; there, that of the best accuracy, R2 or P@5"
GAPS: Mapping[str, tuple[Row, ...]] = {FROZEN: ALL_ROWS, ADAM: ALL_ROWS, WIDTHS: ALL_ROWS, CHOICE: ALL_ROWS}
PRESETS = {
    "paper": Preset(
        own={"va_regression": {"output": "sigmoid"}, "triplet": {"negatives": "inverse_density"}},
        gaps=GAPS,
        remarks=(
            "The published code does otherwise than the paper says: a sigmoid ends W2V regression, so that it reaches "
            "no negative component, negatives are drawn by similarity, and may be music that the anchor's label maps "
            "to: see --preset paper-code. Of multi-head classification there is no code.",
        ),
    ),
    "paper-code": Preset(
        "published code",
        own={
            "va_regression": {"output": "sigmoid"},
            "w2v_regression": {"output": "paper-code"},
            "triplet": {"negatives": "similar", "mask": "own"},
        },
        gaps={
            **GAPS,
            "the worst epoch is not what is kept of W2V regression; there, it is": ROWS["W2V Regression"],
            "items are averaged before the sigmoid; there, behind it": REGRESSIONS,
            "P@5 and MRR are means over labels, as in the paper; there, P@5 is one over queries": ALL_ROWS,
        },
        remarks=("Settings are those of the published code, where it differs from the paper.",),
    ),
}

RECIPE = Recipe(
    "M. Won et al., Emotion Embedding Spaces for Matching Music to Stories, ISMIR 2021",
    ("text", "audio"),
    "triplet",
    {
        "alm": Data("text", "alm", counted_by="Alm 2008"),
        "text": Data("text", "isear", counted_by="ISEAR"),
        "audio": Data("audio", "audioset_mood", cropped=True, seconds=10.0, n_items=16_995),
    },
    PRESETS,
    {"table1": TABLE_1, "table2": TABLE_2, "table3": TABLE_3, "figure3": FIGURE_3},
)
