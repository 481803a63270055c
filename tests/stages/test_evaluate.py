"""The evaluation stage, on embeddings given by hand in place of a head's."""

from dataclasses import replace
from functools import partial
from statistics import fmean

import pytest
import reference_metrics as reference
import torch
from given_embeddings import CPU, Identity, make_split
from torch.nn.functional import normalize

from emoclim.data.features import Split
from emoclim.data.labels.relevance import Taxonomy
from emoclim.errors import CacheMismatch, ConfigError, ManifestError, RunError
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.base import Objective
from emoclim.metrics import blockwise
from emoclim.metrics.retrieval import average_precision, precision_at_k, reciprocal_rank
from emoclim.stages import evaluating, head_vectors
from emoclim.stages.cross_validating import FoldHeads
from emoclim.stages.evaluating import evaluate, evaluate_each


def random_split(n_images: int = 30, n_audio: int = 21, seed: int = 0) -> Split:
    """Embeddings that lean towards their class; class 3 has no image, class 2 no music, class 4 one of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(5, 16, generator=generator)
    images = torch.tensor([0, 0, 1, 2, 1]).repeat(n_images)[: n_images - 1]
    audio = torch.tensor([1, 0, 3, 3]).repeat(n_audio)[: n_audio - 1]
    labels = {"image": torch.cat([images, torch.tensor([4])]), "audio": torch.cat([torch.tensor([4]), audio])}
    parts = {
        modality: (centres[label] + 1.5 * torch.randn(len(label), 16, generator=generator), label)
        for modality, label in labels.items()
    }
    return make_split(("calm", "happy", "funny", "scary", "sad"), **parts)


@pytest.mark.parametrize("name", ["image_audio", "audio_image", "image_image", "audio_audio"])
def test_equals_plain_loops(name):
    test = random_split()
    found = evaluate(test, Identity(), ks=(1, 5), hits=(2, 5), device=CPU).directions[name]
    plain = {
        "hit@2": partial(reference.hit, k=2),
        "hit@5": partial(reference.hit, k=5),
        "P@1": partial(reference.precision, k=1),
        "P@5": partial(reference.precision, k=5),
        "MRR": reference.reciprocal_rank,
        "mAP": reference.average_precision,
        "R-precision": reference.r_precision,
    }
    query, candidate = name.split("_")
    sides = [part[m].tolist() for m in (query, candidate) for part in ({m: test.features[m].values}, test.labels)]
    for metric, function in plain.items():
        expected = reference.retrieval(*sides, function, same_items=query == candidate)
        assert found.scores.metrics[metric].tolist() == pytest.approx(expected, abs=1e-12)
        assert found.metrics[metric] == pytest.approx(reference.macro(expected, sides[1]), abs=1e-12)
        assert found.micro[metric] == pytest.approx(fmean(expected), abs=1e-12)


def test_heads_of_folds_take_features_on_any_device():
    heads, images = trained(split := random_split(), n_heads=1), split.features["image"]
    images = replace(images, seconds=torch.zeros(len(images)))
    folds = {"image": {id_: n % 2 for n, id_ in enumerate(images.ids)}}
    crossed = FoldHeads.of([heads, heads], folds)
    for name, found in crossed.outputs(images.to(torch.device("meta"))).items():
        assert found.shape == crossed.outputs(images)[name].shape


def test_counts_queries_candidates_and_those_without_a_relevant_candidate():
    test = make_split(
        ("calm", "happy", "sad"),
        image=(torch.eye(4), torch.tensor([0, 0, 1, 2])),
        audio=(torch.eye(4)[:3], torch.tensor([0, 1, 1])),
    )
    found = evaluate(test, Identity(), device=CPU).directions
    counts = {name: (d.n_queries, d.n_candidates, d.n_without_relevant) for name, d in found.items()}
    assert counts == {
        "image_audio": (4, 3, 1),
        "audio_image": (3, 4, 0),
        "image_image": (4, 3, 2),
        "audio_audio": (3, 2, 1),
    }
    per_class = {name: (c.n_queries, c.n_relevant) for name, c in found["image_image"].per_class.items()}
    assert per_class == {"calm": (2, 1), "happy": (1, 0), "sad": (1, 0)}
    assert found["audio_image"].per_class["sad"].metrics == {}
    assert found["audio_image"].per_class["sad"].n_relevant == 1


def test_equal_embeddings_give_exactly_the_random_expectation():
    test = random_split()
    level = {modality: replace(part, values=torch.ones_like(part.values)) for modality, part in test.features.items()}
    report = evaluate(replace(test, features=level), Identity(), ks=(1, 5, 50), device=CPU)
    for direction in report.directions.values():
        assert direction.metrics == pytest.approx(direction.random, abs=1e-14)
        assert direction.micro == pytest.approx(direction.random_micro, abs=1e-14)
        for found in direction.per_class.values():
            assert found.metrics == pytest.approx(found.random, abs=1e-14)


def test_random_expectation_does_not_depend_on_the_embeddings():
    reports = [evaluate(random_split(seed=seed), Identity(), device=CPU) for seed in (0, 1)]
    assert reports[0].directions["image_audio"].random == reports[1].directions["image_audio"].random
    assert reports[0].directions["image_audio"].metrics != reports[1].directions["image_audio"].metrics


def test_blocks_of_queries_give_the_values_of_one_block():
    whole = evaluate(random_split(), Identity(), device=CPU)
    parts = evaluate(random_split(), Identity(), memory=50_000, device=CPU)  # a few queries at a time, unevenly
    assert parts == whole
    for name, direction in whole.directions.items():
        for metric, values in direction.scores.metrics.items():
            assert torch.equal(parts.directions[name].scores.metrics[metric], values)


def test_memory_that_does_not_hold_one_query_is_refused():
    with pytest.raises(
        ConfigError, match=r"ranking 21 candidates takes 0\.\d MB .* but 0\.0 MB are allowed; allow more"
    ):
        evaluate(random_split(), Identity(), memory=10, device=CPU)


def test_the_length_of_an_embedding_does_not_count():
    test = random_split()
    lengths = torch.rand(len(test.features["audio"]), 1, generator=torch.Generator().manual_seed(3)) + 0.1
    audio = replace(test.features["audio"], values=test.features["audio"].values * lengths)
    scaled = replace(test, features={**test.features, "audio": audio})
    assert evaluate(scaled, Identity(), device=CPU) == evaluate(test, Identity(), device=CPU)


def test_copies_in_the_gallery_are_tied_wherever_they_stand():
    generator = torch.Generator().manual_seed(4)
    values, labels = torch.randn(13, 37, generator=generator), torch.randint(3, (39,), generator=generator)
    copies = values.repeat(3, 1)
    images = torch.randn(11, 37, generator=generator), torch.arange(11) % 3
    moved = torch.randperm(39, generator=generator)
    first = make_split(("calm", "happy", "sad"), image=images, audio=(copies, labels))
    second = make_split(("calm", "happy", "sad"), image=images, audio=(copies[moved], labels[moved]))
    found = [evaluate(test, Identity(), device=CPU).directions["image_audio"] for test in (first, second)]
    for metric, values in found[0].scores.metrics.items():
        torch.testing.assert_close(found[1].scores.metrics[metric], values, rtol=1e-14, atol=1e-14)


def test_relevance_between_classes_may_be_given():
    # Images of class 0 ask for music of class 1, images of class 1 for any music, music of class 1 for no image.
    test = make_split(
        ("calm", "happy"),
        image=(torch.eye(2), torch.tensor([0, 1])),
        audio=(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), torch.tensor([0, 1, 0])),
    )
    report = evaluate(test, Identity(), relevance=torch.tensor([[False, True], [True, True]]), device=CPU)
    found = report.directions["image_audio"]
    assert found.scores.metrics["MRR"].tolist() == [1 / 2, 1]
    assert found.scores.metrics["P@1"].tolist() == [0, 1]
    assert found.per_class["calm"].n_relevant == 1
    assert found.per_class["happy"].n_relevant == 3
    assert report.directions["audio_audio"].per_class["calm"].n_relevant == 1
    assert report.directions["audio_audio"].per_class["happy"].n_relevant == 2
    assert report.provenance["relevance"] == [[0, 1], [1, 1]]
    each = dict.fromkeys([("audio", "image"), ("image", "image"), ("audio", "audio")], torch.eye(2))
    each["image", "audio"] = torch.tensor([[False, True], [True, True]])
    by_direction = evaluate(test, Identity(), relevance=each, device=CPU)
    assert by_direction.directions["image_audio"] == found
    plain = evaluate(test, Identity(), device=CPU)
    assert by_direction.directions["audio_audio"] == plain.directions["audio_audio"]
    assert by_direction.provenance["relevance"]["audio_image"] == [[1, 0], [0, 1]]


def test_by_default_relevant_is_what_the_split_says():
    test = make_split(
        ("calm", "glad"), image=(torch.eye(2), torch.tensor([0, 1])), audio=(torch.eye(2), torch.tensor([1, 0]))
    )
    shared, crossed = Taxonomy.shared(test.classes, test.features), torch.tensor([[False, True], [True, False]])
    given = replace(shared, relevance=dict.fromkeys(shared.relevance, crossed))
    found = evaluate(replace(test, taxonomy=given), Identity(), device=CPU)
    assert found.directions["image_audio"].metrics["P@1"] == 1.0
    assert evaluate(test, Identity(), device=CPU).directions["image_audio"].metrics["P@1"] == 0.0
    assert found.directions == evaluate(test, Identity(), relevance=crossed, device=CPU).directions


def test_queries_that_find_nothing_are_counted():
    rows = torch.eye(3)
    rows[1] = 0
    test = make_split(
        ("calm", "glad"), image=(rows, torch.tensor([0, 0, 1])), audio=(torch.eye(3), torch.tensor([0, 0, 1]))
    )
    found = evaluate(test, Identity(), device=CPU).directions
    assert {name: one.n_finding_nothing for name, one in found.items()} == {
        "image_audio": 1,
        "audio_image": 0,
        "image_image": 1,
        "audio_audio": 0,
    }
    assert found["image_audio"].metrics["P@1"] == pytest.approx((1 / 2 + 1) / 2)


def test_one_modality_of_any_kind_is_enough():
    test = make_split(("calm", "happy"), text=(torch.eye(4), torch.tensor([0, 0, 1, 1])))
    report = evaluate(test, Identity(), device=CPU)
    assert list(report.directions) == ["text_text"]
    assert report.directions["text_text"].n_candidates == 3


def test_one_item_has_nothing_to_find_in_its_own_modality():
    test = make_split(
        ("calm",), image=(torch.eye(2)[:1], torch.tensor([0])), audio=(torch.eye(2), torch.tensor([0, 0]))
    )
    found = evaluate(test, Identity(), device=CPU).directions["image_image"]
    assert (found.n_candidates, found.n_without_relevant) == (0, 1)
    assert set(found.metrics.values()) == {0.0}


def test_the_average_over_segments_is_that_of_the_heads():
    reports = [
        evaluate(random_split(), Identity(), average=average, device=CPU) for average in ("embeddings", "features")
    ]
    assert [report.average for report in reports] == ["embeddings", "features"]
    assert reports[0].directions != reports[1].directions


def test_says_what_the_numbers_depend_on():
    test = random_split()
    report = evaluate(test, Identity(), ks=(2,), device=CPU)
    assert report.metrics == ("P@2", "MRR", "mAP", "R-precision")
    assert report.provenance["features"]["audio"] == test.features["audio"].spec.to_dict()
    assert report.provenance["relevance"] == "same class"
    assert report.provenance["candidates"] == "all"


def test_computes_what_is_asked_alone():
    whole = evaluate(random_split(), Identity(), device=CPU)
    report = evaluate(random_split(), Identity(), ks=(5,), measures=("MRR",), device=CPU)
    assert report.metrics == ("P@5", "MRR")
    for name, direction in report.directions.items():
        assert direction.metrics.items() <= whole.directions[name].metrics.items()
        assert direction.confusion == {}
    assert evaluate(random_split(), Identity(), ks=(), measures=("mAP",), device=CPU).metrics == ("mAP",)


def test_tells_the_class_that_is_found_first():
    # The two calm images find calm and happy music; happy images find one that is tied among three.
    test = make_split(
        ("calm", "happy", "sad"),
        image=(torch.eye(4)[[0, 1, 2]], torch.tensor([0, 0, 1])),
        audio=(torch.eye(4)[[0, 1, 2, 2, 2, 3]], torch.tensor([0, 1, 2, 2, 1, 0])),
    )
    found = evaluate(test, Identity(), device=CPU).directions["image_audio"].confusion
    assert found == {
        "calm": {"calm": 0.5, "happy": 0.5, "sad": 0.0},
        "happy": {"calm": 0.0, "happy": pytest.approx(1 / 3), "sad": pytest.approx(2 / 3)},
    }


def test_tells_of_each_query_what_it_is_and_what_it_ranks():
    test = random_split()
    found = evaluate(test, Identity(), device=CPU).directions["audio_audio"]
    labels = test.labels["audio"]
    assert found.scores.ids == test.features["audio"].ids
    assert found.scores.classes == tuple(test.classes[label] for label in labels)
    assert found.scores.n_relevant.tolist() == [int((labels == label).sum()) - 1 for label in labels]
    assert found.scores.n_candidates.tolist() == [20] * 21


def test_ranks_within_groups_as_if_there_were_no_others():
    test = random_split()
    generator = torch.Generator().manual_seed(6)
    groups = {
        modality: torch.randint(3, (len(test.labels[modality]),), generator=generator) for modality in test.labels
    }
    groups["image"][0] = 7  # nobody else is in that group
    report = evaluate(test, Identity(), groups=groups, device=CPU)
    assert report.provenance["candidates"] == "own group"
    for name, direction in report.directions.items():
        query, candidate = name.split("_")
        for group in range(3):
            rows = {modality: (numbers == group).nonzero()[:, 0] for modality, numbers in groups.items()}
            features = {modality: part.select(rows[modality]) for modality, part in test.features.items()}
            labels = {modality: part[rows[modality]] for modality, part in test.labels.items()}
            alone = evaluate(Split(features, labels, test.classes), Identity(), device=CPU).directions[name]
            for metric, values in alone.scores.metrics.items():
                assert torch.equal(direction.scores.metrics[metric][rows[query]], values)
            assert torch.equal(direction.scores.n_relevant[rows[query]], alone.scores.n_relevant)
            assert set(direction.scores.n_candidates[rows[query]].tolist()) == {
                len(rows[candidate]) - (query == candidate)
            }
        if query == "image":
            assert int(direction.scores.n_candidates[0]) == 0
            assert {float(values[0]) for values in direction.scores.metrics.values()} == {0.0}


def test_partners_within_pieces_have_the_known_expectation_of_chance():
    """Nine pieces of 45 performances, of which each description has one: Chowdhury and Widmer's folds."""
    pieces = torch.tensor([n for n, size in enumerate((7, 6, 5, 5, 5, 5, 4, 4, 4)) for _ in range(size)])
    draw = torch.Generator().manual_seed(3)
    sides = {modality: (torch.randn(45, 6, generator=draw), torch.arange(45)) for modality in ("text", "audio")}
    split, groups = make_split(tuple(map(str, range(45))), **sides), dict.fromkeys(sides, pieces)
    options = {"ks": (), "hits": (1, 2), "measures": ("MRR",), "groups": groups, "device": CPU}
    report = evaluate(split, Identity(), pairs=[("text", "audio")], **options)
    found = report.directions["text_audio"]
    exact = {
        "hit@1": 9 / 45,
        "hit@2": 18 / 45,
        "MRR": sum(1 / k for n in (7, 6, 5, 5, 5, 5, 4, 4, 4) for k in range(1, n + 1)) / 45,
    }
    assert found.random_micro == pytest.approx(exact, abs=1e-12)
    assert {name: round(value, 4) for name, value in found.random_micro.items()} == {
        "hit@1": 0.2,
        "hit@2": 0.4,
        "MRR": 0.4539,
    }
    tied = replace(
        split, features={name: replace(one, values=torch.ones(45, 6)) for name, one in split.features.items()}
    )
    alike = evaluate(tied, Identity(), pairs=[("text", "audio")], **options).directions["text_audio"]
    assert alike.micro == pytest.approx(exact, abs=1e-12)
    ends = report.with_intervals(groups).directions["text_audio"].intervals
    assert ends.micro == ends.macro
    assert not ends.classes
    assert ends.micro["MRR"].value == found.micro["MRR"]
    assert ends.micro["MRR"].low < found.micro["MRR"] < ends.micro["MRR"].high


