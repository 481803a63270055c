"""Words as the bridge: profiles against plain loops, both ways to them; lists and templates; features without words."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import open_clip
import pytest
import torch
import wordy_noise
from pseudo_weights import TINY_CLIP, pseudo_random, register_tiny_clip
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import Features, FeatureSpec, Split
from emoclim.encoders import (
    background_texts,
    embed_texts,
    feature_names,
    find_encoder,
    load_encoder,
    text_tower,
    vocabulary_of,
    wordy_encoders,
)
from emoclim.errors import CheckpointError, ConfigError, EncoderError
from emoclim.learning import (
    Heads,
    Space,
    heads_without_labels,
    load_heads,
    make_objective,
    save_heads,
    stack_heads,
    varying_settings,
)
from emoclim.learning.word_banks import prompt_directions
from emoclim.modality import MODALITIES
from emoclim.stages import train_heads

WORDS, TEMPLATES = ("calm", "glad", "afraid", "sad"), ("{word}", "this {medium} is {word}")
SPECS = {
    "image": FeatureSpec("noise", "image", 7, "none", {"output": "words"}),
    "audio": FeatureSpec("noise", "audio", 7, "none", {}),
}
READ = {
    "softmax": FeatureSpec("noise", "audio", 5, "none", {"output": "softmax"}),
    "sigmoid": FeatureSpec("noise", "image", 5, "none", {"output": "sigmoid"}),
}


def split(seed: int, n: int = 9) -> Split:
    """Probabilities of words without segments, and vectors with two segments each."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 7, generator=generator).softmax(dim=1)
    segments = torch.randn(2 * n, 7, generator=generator)
    windows = segments, torch.arange(0, 2 * n + 1, 2), torch.zeros(2 * n, dtype=torch.float64)
    ids = tuple(map(str, range(n)))
    audio = Features(SPECS["audio"], ids, segments.view(n, 2, 7).mean(dim=1), *windows)
    labels = {name: torch.arange(n) % 3 for name in SPECS}
    features: Any = {"image": Features(SPECS["image"], ids, image), "audio": audio}
    return Split(features, labels, ("a", "b", "c"))


def heads(*settings: dict[str, Any]) -> Heads:
    given = [{"words": WORDS, "templates": TEMPLATES, "encoder": "noise"} | one for one in settings]
    objective = make_objective("words", tuple(SPECS), given)
    table = torch.zeros(len(given), 0)
    return train_heads(split(0), split(1), objective, table, TrainConfig(), device="cpu").heads


def embedded(*texts: str) -> list[list[float]]:
    rows: list[list[float]] = embed_texts(wordy_noise.load(), texts).tolist()
    return rows


def cosine(one: list[float], other: list[float]) -> float:
    return sum(map(float.__mul__, one, other)) / math.hypot(*one) / math.hypot(*other)


def cosines_of(features: Features, item: int) -> list[float]:
    """Of one item with each word: the mean over segments and templates."""
    medium = MODALITIES[features.spec.modality].name
    rows = [features.values[item]] if features.windows is None else features.windows[0][2 * item : 2 * item + 2]
    found = []
    for word in WORDS:
        prompts = embedded(*(one.format(word=word, medium=medium) for one in TEMPLATES))
        found.append(fmean(cosine(point_of(row, features), prompt) for row in rows for prompt in prompts))
    return found


def point_of(row: Tensor, features: Features) -> list[float]:
    if "output" not in features.spec.settings:
        point: list[float] = row.tolist()
        return point
    units = [[entry / math.hypot(*vector) for entry in vector] for vector in embedded(*wordy_noise.VOCABULARY)]
    return [sum(p * unit[axis] for p, unit in zip(row.tolist(), units, strict=True)) for axis in range(7)]


