"""Emo-CLIM: emotion-aligned contrastive learning between images and music.

S. Stewart, K. Avramidis, T. Feng and S. Narayanan, "Emotion-Aligned Contrastive Learning Between Images and Music", in
two versions: an extended one (https://arxiv.org/abs/2308.12610v1), with five tables and a figure, by whose numbers
tables are named here, and that of ICASSP 2024 (https://arxiv.org/abs/2308.12610v3), with three. Where both print a
number, it is the same. Their code is https://github.com/shantistewart/Emo-CLIM. All shares are in percent.
"""

from collections.abc import Mapping

from emoclim.modality import Modality
from emoclim.recipes.ablations import ablated, ablations
from emoclim.recipes.base import Data, Line, Metric, Preset, Recipe, Row, Table

DIRECTIONS = {
    "image_audio": "Image → Music",
    "audio_image": "Music → Image",
    "image_image": "Image → Image",
    "audio_audio": "Music → Music",
}
SIZES = (Metric("images", "image items"), Metric("music clips", "audio items"))


def _row(encoder: str, title: str, *, frozen: bool = True) -> Row:
    encoders: dict[Modality, str] = {"image": "clip", "audio": encoder}
    if frozen:
        return Row(f"{encoder}-frozen", f"{title} (frozen)", "train-heads", encoders)
    name, base = f"{encoder}-unfrozen", f"{encoder}-frozen"
    return Row(name, f"{title} (unfrozen)", "train-end-to-end", encoders, "audio", base=base)


SHORT, SHORT_UNFROZEN = (_row("short_chunk_cnn", "Short-Chunk CNN", frozen=frozen) for frozen in (True, False))
HARMONIC, HARMONIC_UNFROZEN = (_row("harmonic_cnn", "Harmonic CNN", frozen=frozen) for frozen in (True, False))
CLAP = _row("clap", "CLAP")
CLAP_FEATURES = Row("clap-features", "CLAP, its own features", CLAP.step, CLAP.encoders, options={"on": "features"})

UNIT = "Heads take features at unit length, as in the published code; neither version of the paper says so."
CLIPS = (
    "The published code leaves out clips that are shorter than an encoder's input. By the shares that are printed, its "
    "test sets had 1,035 clips with the Short-Chunk CNN, 1,034 with the Harmonic CNN and 1,000 with CLAP."
)
FUNNY = (
    "The sizes printed here are of all clips. The shares come out with 433 exciting, 85 funny, 113 happy and 136 scary "
    "ones only: 29.41 % of five finds for each funny clip is 125 of 425, and no number of 445."
)
CHANCE = (
    "By chance, P@5 is 16.7 % where one of six moods is right, as in Emo-CLIM's rows. The others have other classes "
    "and galleries, and Won et al. several right moods for some labels: nothing tells what theirs is."
)
TAGGING = (
    "Own numbers are means over 3 tagging heads. The paper trains them on embeddings of recordings; its code on crops, "
    "averages probabilities over windows that do not overlap, and keeps the best PR-AUC. The paper's two supervised "
    "rows are of the split without untagged clips, the others of the one with them: their PR-AUC cannot be compared."
)
COUNTS = "The paper prints the map alone; its counts are those of the published code's notebooks."
PANELS = "The paper prints no sizes with the figure; those shown are the sums of its Table 5."