def test_kin_are_no_candidates_of_each_other_within_their_modality():
    test = random_split()
    generator = torch.Generator().manual_seed(8)
    kin = {modality: torch.randint(6, (len(labels),), generator=generator) for modality, labels in test.labels.items()}
    report, plain = (evaluate(test, Identity(), exclude_groups=numbers, device=CPU) for numbers in (kin, None))
    assert (report.provenance["excluded"], plain.provenance["excluded"]) == ("own group", "itself")
    for name in ("image_audio", "audio_image"):
        assert report.to_dict()["directions"][name] == plain.to_dict()["directions"][name]
    for modality in ("image", "audio"):
        direction = report.directions[f"{modality}_{modality}"]
        values, labels = test.features[modality].values.double(), test.labels[modality]
        scores = normalize(values, dim=1) @ normalize(values, dim=1).T
        for query in range(len(labels)):
            others = kin[modality] != kin[modality][query]
            relevant = (labels == labels[query])[others][None]
            row = scores[query, others][None]
            expected = {
                "P@1": precision_at_k(row, relevant, 1),
                "P@10": precision_at_k(row, relevant, 10),
                "MRR": reciprocal_rank(row, relevant),
                "mAP": average_precision(row, relevant),
            }
            for metric, value in expected.items():
                assert float(direction.scores.metrics[metric][query]) == pytest.approx(float(value), abs=1e-12), metric
            assert int(direction.scores.n_candidates[query]) == int(others.sum())
            assert int(direction.scores.n_relevant[query]) == int(relevant.sum())