@pytest.mark.parametrize("standardise", ["library", "none"])
@pytest.mark.parametrize("modality", SPECS)
def test_items_are_compared_by_the_profiles_of_plain_loops(modality: Any, standardise: str) -> None:
    made = heads({"temperature": 0.5, "standardise": standardise}, {"temperature": 3.0, "standardise": standardise})
    train, test = (split(seed).features[modality] for seed in (0, 2))
    known = list(zip(*(cosines_of(train, item) for item in range(9)), strict=True))
    vectors, metric = made.vectors(test)
    assert metric == "ip"
    for k, temperature in enumerate((0.5, 3.0)):
        for item in range(9):
            scores = cosines_of(test, item)
            if standardise == "library":
                scores = [(one - fmean(of)) / pstdev(of) for one, of in zip(scores, known, strict=True)]
            powers = [math.exp(score / temperature) for score in scores]
            expected = [math.sqrt(power / sum(powers)) for power in powers]
            torch.testing.assert_close(vectors[k, item], torch.tensor(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("function", READ)
def test_features_before_the_probabilities_of_words_are_as_good(function: str) -> None:
    spec, rows = READ[function], torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    last = wordy_noise.load().module.last
    with torch.no_grad():
        read = last(rows).softmax(dim=1) if function == "softmax" else last(rows).sigmoid()
    probable = replace(spec, dim=7, settings={"output": "words"})
    kinds = [{"standardise": "none"}, {"standardise": "none", "temperature": 0.1}]
    objective = make_objective("words", (spec.modality,), [{"words": WORDS, "encoder": "noise"} | one for one in kinds])
    windows = rows, torch.tensor([0, 1, 4]), torch.zeros(4)
    found, expected = (
        heads_without_labels(objective, {spec.modality: one.spec}).vectors(one)[0]
        for one in (
            Features(spec, ("a", "b"), torch.zeros(2, 5), *windows),
            Features(probable, ("a", "b"), torch.zeros(2, 7), read, *windows[1:]),
        )
    )
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_a_bank_with_a_layer_before_it_is_kept_whole(tmp_path: Path) -> None:
    objective = make_objective(
        "words", ("audio",), [{"words": WORDS, "encoder": "noise", "temperature": t} for t in (1, 2)]
    )
    made = heads_without_labels(objective, {"audio": READ["softmax"]})
    save_heads(made, tmp_path / "heads")
    rows = Features(READ["softmax"], ("a", "b"), torch.randn(2, 5, generator=torch.Generator().manual_seed(3)))
    again, alone = load_heads(tmp_path / "heads"), made.select(1)
    assert torch.equal(again.vectors(rows)[0], made.vectors(rows)[0])
    assert torch.equal(stack_heads([alone, made]).vectors(rows)[0], made.select(1, 0, 1).vectors(rows)[0])


@pytest.mark.parametrize("spec", [SPECS["image"], READ["softmax"], SPECS["audio"]])
def test_without_a_library_words_are_standardised_over_those_of_the_package(spec: FeatureSpec) -> None:
    objective = make_objective("words", (spec.modality,), [{"words": WORDS, "encoder": "noise"}])
    made = heads_without_labels(objective, {spec.modality: spec})
    texts = list(wordy_noise.VOCABULARY) if spec.settings else background_texts()
    items = Features(replace(spec, dim=7, settings={}), tuple(texts), embed_texts(wordy_noise.load(), texts))
    expected = heads_without_labels(objective, {spec.modality: items})
    for name, tensor in expected.banks.state_dict().items():
        torch.testing.assert_close(made.banks.state_dict()[name], tensor, atol=1e-4, rtol=1e-4)
    rows = Features(spec, ("a", "b"), torch.rand(2, spec.dim, generator=torch.Generator().manual_seed(3)))
    outputs = made.outputs(rows)[spec.modality]
    torch.testing.assert_close(outputs.mean(dim=2), torch.zeros(1, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.std(dim=2, correction=0), torch.ones(1, 2))


def test_known_words_are_compared_without_their_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.encoders.text_towers.load_encoder", lambda *_, **__: pytest.fail("it is loaded"))
    given: Any = {
        "image": FeatureSpec("efficientnet_lite0", "image", 1000, "x", {"output": "classes"}),
        "audio": FeatureSpec("musicnn_msd", "audio", 50, "x", {"output": "tags"}),
    }
    made = heads_without_labels(make_objective("words", tuple(given), [{}]), given)
    sad = torch.zeros(1, 50).index_fill(1, torch.tensor(vocabulary_of(given["audio"]).index("sad")), 1)
    outputs = made.outputs(Features(given["audio"], ("blues",), sad))["audio"][0, 0]
    assert made.objective.choice("words")[outputs.argmax()] in ("sadness", "gloom")


def test_lists_of_other_lengths_stay_apart_in_one_set_of_heads() -> None:
    short, long = heads({"words": WORDS[:2]}), heads({})
    rows = split(2).features["audio"]
    both = stack_heads([long, short]).vectors(rows)[0]
    assert not both[1, :, 2:].any()
    torch.testing.assert_close(both[1, :, :2], short.vectors(rows)[0][0])


@pytest.mark.parametrize("n", [1, 3])
def test_items_that_do_not_differ_are_standardised_as_without_a_library(
    n: int, caplog: pytest.LogCaptureFixture
) -> None:
    objective = make_objective("words", ("audio",), [{"words": WORDS, "encoder": "noise"}])
    alike = split(0).features["audio"].select(torch.zeros(n, dtype=torch.int64))
    found, expected = (heads_without_labels(objective, {"audio": one}) for one in (alike, alike.spec))
    assert torch.equal(found.vectors(alike)[0], expected.vectors(alike)[0])
    assert "the music library has no two items that differ" in caplog.text


def test_words_are_a_list_by_name_or_a_file_or_given(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text("joy\n\n  deep sorrow \njoy\n", encoding="utf-8")

    def words(given: str) -> tuple[str, ...]:
        made: tuple[str, ...] = make_objective("words", ("image",), [{"words": given}]).choice("words")
        return made

    assert words(str(file)) == ("joy", "deep sorrow")
    assert words("joy, fear, Joy") == ("joy", "fear")
    assert len(words(", ".join(f"feeling number {n}" for n in range(1000)))) == 1000
    assert (len(words("paper")), len(words("affect"))) == (6, 24)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "holds 0 of"), (b"joy\nJOY", "holds 1 of"), (b"a\xff\nb", "UTF-8"), (b"1 2 3", "holds 1 of")],
)
def test_files_of_no_list_are_told(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        make_objective("words", ("image",), [{"words": str(tmp_path / "mine")}])


@pytest.mark.parametrize(
    ("words", "templates", "told"),
    [
        (("joy", "calm"), ("a feeling of {word}",), ""),
        (("tristesse", "joie"), ("un sentiment de {word}",), "1 of the words and templates seem not to be in English"),
        (("悲しみ", "joy"), ("a feeling of {word}",), "English, which noise was trained on (Hiragana letters)"),
        (
            ("joy", "umbrella", "sad"),
            ("a feeling of {word}",),
            "words that are the same to noise count twice: 'joy' and 'sad'",
        ),
    ],
)
def test_words_that_an_encoder_hardly_knows_are_told(
    words: tuple[str, ...], templates: tuple[str, ...], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    joy, sad = wordy_noise.tokenize("joy sad")
    encoder = replace(
        wordy_noise.load(),
        language="English",
        tokenize=lambda text: [
            joy if told.startswith("words that are the same") and one == sad else one
            for one in wordy_noise.tokenize(text)
        ],
    )
    prompt_directions(encoder, words, templates, "image")
    assert told in caplog.text
    assert bool(caplog.records) == bool(told)


def test_lists_of_words_may_be_tried_side_by_side() -> None:
    objective = make_objective("words", ("image",), [{}])
    tried = Space([()], {"words": ["paper", "affect"]}, TrainConfig(), objective).candidates()
    assert varying_settings(tried) == ["words"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("words", "afect"),
        ("words", " , "),
        ("words", "joy,joy"),
        ("words", ",".join(map(str, range(1001)))),
        ("templates", "a photo"),
        ("templates", "{word} {x}"),
    ],
)
def test_words_and_templates_that_tell_nothing_are_refused(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=setting):
        make_objective("words", ("image",), [{setting: value}])


def test_text_towers_are_encoders_of_text_in_the_same_space() -> None:
    for name in ("clip", "clap"):
        assert name in wordy_encoders()
        assert find_encoder(find_encoder(name).TEXT).published().url == find_encoder(name).published().url


def test_features_without_words_are_refused() -> None:
    spec = FeatureSpec("colour", "image", 3, "none", {})
    rows = Split({"image": Features(spec, ("1", "2"), torch.rand(2, 3))}, {}, ())
    with pytest.raises(ConfigError, match="efficientnet_lite0"):
        make_objective("words", ("image",), [{}]).fit(rows)


def test_prompts_that_the_encoder_does_not_take_are_told(caplog: pytest.LogCaptureFixture) -> None:
    encoder = wordy_noise.load()
    with pytest.raises(EncoderError, match="2 parts"):
        embed_texts(encoder, ["joy", "joy " * 20])
    with pytest.raises(EncoderError, match="'  '"):
        embed_texts(encoder, ["joy", "  "])
    assert embed_texts(encoder, [f"feeling {n}" for n in range(201)]).shape == (201, 7)
    assert "noise embeds 201 words and prompts" in caplog.text
    (unknown,) = encoder.tokenize("umbrella")
    assert embed_texts(replace(encoder, unknown=unknown), ["joy", "joyful umbrella"]).shape == (2, 7)
    assert "1 of 2 words and prompts have words that noise does not know ('umbrella')" in caplog.text


@pytest.mark.parametrize(
    ("name", "output", "first"), [("efficientnet_lite0", "classes", "tench"), ("musicnn_msd", "tags", "rock")]
)
def test_a_vocabulary_has_a_word_for_each_probability(name: str, output: str, first: str) -> None:
    width = {"classes": 1000, "tags": 50}[output]
    assert vocabulary_of(FeatureSpec(name, "image", width, "x", {"output": output}))[0] == first
    assert vocabulary_of(FeatureSpec(name, "image", 9, "x", {"output": "features"}))[0] == first
    assert feature_names(FeatureSpec(name, "image", width, "x", {"output": output}))[0] == first
    assert not feature_names(FeatureSpec(name, "image", 9, "x", {"output": "features"}))
    with pytest.raises(EncoderError, match=f"{width} words"):
        vocabulary_of(FeatureSpec(name, "image", 3, "x", {"output": output}))


def test_the_text_tower_of_clip_is_of_the_file_of_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    register_tiny_clip(tmp_path)
    whole = open_clip.CLIP(**open_clip.get_model_config(TINY_CLIP)).eval()
    whole.load_state_dict(pseudo_random(whole.state_dict()))
    file = tmp_path / "checkpoints" / "mine.pt"
    file.parent.mkdir()
    torch.save(whole.state_dict(), file)
    spec = load_encoder("clip", checkpoint=file, model=TINY_CLIP, pretrained="none").spec
    tower = text_tower(spec)
    assert tower is not None
    with torch.inference_mode():
        expected = whole.encode_text(open_clip.get_tokenizer(TINY_CLIP)(["a sad day"]))
    torch.testing.assert_close(embed_texts(tower, ["a sad day"]), expected, atol=1e-6, rtol=1e-6)
    torch.save({name: tensor + 1 for name, tensor in whole.state_dict().items()}, file)
    with pytest.raises(CheckpointError, match=r"mine\.pt"):
        text_tower(spec)
