"""Tell texts that are not in the language that an encoder was trained on. Used by encoders of text.

Convention: only what is plain is told. Another script is told by its letters, another language by the want of the words
that no longer text of a language does without; one of a few words is not judged.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

# Of each language, its script as Unicode calls it, frequent words that others in that script seldom have, and frequent
# ones that it shares with one of them or another: these count half, and only where there are two kinds of them
LANGUAGES: Mapping[str, tuple[str, frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "English": (
            "LATIN",
            frozenset(
                "the and of to that it with you i my he she his not this they them their when because by from be "
                "been are were has having would could should who which what where how there after before about "
                "out up down if we our us your him very did do does being than then into through while someone "
                "something myself other some any another such more many much even few too again only just first new "
                "own off around now make made going went came got get saw felt feel know like thought good well "
                "young old child children friend friends people year years day night school work working".split()
            ),
            frozenset("a an as at for in is me on was all so will one man no".split()),
        )
    }
)
ENOUGH = 12  # words of a text that is judged by them
LEAST = 0.1  # of its words; of English ones, more than half are among those above
WORD = re.compile(r"[^\W\d_]+")


def foreign_to(language: str, text: str) -> str:
    """Say what shows that a text is not in a language of :data:`LANGUAGES`; nothing where it may be.

    Examples
    --------
    >>> foreign_to("English", "Мороз и солнце; день чудесный!")
    'Cyrillic letters'
    >>> foreign_to("English", "A sunny day")
    ''
    """
    script, frequent, shared = LANGUAGES[language]
    letters = Counter(filter(str.isalpha, text))
    scripts = Counter[str]()
    for letter, count in letters.items():
        scripts[unicodedata.name(letter, "").partition(" ")[0]] += count
    if 2 * scripts[script] < scripts.total():
        found = scripts.most_common(1)[0][0]
        return f"{'Chinese' if found == 'CJK' else found.capitalize()} letters"
    words = WORD.findall(text.lower())
    common = [word for word in words if word in shared]
    known = sum(word in frequent for word in words) + (len(common) / 2 if len(set(common)) > 1 else 0)
    return repr(" ".join(words[:4])) if len(words) >= ENOUGH and known < LEAST * len(words) else ""