def test_all_of_one_kin_have_nothing_to_find():
    test = random_split()
    one = {modality: torch.zeros(len(labels), dtype=torch.int64) for modality, labels in test.labels.items()}
    direction = evaluate(test, Identity(), exclude_groups=one, device=CPU).directions["audio_audio"]
    assert direction.n_candidates == 0
    assert set(direction.metrics.values()) == {0.0}


def test_refuses_groups_that_do_not_fit():
    with pytest.raises(ConfigError, match="the audio groups do not fit; give each of the 21 items one number"):
        evaluate(random_split(), Identity(), groups={"image": torch.zeros(30), "audio": torch.zeros(2)}, device=CPU)
    with pytest.raises(ConfigError, match="the image groups do not fit"):
        evaluate(random_split(), Identity(), groups={}, device=CPU)


def test_refuses_a_precision_at_zero():
    with pytest.raises(ConfigError, match="precision at 0"):
        evaluate(random_split(), Identity(), ks=(1, 0), device=CPU)


def test_refuses_an_unknown_measure():
    with pytest.raises(ConfigError, match="no measure 'NDCG'; take some of MRR, mAP, R-precision"):
        evaluate(random_split(), Identity(), measures=("MRR", "NDCG"), device=CPU)


def test_refuses_relevance_of_another_shape():
    with pytest.raises(ConfigError, match=r"\(2, 5\).*5 classes"):
        evaluate(random_split(), Identity(), relevance=torch.ones(2, 5, dtype=torch.bool), device=CPU)


