"""Tagging heads and the stage that trains and evaluates them."""

from dataclasses import replace

import pytest
import torch
from tagged import CPU, DIM, QUICK, SEGMENTS, SPEC, TAGS, features, split
from torch import Tensor

from emoclim.data.features import Features, FeatureSpec
from emoclim.errors import CacheError, CacheMismatch, ConfigError, ManifestError
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.learning.settings import TagConfig, TagProtocol
from emoclim.metrics.tagging import tag_metrics
from emoclim.reports.tagging import TaggingReport
from emoclim.seeding import generator_for
from emoclim.stages import tag_heads
from emoclim.stages.tag_heads import TagHead, _dropped, tag_probabilities, train_tag_head
from emoclim.stages.tagging import embedded, tag, without_overlap

TRAIN, VAL, TEST = split(80, 0), split(30, 1), split(60, 2)


def run(**options: object) -> TaggingReport:
    return tag(TRAIN, VAL, TEST, TAGS, **{"config": QUICK, "n_resamples": 50, "device": CPU} | options)


def trained(n_heads: int, seed: int = 5) -> Heads:
    bank = HeadBank(n_heads, DIM, 16, 16, dropout=0.5, generator=torch.Generator().manual_seed(seed))
    return Heads(Banks({"audio": bank}), {"audio": SPEC})


def test_the_head_is_that_of_the_paper():
    head = TagHead(8, 6, 3, torch.Generator().manual_seed(0))
    assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head(torch.randn(5, 8)).shape == (5, 3)
    assert head[0].weight.abs().max() <= 8**-0.5 < 1.2 * head[0].weight.abs().max()


