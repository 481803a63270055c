"""Place classes of emotions in the plane of valence and arousal: by a published circle of words, or a user's table.

Used by search, to ask without an example. Convention: both numbers run from -1 to 1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emoclim.data.labels.valence_arousal import ValenceArousal, places_of, read_valence_arousal
from emoclim.errors import ManifestError

# Angles of 28 words from pleasure (0) to arousal (90), in whole degrees; behind each, the labels that it is nearest to.
# J. A. Russell, "A circumplex model of affect", Journal of Personality and Social Psychology 39 (1980), Figure 2. Those
# of angry to frustrated, gloomy to bored, relaxed to content, and glad are quoted at second hand.
CIRCLE: Mapping[str, tuple[int, str]] = {
    "happy": (8, "happiness joy joyful cheerful"),
    "delighted": (25, "delight amusement amused funny fun humorous"),
    "excited": (49, "excitement exciting energetic enthusiasm party power powerful uplifting"),
    "astonished": (70, "awe surprise surprised wonder"),
    "aroused": (74, "arousal"),
    "tense": (93, "tension suspense dramatic"),
    "alarmed": (97, "alarm"),
    "angry": (99, "anger rage aggressive"),
    "afraid": (116, "fear fearful scary scared horror"),
    "annoyed": (123, "annoyance irritated"),
    "distressed": (138, "distress disgust disgusted guilt anxious anxiety"),
    "frustrated": (141, "frustration"),
    "miserable": (189, "misery shame grief"),
    "sad": (208, "sadness melancholy melancholic"),
    "gloomy": (209, "gloom dark"),
    "depressed": (211, "depression depressing depressive"),
    "bored": (242, "boredom boring"),
    "droopy": (257, ""),
    "tired": (268, "tiredness"),
    "sleepy": (272, "sleepiness sleep"),
    "calm": (316, "calmness soft nostalgia nostalgic"),
    "relaxed": (318, "relaxation relaxing"),
    "satisfied": (319, "satisfaction"),
    "at ease": (321, "ease"),
    "content": (323, "contentment"),
    "serene": (329, "serenity peaceful peacefulness tender tenderness transcendence meditative"),
    "glad": (349, "gladness"),
    "pleased": (353, "pleasure love romantic"),
}
NEAREST: Mapping[str, str] = {label: word for word, (_, labels) in CIRCLE.items() for label in (word, *labels.split())}


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where classes lie in the plane of valence and arousal.

    Attributes
    ----------
    places
        Valence and arousal of each class, from -1 to 1.
    told
        By what they lie there, and which lie at a word of another root, in a sentence.
    """

    places: ValenceArousal
    told: str


def class_coordinates(classes: Sequence[str], vad: Path | None = None) -> Coordinates:
    """Place classes in the plane of valence and arousal.

    Parameters
    ----------
    classes
        Labels of emotions, without regard to upper case.
    vad
        A table with columns of words, valence and arousal, as the NRC VAD lexicon; None for the circle of Russell, on
        which a class lies where the nearest of 28 words does.

    Raises
    ------
    ManifestError
        A class has no place.

    Notes
    -----
    J. A. Russell, "A circumplex model of affect", Journal of Personality and Social Psychology 39 (1980): the angles of
    words that were sorted into eight categories around a circle. Which word a label is nearest to is our own judgement,
    and is told.

    Examples
    --------
    >>> found = class_coordinates(["happy", "scary"])
    >>> {name: (round(valence, 2), round(arousal, 2)) for name, (valence, arousal) in found.places.items()}
    {'happy': (0.99, 0.14), 'scary': (-0.44, 0.9)}
    >>> found.told
    'Valence and arousal of classes: the circle of Russell (1980), scary at afraid'
    """
    if vad is not None:
        found = places_of(classes, read_valence_arousal(vad), vad)
        places = {name: (2 * valence - 1, 2 * arousal - 1) for name, (valence, arousal) in found.items()}
        return Coordinates(places, f"Valence and arousal of classes: {vad}")
    if unknown := [name for name in classes if name.lower() not in NEAREST]:
        raise ManifestError(
            f"no word of Russell's circle of emotions is known to be near {', '.join(map(repr, unknown))}; "
            "give a table word,valence,arousal of all classes with --vad"
        )
    words = {name: NEAREST[name.lower()] for name in classes}
    angles = {name: math.radians(CIRCLE[word][0]) for name, word in words.items()}
    places = {name: (math.cos(angle), math.sin(angle)) for name, angle in angles.items()}
    others = "".join(f", {name} at {word}" for name, word in words.items() if name[:3].lower() != word[:3])
    return Coordinates(places, f"Valence and arousal of classes: the circle of Russell (1980){others}")