def test_refuses_a_modality_without_items():
    test = make_split(("calm",), image=(torch.eye(2), torch.zeros(2)), audio=(torch.zeros(0, 2), torch.zeros(0)))
    with pytest.raises(ManifestError, match="no audio to evaluate"):
        evaluate(test, Identity(), device=CPU)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, -1], [0, 2]])
def test_refuses_labels_that_do_not_fit(labels):
    test = make_split(("calm", "happy"), image=(torch.eye(2), torch.tensor(labels)))
    with pytest.raises(ManifestError, match=r"image labels .* 2 items a number from 0 to 1"):
        evaluate(test, Identity(), device=CPU)


def test_refuses_embeddings_that_are_not_finite():
    test = make_split(("calm",), audio=(torch.tensor([[1.0, 0.0], [float("nan"), 1.0]]), torch.zeros(2)))
    with pytest.raises(RunError, match="audio head gives embeddings that are not finite"):
        evaluate(test, Identity(), device=CPU)


def trained(test: Split, n_heads: int) -> Heads:
    generator = torch.Generator().manual_seed(5)
    specs = {modality: part.spec for modality, part in test.features.items()}
    banks = {
        modality: HeadBank(n_heads, spec.dim, 32, 16, dropout=0.5, generator=generator)
        for modality, spec in specs.items()
    }
    return Heads(Banks(banks), specs)


