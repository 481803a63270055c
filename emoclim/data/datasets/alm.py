"""Read Alm's tales: sentences of fairy tales on whose emotion all labels agree.

Conventions: a sentence is known as ``<author>/<tale>/<number>``, as the corpus counts; the sentences of one tale are a
group. Anger and disgust are one label there, which is called ``anger``, as in the label maps of Won et al.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import Description, Prepared
from emoclim.data.datasets.files import in_words
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files
from emoclim.data.media.text import read_text
from emoclim.errors import ManifestError

EMOTIONS = {"2": "anger", "3": "fearful", "4": "happy", "6": "sad", "7": "surprised"}
AUTHORS = {"Grimms": "train", "HCAndersen": "train", "Potter": "test"}
INSIDE, SUFFIX = "agree-sent", ".agree"
SENTENCE = re.compile(r"\s*(\d+)@(\d+)@(.*\S)\s*")  # 35@3@"It is very unpleasant", said Pickles.
LINE_END = re.compile(r"\r\n?|\n")  # no other: in text that is older than UTF-8, \x85 is an ellipsis
SENTENCES = 1_207

DESCRIPTION = Description(
    modality="text",
    about="1,207 sentences of fairy tales on whose emotion all labels agree",
    what=(
        "1,207 sentences of tales by the Grimms, H. C. Andersen and B. Potter: those to which two people gave the same "
        "emotion four times, for the sentence and for its mood. Won et al. (ISMIR 2021) used them."
    ),
    licence="free to use, change and pass on with its notice (its README)",
    citation=(
        "E. C. O. Alm, Affect in text and speech, PhD thesis, University of Illinois at Urbana-Champaign 2008; C. O. "
        "Alm, D. Roth, R. Sproat, Emotions from text: machine learning for text-based emotion prediction, HLT-EMNLP "
        "2005"
    ),
    source="http://people.rc.rit.edu/~coagla/affectdata/ (Grimms, HCAndersen and Potter, each an archive)",
    layouts=("<Grimms, HCAndersen, Potter>/agree-sent/<tale>.agree, below any folder: <number>@<code>@<sentence>",),
    labels=tuple(EMOTIONS.values()),
    published={"Alm 2008": {"anger": 218, "fearful": 166, "happy": 445, "sad": 264, "surprised": 114}},
    splits={
        "won2021": "the Grimms and Andersen to learn, Potter to test; the paper chose by Potter too: there is no val"
    },
    split_sizes={"won2021": {"train": 1_040, "test": 167}},
    default_split="won2021",
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each sentence on which all agree."""
    paths = list_files(folder)
    tales = {path: author for path in paths if (author := _author_of(path))}
    if lacking := [author for author in AUTHORS if author not in tales.values()]:
        raise ManifestError(
            f"{folder} has no {lacking[0]}/{INSIDE}/<tale>{SUFFIX}, as each of {', '.join(AUTHORS)} has; "
            f"found {in_words(paths)}"
        )
    items = [item for path, author in tales.items() for item in _sentences(folder / path, author)]
    parts = {item.id: AUTHORS[item.id.partition("/")[0]] for item in items}
    notes = () if len(items) == SENTENCES else (f"found {len(items):,} sentences, of {SENTENCES:,} published",)
    return Prepared("text", tuple(items), splits={"won2021": parts}, notes=notes)


def _author_of(path: str) -> str | None:
    """Return the author of a file's tale; None if it is no file of sentences that are agreed on."""
    *_, author, inside, name = ("", "", *PurePosixPath(path).parts)
    called: Mapping[str, str] = {author.lower(): author for author in AUTHORS}
    return called.get(author.lower()) if inside.lower() == INSIDE and name.lower().endswith(SUFFIX) else None


def _sentences(path: Path, author: str) -> list[Item]:
    tale = f"{author}/{path.name[: -len(SUFFIX)]}"
    items = []
    for line_number, line in enumerate(LINE_END.split(read_text(path, old=True)), start=1):
        if not line.strip():
            continue
        match = SENTENCE.fullmatch(line)
        if match is None or match[2] not in EMOTIONS:
            raise ManifestError(
                f"line {line_number} of {path} is {line[:60]!r}, where the corpus has <number>@<code>@<sentence> with "
                f"a code of {', '.join(EMOTIONS)}; fetch it again"
            )
        number, code, sentence = match.groups()
        items.append(Item(f"{tale}/{number}", text=" ".join(sentence.split()), label=EMOTIONS[code], group=tale))
    return items
