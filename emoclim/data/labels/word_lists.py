"""Lists of words that pictures, music and texts may be compared by, by the name that settings know them by."""

from collections.abc import Mapping, Sequence

WORD_LISTS: Mapping[str, Sequence[str]] = {
    # Emo-CLIM, section 4.1: the six classes that pictures and music share
    "paper": ("amusement", "anger", "contentment", "excitement", "fear", "sadness"),
    # Zentner et al., "Emotions evoked by the sound of music", Emotion 2008 (GEMS); and Russell's circumplex, 1980
    "affect": (
        *("wonder", "transcendence", "tenderness", "nostalgia", "peacefulness", "power", "joy", "tension", "sadness"),
        *("excitement", "delight", "happiness", "contentment", "serenity", "calm", "relaxation", "tiredness"),
        *("boredom", "gloom", "frustration", "anger", "fear", "alarm", "amusement"),
    ),
    # What pictures, music and texts may be of
    "content": (
        *("sea", "beach", "lake", "river", "waterfall", "mountain", "forest", "desert", "field", "garden", "sky"),
        *("sunset", "night", "rain", "storm", "snow", "fire", "space", "city", "street", "village", "house", "church"),
        *("castle", "ruin", "bar", "stage", "stadium", "school", "hospital", "factory", "cemetery", "road", "child"),
        *("baby", "woman", "man", "couple", "family", "crowd", "friends", "soldier", "wedding", "party", "dance"),
        *("concert", "sport", "race", "journey", "work", "war", "protest", "accident", "prayer", "sleep", "holiday"),
        *("Christmas", "dog", "cat", "horse", "bird", "insect", "snake", "spider", "fish", "car", "train", "aeroplane"),
        *("ship", "bicycle", "machine", "computer", "weapon", "food", "drink", "flower", "tree", "book", "toy"),
        *("singing", "choir", "guitar", "piano", "violin", "drums", "trumpet", "saxophone", "flute", "organ", "harp"),
        *("synthesiser", "orchestra", "classical music", "jazz", "blues", "rock music", "heavy metal", "punk"),
        *("pop music", "hip hop", "electronic music", "techno", "ambient music", "folk music", "country music"),
        *("reggae", "soul music", "film music", "lullaby"),
    ),
}
FEELING = "a feeling of {word}"  # a prompt for a word of an emotion