def test_embeds_by_the_heads():
    test = random_split()
    heads = trained(test, n_heads=1)
    embedded = {
        modality: (heads.vectors(part)[0][0], test.labels[modality]) for modality, part in test.features.items()
    }
    by_hand = evaluate(make_split(test.classes, **embedded), Identity(), device=CPU)
    assert evaluate(test, heads, device=CPU).directions == by_hand.directions


def test_a_head_of_a_sweep_is_selected_first():
    heads = trained(random_split(), n_heads=3)
    with pytest.raises(ConfigError, match="one head, but there are 3"):
        evaluate(random_split(), heads, device=CPU)
    assert evaluate(random_split(), heads.select(2), device=CPU) == evaluate(
        random_split(), trained(random_split(), n_heads=1), device=CPU
    )


def test_refuses_features_of_another_kind():
    test = random_split()
    other = replace(
        test.features["audio"], spec=replace(test.features["audio"].spec, checkpoint="other.pt@0123456789ab")
    )
    with pytest.raises(CacheMismatch, match="checkpoint: none here, other.pt"):
        evaluate(replace(test, features={**test.features, "audio": other}), trained(test, n_heads=1), device=CPU)


class Far(Objective):
    """Compares by distances, not cosines."""

    def vectors(self, modality, outputs):
        return super().vectors(modality, outputs)[0], "l2"