def test_a_head_is_made_without_the_global_generator():
    before = torch.get_rng_state()
    heads = [TagHead(8, 6, 3, torch.Generator().manual_seed(0)) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(heads[0][3].bias, heads[1][3].bias)


def test_a_head_with_dropout_in_place_of_normalisation_learns_and_repeats_to_the_bit():
    config = QUICK.updated(dropout=0.3, batchnorm=False, hidden_dim=16, epochs=30)
    before = torch.get_rng_state()
    found, again, without = run(config=config), run(config=config), run(config=config.updated(dropout=0.0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found.probabilities, again.probabilities)
    assert not torch.equal(found.probabilities, without.probabilities)
    assert found.macro.roc_auc.mean > 0.85
    head, _ = train_tag_head(TRAIN, torch.arange(80), VAL, seed=0, protocol=TagProtocol(), config=config)
    assert [type(layer).__name__ for layer in head] == ["Linear", "ReLU", "Linear"]


def test_dropping_zeroes_a_share_and_keeps_the_mean():
    dropped = _dropped(torch.ones(1000, 100), 0.3, torch.Generator().manual_seed(0))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)


def test_the_rate_falls_where_validation_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []

    class Watched(tag_heads.ReduceLROnPlateau):
        def step(self, *given: object, **named: object) -> None:
            rates.append(self.optimizer.param_groups[0]["lr"])
            super().step(*given, **named)

    monkeypatch.setattr(tag_heads, "ReduceLROnPlateau", Watched)
    wrong = replace(VAL, relevant=~VAL.relevant)  # what is learnt makes validation worse from the first epoch on
    config = QUICK.updated(epochs=6, patience=6, plateau=1)
    train_tag_head(TRAIN, torch.arange(80), wrong, seed=0, protocol=TagProtocol(), config=config)
    assert rates == pytest.approx([0.02, 0.02, 0.02, 0.002, 0.002, 0.0002])


def test_finds_tags_that_can_be_found_and_its_control_does_not():
    found, control = run(), run(shuffle=True, seeds=range(8), config=QUICK.updated(epochs=2))
    assert found.macro.roc_auc.mean > 0.85
    assert found.macro.roc_auc.low > 0.8
    assert found.macro.average_precision.mean > 0.75
    assert control.macro.roc_auc.mean == pytest.approx(0.5, abs=0.12)
    assert control.provenance["shuffled_tags"]
    assert not found.provenance["shuffled_tags"]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first, again, other = run(), run(), run(seeds=(43,))
    assert torch.equal(first.probabilities, again.probabilities)
    assert first == again
    assert not torch.equal(first.probabilities, other.probabilities)


def test_a_seed_is_the_same_alone_and_among_others():
    several = run(seeds=(7, 42), fractions=(0.5, 1.0))
    assert torch.equal(several.probabilities[1], run().probabilities[0])
    assert several.macro.roc_auc.deviation > 0
    assert run().macro.roc_auc.deviation is None


def test_smaller_training_sets_are_nested_and_count_their_tags():
    report = run(fractions=(1.0, 0.1, 0.025), seeds=(1, 2))
    assert [(one.fraction, one.n_train) for one in report.curve] == [(0.025, 2), (0.1, 8), (1.0, 80)]
    assert report.curve[-1].n_unseen_tags == (0, 0)
    assert max(report.curve[0].n_unseen_tags) > 0
    orders = [torch.randperm(80, generator=generator_for("tagging share", seed)) for seed in (1, 2)]
    unseen = [int((~TRAIN.relevant[order[:2]].any(0)).sum()) for order in orders]
    assert list(report.curve[0].n_unseen_tags) == unseen
    assert report.curve[0].macro.roc_auc.mean < report.macro.roc_auc.mean


def test_the_best_epoch_is_kept_and_patience_ends_the_training():
    def train(epochs: int) -> tuple[Tensor, int]:
        config = QUICK.updated(epochs=epochs)
        head, best = train_tag_head(TRAIN, torch.arange(80), VAL, seed=0, protocol=TagProtocol(), config=config)
        return tag_probabilities(head, TEST.inputs, "probabilities"), best

    expected, best = train(1000)
    assert best < 100
    for epochs in (best + 1, best + 2, 1001):
        found, epoch = train(epochs)
        assert epoch == best
        assert torch.equal(found, expected)
    assert train(best)[1] < best


def test_segments_are_averaged_after_the_head_or_before():
    head = TagHead(DIM, DIM, 3, torch.Generator().manual_seed(0)).eval()
    inputs = TEST.inputs
    after, before = (tag_probabilities(head, inputs, aggregate) for aggregate in ("probabilities", "embeddings"))
    with torch.no_grad():
        expected = head(inputs.segments[:SEGMENTS]).sigmoid().mean(0)
        torch.testing.assert_close(after[0], expected)
        torch.testing.assert_close(before, head(inputs.values).sigmoid())
    assert torch.equal(after[-1], before[-1])  # it has no segments
    assert not torch.allclose(after[0], before[0])


def test_many_rows_are_tagged_in_blocks(monkeypatch):
    head = TagHead(DIM, DIM, 3, torch.Generator().manual_seed(0)).eval()
    whole = tag_probabilities(head, TEST.inputs, "probabilities")
    monkeypatch.setattr("emoclim.stages.tag_heads.ROWS_PER_BLOCK", 7)
    torch.testing.assert_close(tag_probabilities(head, TEST.inputs, "probabilities"), whole)


@pytest.mark.parametrize(("aggregate", "alike"), [("probabilities", False), ("embeddings", True)])
def test_training_draws_segments_or_takes_their_mean(aggregate, alike):
    bare = replace(TRAIN, inputs=replace(TRAIN.inputs, segments=None, offsets=None, starts=None))
    protocol = TagProtocol(aggregate=aggregate)
    heads = [
        train_tag_head(part, torch.arange(80), VAL, seed=0, protocol=protocol, config=QUICK)[0]
        for part in (TRAIN, bare)
    ]
    assert torch.equal(heads[0][0].weight, heads[1][0].weight) == alike


def test_the_epoch_of_the_best_precision_is_kept_while_the_loss_ends_the_training():
    config, rows = QUICK.updated(epochs=7, patience=7, learning_rate=0.1), torch.arange(80)
    noisy = replace(VAL, relevant=VAL.relevant[torch.randperm(30, generator=torch.Generator().manual_seed(3))])
    precision, epochs = {}, {}
    for by in ("loss", "PR-AUC"):
        protocol = TagProtocol(keep_by=by)
        head, epochs[by] = train_tag_head(TRAIN, rows, noisy, seed=0, protocol=protocol, config=config)
        found = tag_probabilities(head, VAL.inputs, "probabilities")
        precision[by] = float(tag_metrics(found, noisy.relevant).average_precision.mean())
    assert epochs["PR-AUC"] != epochs["loss"]
    assert precision["PR-AUC"] > precision["loss"]
    shorter = config.updated(patience=1)
    _, epoch = train_tag_head(TRAIN, rows, noisy, seed=0, protocol=TagProtocol(keep_by="PR-AUC"), config=shorter)
    assert epoch <= epochs["loss"] + 1


@pytest.mark.parametrize(("overlap", "kept"), [(0.75, (0, 4)), (0.5, (0, 2, 4)), (0.6, (0, 3)), (0.0, (0, 1, 2, 3, 4))])
def test_windows_that_do_not_overlap_are_kept(overlap, kept):
    spec = replace(SPEC, settings={"overlap": overlap})
    segments = torch.arange(8.0)[:, None].expand(8, DIM)
    offsets, starts = torch.tensor([0, 5, 5, 8]), torch.tensor([0.0, 1, 2, 3, 4, 0, 1, 2])
    values = torch.stack([torch.full((DIM,), value) for value in (2.0, 9.0, 6.0)])
    found = without_overlap(Features(spec, ("a", "none", "b"), values, segments, offsets, starts))
    assert found.segments[: len(kept), 0].tolist() == [float(place) for place in kept]
    assert found.offsets[1] == found.offsets[2] == len(kept)
    assert found.starts[: len(kept)].tolist() == [float(place) for place in kept]
    assert found.values[:2, 0].tolist() == [pytest.approx(sum(kept) / len(kept)), 9.0]


def test_windows_that_do_not_say_how_far_they_overlap_are_refused():
    with pytest.raises(CacheError, match="do not say how far windows overlap"):
        run(protocol=TagProtocol(windows="apart"))


def test_one_item_left_over_is_no_batch():
    report = run(config=QUICK.updated(batch_size=79, epochs=2))
    assert report.macro.roc_auc is not None


def test_embeds_each_segment_and_averages_them():
    heads = trained(1)
    found = embedded(TEST.inputs, heads)
    assert found.spec == replace(SPEC, name="given embeddings", dim=16)
    torch.testing.assert_close(found.segments.norm(dim=1), torch.ones(len(found.segments)))
    torch.testing.assert_close(found.values[0], found.segments[:SEGMENTS].mean(0))
    assert torch.equal(found.values, heads.vectors(TEST.inputs)[0][0])
    bare = embedded(replace(TEST.inputs, segments=None, offsets=None, starts=None), heads)
    assert bare.segments is None
    assert torch.equal(bare.values, heads.vectors(TEST.inputs, average="features")[0][0])


def test_tags_embeddings_of_a_head():
    parts = [replace(part, inputs=embedded(part.inputs, trained(1))) for part in (TRAIN, VAL, TEST)]
    report = tag(*parts, TAGS, config=QUICK, n_resamples=10, device=CPU)
    assert report.provenance["input"]["dim"] == 16
    assert report.macro.roc_auc.mean > 0.7


def test_one_head_embeds():
    with pytest.raises(ConfigError, match="one head, but there are 2"):
        embedded(TEST.inputs, trained(2))


def test_groups_of_items_widen_the_interval():
    tracks = split(12, 7)
    rows = torch.arange(60) // 5  # five excerpts of each track, alike in all
    excerpts = replace(tracks, inputs=features(tracks.inputs.values[rows], noise=0.01), relevant=tracks.relevant[rows])
    tests = excerpts, replace(excerpts, groups=rows)
    alone, tied = (tag(TRAIN, VAL, test, TAGS, config=QUICK, n_resamples=300, device=CPU) for test in tests)
    assert (alone.provenance["resampled"], tied.provenance["resampled"]) == ("items", "groups")
    for one, other in ((alone.macro.roc_auc, tied.macro.roc_auc), (alone.per_tag[0].roc_auc, tied.per_tag[0].roc_auc)):
        assert one.mean == other.mean
        assert other.high - other.low > 1.4 * (one.high - one.low)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_refuses_shares_that_are_none(share):
    with pytest.raises(ConfigError, match=f"from a share of {share:g} of the items; give shares above 0, up to 1"):
        run(fractions=(1.0, share))


def test_refuses_to_train_nothing():
    for nothing in ({"seeds": ()}, {"fractions": ()}):
        with pytest.raises(ConfigError, match="there is nothing to train"):
            run(**nothing)


def test_refuses_splits_that_do_not_fit():
    one = replace(VAL, inputs=VAL.inputs.select(torch.tensor([0])), relevant=VAL.relevant[:1])
    with pytest.raises(ManifestError, match="the val split has 1 items"):
        tag(TRAIN, one, TEST, TAGS, device=CPU)
    with pytest.raises(ManifestError, match="each with a row of 2"):
        tag(TRAIN, VAL, TEST, TAGS[:2], device=CPU)
    other = replace(TEST, inputs=replace(TEST.inputs, spec=FeatureSpec("other", "audio", DIM, "none", {})))
    with pytest.raises(CacheMismatch, match="name: given here, other there"):
        tag(TRAIN, VAL, other, TAGS, device=CPU)
    broken = features(torch.full((30, DIM), torch.nan))
    with pytest.raises(CacheError, match="the val split has features that are not finite"):
        tag(TRAIN, replace(VAL, inputs=broken), TEST, TAGS, device=CPU)


def test_the_defaults_are_those_of_the_paper():
    config = TagConfig()
    assert (config.learning_rate, config.batch_size, config.hidden_dim) == (1e-3, 128, None)