TABLE_1 = Table(
    "Table 1: retrieval (%)",
    "extended version, Table 1; ICASSP 2024, Table 1, without P@1",
    "retrieval",
    ("audio encoder",),
    tuple(
        Metric(name, f"{direction} {name}", title)
        for direction, title in DIRECTIONS.items()
        for name in ("P@1", "P@5", "MRR")
    ),
    tuple(
        Line(row.title, numbers.split(), row=row)
        for row, numbers in (
            (SHORT, "61.32 64.23 71.88 62.24 61.43 70.78 73.23 72.54 81.07 56.50 55.34 68.90"),
            (SHORT_UNFROZEN, "65.96 63.95 75.50 65.17 63.46 69.87 69.31 69.25 78.72 56.27 55.15 67.43"),
            (HARMONIC, "70.14 65.94 78.59 63.97 64.34 72.23 70.54 70.48 79.54 56.10 55.16 68.46"),
            (HARMONIC_UNFROZEN, "63.28 63.18 74.08 68.76 67.58 74.0 69.24 68.64 78.20 56.67 57.83 68.46"),
            (CLAP, "68.75 68.15 76.65 66.29 67.32 73.95 69.61 70.71 79.27 60.96 60.80 72.19"),
        )
    ),
    ("image", "audio"),
    (UNIT, CLIPS),
)
TABLE_2 = Table(
    "Table 2: emotions of images and of music",
    "extended version, Table 2",
    "labels",
    ("emotion",),
    SIZES,
    (
        Line("excitement ↔ exciting", ("2,725", "4,576")),
        Line("amusement ↔ funny", ("4,724", "895")),
        Line("contentment ↔ happy", ("5,130", "1,152")),
        Line("anger ↔ angry", ("1,176", "946")),
        Line("sadness ↔ sad", ("2,633", "1,385")),
        Line("fear ↔ scary", ("969", "1,401")),
        Line("awe ↔ –", ("2,881", "–")),
        Line("disgust ↔ –", ("1,591", "–")),
        Line("– ↔ tender", ("–", "3,358")),
    ),
    ("image", "audio"),
    (COUNTS,),
)
WON, DOH = "Won et al., ", "Doh et al., triplet + EmoSim (audio)"
TABLE_3 = Table(
    "Table 3: other emotion-supervised retrieval (%)",
    "extended version, Table 3; ICASSP 2024, Table 2",
    "retrieval",
    ("method", "modalities", "non-music data", "music data"),
    tuple(Metric(name, f"image_audio {name}") for name in ("P@5", "MRR", "P@5 by chance", "MRR by chance")),
    tuple(
        Line(title, (p5, mrr, "–", "–"), (modalities, data, "AudioSet"), row)
        for title, modalities, data, p5, mrr, row in (
            (f"{WON}V-A regression", "Text → Music", "Alm's", "61.00", "73.98", None),
            (f"{WON}V-A regression", "Text → Music", "ISEAR", "62.18", "70.75", None),
            (f"{WON}metric learning (3 branches)", "Text → Music", "Alm's", "51.56", "58.80", None),
            (f"{WON}metric learning (3 branches)", "Text → Music", "ISEAR", "60.19", "66.75", None),
            (DOH, "Speech → Music", "IEMOCAP", "68 ± 3", "76 ± 3", None),
            (DOH, "Speech → Music", "RAVDESS", "67 ± 2", "75 ± 3", None),
            ("Emo-CLIM (frozen Harmonic CNN)", "Image → Music", "DeepEmotion", "65.94", "78.59", HARMONIC),
            ("Emo-CLIM (frozen CLAP)", "Image → Music", "DeepEmotion", "68.15", "76.65", CLAP),
        )
    ),
    ("image", "audio"),
    (UNIT, CLIPS, CHANCE),
)
TABLE_4 = Table(
    "Table 4: music tagging, MagnaTagATune (%)",
    "extended version, Table 4; ICASSP 2024, Table 3",
    "tagging",
    ("method", "pre-training"),
    (Metric("ROC-AUC", "ROC-AUC"), Metric("PR-AUC", "PR-AUC")),
    (
        Line("Short-Chunk CNN", ("91.29", "46.14"), ("music tagging",)),
        Line("Harmonic CNN", ("91.27", "46.11"), ("music tagging",)),
        Line("CLMR", ("89.3", "36.0"), ("SSL",)),
        Line("VCMR", ("89.08", "35.27"), ("SSL",)),
        Line("CLAP", ("91.04", "39.40"), ("SSL",), CLAP_FEATURES),
        Line("Emo-CLIM (frozen Harmonic CNN)", ("89.70", "36.00"), ("music tagging → SupCon",), HARMONIC),
        Line("Emo-CLIM (unfrozen Harmonic CNN)", ("88.55", "33.80"), ("music tagging → SupCon",), HARMONIC_UNFROZEN),
        Line("Emo-CLIM (CLAP)", ("89.94", "37.12"), ("SSL → SupCon",), CLAP),
    ),
    ("image", "audio", "tagging"),
    (UNIT, TAGGING),
)
TABLE_5 = Table(
    "Table 5: P@5 by emotion, with CLAP (%)",
    "extended version, Table 5",
    "classes",
    ("emotion",),
    (*(Metric(title, f"{direction} P@5") for direction, title in DIRECTIONS.items()), *SIZES),
    tuple(
        Line(title, numbers.split(), row=CLAP)
        for title, numbers in (
            ("excitement ↔ exciting", "71.87 32.24 60.73 68.68 273 458"),
            ("amusement ↔ funny", "48.52 71.29 78.69 29.41 472 89"),
            ("contentment ↔ happy", "71.42 58.94 83.74 38.94 513 115"),
            ("anger ↔ angry", "74.07 81.68 66.44 69.89 118 95"),
            ("sadness ↔ sad", "71.71 75.51 74.45 72.90 263 138"),
            ("fear ↔ scary", "71.34 84.26 60.21 85.0 97 140"),
        )
    ),
    ("image", "audio"),
    (UNIT, CLIPS, FUNNY),
)
FIGURE_2 = Table(
    "Figure 2: joint spaces (t-SNE)",
    "extended version, Figure 2",
    "joint_space",
    ("panel",),
    SIZES,
    (
        Line("(a) frozen Harmonic CNN", ("1,736", "1,035"), row=HARMONIC),
        Line("(b) unfrozen Harmonic CNN", ("1,736", "1,035"), row=HARMONIC_UNFROZEN),
        Line("(c) frozen CLAP", ("1,736", "1,035"), row=CLAP),
    ),
    ("image", "audio"),
    (UNIT, CLIPS, PANELS),
)

