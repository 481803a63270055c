"""Every promise of an encoder, once; a test class derives from it and says which encoder, and what it is fed."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emoclim.data.manifest import Item
from emoclim.data.media.checks import Remark
from emoclim.encoders import feature_names, find_encoder
from emoclim.encoders.base import Encoder
from emoclim.errors import DecodeError
from emoclim.modality import MODALITIES

BATCH = 7
TOLERANCE = 1e-5


class EncoderContract:
    """What a derived class tests follows from four fixtures of its file.

    ``encoder`` is under test; ``again`` is the same made anew; ``changed`` are the same with another value of one
    setting, one for each setting; ``items`` are of its modality: if sound or text, one much longer than a segment, one
    shorter.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def batch(cls, encoder: Encoder, items: Sequence[Item]) -> Tensor:
        """``(BATCH, *input_shape)``."""
        generator = torch.Generator().manual_seed(0)
        if encoder.spec.modality == "text":  # few passages, of which two may be drawn that are one
            return torch.cat(prepare(encoder, items[0])[0])[:BATCH]
        return torch.stack([encoder.crop(items[0], generator) for _ in range(BATCH)])

    @pytest.fixture(scope="class")
    @classmethod
    def features(cls, encoder: Encoder, batch: Tensor) -> Tensor:
        """``(BATCH, D)``."""
        with torch.inference_mode():  # as in extraction; the first use builds the network
            return encoder.module(batch)

    def test_features_are_finite_rows_of_the_promised_width(self, encoder: Encoder, features: Tensor) -> None:
        assert features.shape == (BATCH, encoder.spec.dim)
        assert features.dtype == torch.float32
        assert features.isfinite().all()

    def test_values_have_a_name_each_or_none(self, encoder: Encoder) -> None:
        names = feature_names(encoder.spec)
        assert len(names) in (0, encoder.spec.dim)
        assert not hasattr(find_encoder(encoder.spec.name), "names") or len(set(names)) == encoder.spec.dim
        assert all(names)

    def test_different_inputs_have_different_features(self, features: Tensor) -> None:
        assert len(features.unique(dim=0)) == BATCH

    def test_the_network_is_built_once_and_in_eval_mode(self, encoder: Encoder) -> None:
        assert encoder.module is encoder.module
        assert not any(part.training for part in encoder.module.modules())

    def test_a_feature_does_not_depend_on_its_batch(self, encoder: Encoder, batch: Tensor, features: Tensor) -> None:
        with torch.inference_mode():
            alone = encoder.module(batch[-1:])
        torch.testing.assert_close(alone, features[-1:], atol=TOLERANCE, rtol=TOLERANCE)

    def test_the_network_can_be_trained_through(self, encoder: Encoder, batch: Tensor) -> None:
        parameters = [parameter for parameter in encoder.module.parameters() if parameter.requires_grad]
        rounds = "quantise" in encoder.spec.settings  # whoever rounds the input has no gradient there
        rounds |= not batch.is_floating_point()  # nor has whoever takes numbers of words
        inputs = batch[:1].clone().requires_grad_(not rounds)
        wanted = [*([] if rounds else [inputs]), *parameters]
        direction = torch.linspace(-1, 1, encoder.spec.dim)  # a plain sum is constant after some normalisations
        loss = (encoder.module(inputs) * direction).sum()
        if not wanted:
            return
        gradients = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert rounds or gradients[0].any()
        assert not parameters or any(gradient.any() for gradient in gradients[-len(parameters) :])

    def test_an_item_is_prepared_in_blocks(self, encoder: Encoder, items: Sequence[Item]) -> None:
        for item in items:
            blocks, seconds = prepare(encoder, item)
            assert blocks
            for block in blocks:
                assert len(block) > 0
                assert block.shape[1:] == encoder.input_shape
                assert block.dtype in (torch.float32, torch.uint8, torch.int64)
                assert block.isfinite().all()
            count = sum(len(block) for block in blocks)
            spanned = (count - 1) * encoder.hop_seconds + encoder.segment_seconds
            assert seconds >= 0
            assert count == 1 or not encoder.segment_seconds or spanned <= seconds < spanned + encoder.hop_seconds

    def test_preparing_is_repeatable_and_draws_nothing(
        self, encoder: Encoder, again: Encoder, items: Sequence[Item]
    ) -> None:
        state = random_state()
        for item in items:
            first, second = prepare(encoder, item), prepare(again, item)
            assert first[1] == second[1]
            assert torch.equal(torch.cat(first[0]), torch.cat(second[0]))
        assert random_state() == state

    def test_a_crop_follows_from_the_generator_alone(
        self, encoder: Encoder, again: Encoder, items: Sequence[Item]
    ) -> None:
        state = random_state()
        for item in items:
            first = encoder.crop(item, torch.Generator().manual_seed(3))
            assert first.shape == encoder.input_shape
            assert first.dtype == (torch.int64 if encoder.spec.modality == "text" else torch.float32)
            assert torch.equal(first, again.crop(item, torch.Generator().manual_seed(3)))
        assert random_state() == state

    def test_rows_of_zeros_beside_others_do_no_harm(self, encoder: Encoder, batch: Tensor, features: Tensor) -> None:
        with torch.inference_mode():
            found = encoder.module(torch.cat([batch[:1], torch.zeros_like(batch[:1])]))
        torch.testing.assert_close(found[:1], features[:1], atol=TOLERANCE, rtol=TOLERANCE)

    def test_crops_vary(self, batch: Tensor) -> None:
        assert len(batch.flatten(1).unique(dim=0)) > 1

    def test_an_absent_file_is_a_decode_error(self, encoder: Encoder, items: Sequence[Item], tmp_path: Path) -> None:
        absent = replace(items[0], path=tmp_path / "absent")
        with pytest.raises(DecodeError, match="."):
            list(encoder.prepare(absent))
        with pytest.raises(DecodeError, match="."):
            encoder.crop(absent, torch.Generator())

    def test_segments_have_a_length_and_a_step_if_they_are_sound(self, encoder: Encoder) -> None:
        if not MODALITIES[encoder.spec.modality].timed:
            assert encoder.hop_seconds == encoder.segment_seconds == 0
        else:
            assert 0 < encoder.hop_seconds <= encoder.segment_seconds

    def test_the_spec_names_a_checkpoint_exactly_if_there_are_parameters(self, encoder: Encoder) -> None:
        assert (encoder.spec.checkpoint == "none") == (not list(encoder.module.parameters()))

    def test_equal_settings_have_equal_digests_and_others_do_not(
        self, encoder: Encoder, again: Encoder, changed: Sequence[Encoder]
    ) -> None:
        assert again.spec == encoder.spec
        digests = {made.spec.digest() for made in (encoder, again, *changed)}
        assert len(digests) == 1 + len(changed)


def prepare(encoder: Encoder, item: Item) -> tuple[list[Tensor], float]:
    """All blocks of an item, and its length in seconds."""
    blocks = []
    running = encoder.prepare(item)
    while True:
        try:
            block = next(running)
            if not isinstance(block, Remark):
                blocks.append(block)
        except StopIteration as end:
            return blocks, end.value


def random_state() -> tuple[object, ...]:
    """The global states of randomness that nobody may touch."""
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002