@pytest.mark.parametrize("objective", [Objective(), Far()], ids=["cosines", "distances"])
def test_outputs_that_are_made_again_give_what_kept_ones_do(objective, monkeypatch):
    test = random_split(400, 300)
    heads = replace(trained(test, n_heads=3), objective=objective)
    how = {"ks": (1, 5), "measures": ("MRR",), "device": CPU}
    kept = list(evaluate_each(test, heads, **how))
    made, outputs_of = [], Heads.outputs
    monkeypatch.setattr(Heads, "outputs", lambda own, part, **o: made.append(len(part)) or outputs_of(own, part, **o))
    monkeypatch.setattr(evaluating, "KEPT_SHARE", 1 << 40)
    for module, name in ((blockwise, "ROWS"), (blockwise, "PLACED_ROWS"), (head_vectors, "ROWS")):
        monkeypatch.setattr(module, name, 256)
    monkeypatch.setattr(blockwise, "ROUNDED_FROM", 1)
    again = list(evaluate_each(test, heads, **how))
    assert again == kept
    assert max(made) == 256  # never all of them
    for one, other in zip(again, kept, strict=True):
        for name, direction in other.directions.items():
            for metric, values in direction.scores.metrics.items():
                assert torch.equal(one.directions[name].scores.metrics[metric], values)