CACHED, LIVE = ablated(HARMONIC)
FROZEN, UNFROZEN = (SHORT, HARMONIC), (SHORT_UNFROZEN, HARMONIC_UNFROZEN)
# "The CLAP checkpoint that was trained without AudioSet data": the published code loads music_speech. The papers' files
# were stored at 16 kHz.
ENCODERS: Mapping[str, Mapping[str, int | float | str]] = {"clap": {"model": "music_speech", "source_rate": 16_000}}
DECAY = {"weight decay spares norms and biases of the encoder; there, nothing": UNFROZEN}

PRESETS = {
    "paper": Preset(
        encoders=ENCODERS,
        tagging={"aggregate": "embeddings"},
        gaps=DECAY,
        remarks=(
            "The published code does more than the paper says: it adds noise to recordings, takes two views of each "
            "item and leaves out short clips, and its frozen CNNs go on following the statistics of batches: see "
            "--preset paper-code.",
        ),
    ),
    "paper-code": Preset(
        "published code",
        {"epochs": 30, "views_per_item": 2},
        {"gaussian_snr": (5.0, 40.0), "background": "NSynth"},
        ENCODERS,
        {"aggregate": "probabilities", "windows": "apart", "keep_by": "PR-AUC"},
        drop_short=True,
        gaps={
            **DECAY,
            "batch normalisations of the frozen CNN stand still; there, they follow the batches, as here with "
            "train-end-to-end --unfreeze none": (*FROZEN, *CACHED, LIVE[0]),
            "no noise is added to recordings; there, sounds of NSynth and Gaussian noise are": (*FROZEN, CLAP, *CACHED),
            "clips shorter than the encoder's input train it; there, they are left out": (*UNFROZEN, *LIVE),
            "tag heads are kept by their PR-AUC over all validation items; there, over batches": (CLAP_FEATURES,),
            "the validation batches are drawn once and held; there, anew in each epoch": (
                *FROZEN,
                *UNFROZEN,
                CLAP,
                *CACHED,
                *LIVE,
            ),
        },
        remarks=("Settings are those of the published code, where it differs from the paper.",),
    ),
}

RECIPE = Recipe(
    "S. Stewart et al., Emotion-Aligned Contrastive Learning Between Images and Music, ICASSP 2024, extended version",
    ("image", "audio"),
    "emo_clim",
    {
        "image": Data("image", "deepemotion", counted_by="Emo-CLIM's code", cropped=True),
        "audio": Data("audio", "audioset_mood", counted_by="Emo-CLIM's code", cropped=True, seconds=10.0),
        "tagging": Data("audio", "magnatagatune", split="pons2017", cropped=True, seconds=29.1, tagged=True),
    },
    PRESETS,
    {
        "table1": TABLE_1,
        "table2": TABLE_2,
        "table3": TABLE_3,
        "table4": TABLE_4,
        "table5": TABLE_5,
        "figure2": FIGURE_2,
        "ablations": ablations((HARMONIC, *CACHED, *LIVE), TABLE_1.metrics[:6]),
    },
)
