"""The check of encoders by known inputs."""

import json
from pathlib import Path

import pytest
import torch
from commands import answer, run
from encoder_cases import with_clap_front_end
from pseudo_weights import pseudo_random
from torch import nn

from emoclim.encoders import clap, efficientnet_lite0, find_encoder, load_encoder, location
from emoclim.errors import EncoderError
from emoclim.pipeline import check_encoder
from emoclim.pipeline.health import check
from emoclim.pipeline.health.known_inputs import write_inputs


@pytest.mark.parametrize("name", ["colour", "timbre", "efficientnet_lite0", "musicnn_msd", "musicnn_mtt", "minilm"])
def test_features_are_those_on_record(name: str) -> None:
    found = find_encoder(name)
    if hasattr(found, "published") and not location(found.published()).is_file():
        pytest.skip(f"the checkpoint of {name} is not on this machine")
    health = check_encoder(name, device="cpu")
    known = [one.difference for one in health.inputs if one.difference is not None]
    assert len(known) == 3 + (found.MODALITY != "image")  # photos have no record: their decoders differ
    assert max(known) < 1e-3
    assert health.faults == ()
    assert health.least_cosine < 0.3
    assert health.seconds_per_segment > 0


def test_videos_made_of_the_pictures_are_told_apart() -> None:
    pytest.importorskip("av", reason="videos need the extra [media]")
    health = check_encoder("colour_video", device="cpu")
    assert [(one.name, one.segments, one.difference) for one in health.inputs[:3]] == [
        (name, 2, None) for name in ("disc", "stripes", "noise")
    ]
    assert health.faults == ()


def test_other_settings_are_not_on_record() -> None:
    health = check_encoder("colour", settings={"size": 128}, device="cpu")
    assert {one.difference for one in health.inputs} == {None}
    assert health.faults == ()


def test_other_numbers_are_told_with_an_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads(check.RECORD.read_text())
    record[load_encoder("colour").spec.digest()]["disc"][0] += 1
    (tmp_path / "record.json").write_text(json.dumps(record))
    monkeypatch.setattr(check, "RECORD", tmp_path / "record.json")
    shown = run("encoders", "colour", "--check", code=3).stdout
    assert "WRONG NUMBERS: the features of disc are not" in shown


def test_a_network_that_tells_nothing_apart_is_told(tmp_path: Path) -> None:
    net = efficientnet_lite0.untrained()
    nn.init.zeros_(net.network.bn2.weight)
    nn.init.ones_(net.network.bn2.bias)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    told = answer("encoders", "efficientnet_lite0", "--check", "--checkpoint", tmp_path / "net.pth", code=3)
    assert told["least_cosine"] == pytest.approx(1)
    assert [fault.split(":")[0] for fault in told["faults"]] == ["COLLAPSED"]


def test_a_collapsed_audio_tower_of_clap_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of laion/larger_clap_music: a constant, beside which nothing else matters; without it, it is sound."""
    monkeypatch.setattr(check, "_seconds", lambda *_: 0.1)  # 16 segments of 10 s
    state = with_clap_front_end(pseudo_random(clap.untrained().state_dict()))
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "flat.pt")
    told = answer("encoders", "clap", "--check", "--checkpoint", tmp_path / "flat.pt", "--device", "cpu", code=3)
    assert [fault.split(":")[0] for fault in told["faults"]] == ["COLLAPSED"]
    encoder, found = load_encoder("clap", checkpoint=tmp_path / "flat.pt"), []
    encoder.module.audio_projection.register_forward_hook(lambda _, __, output: found.append(output))
    with torch.inference_mode():
        encoder.module(torch.cat([next(iter(encoder.prepare(item))) for item in write_inputs("audio", tmp_path)]))
    state["audio_projection.2.bias"] -= found[0].mean(dim=0)
    torch.save(state, tmp_path / "sound.pt")
    sound = answer("encoders", "clap", "--check", "--checkpoint", tmp_path / "sound.pt", "--device", "cpu")
    assert (sound["faults"], sound["encoder"]) == ([], "clap")
    assert sound["least_cosine"] < 0


def test_features_that_are_no_numbers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_encode", lambda *_: (torch.tensor([[1.0], [float("nan")]] * 2), 0))
    with pytest.raises(EncoderError, match="known inputs chord, sweep"):
        check_encoder("timbre", device="cpu")


def test_denormal_numbers_within_a_network_are_counted() -> None:
    small = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU())
    nn.init.constant_(small[0].weight, 1e-20)
    with torch.inference_mode():
        features, denormals = check._encode(small, [torch.full((2, 2), 1e-20)], torch.device("cpu"))
    assert features.shape == (1, 3)
    assert denormals == 2 * 2 * 3  # after each of the layers


def test_a_check_is_of_one_encoder_that_is_named() -> None:
    assert "name it" in run("encoders", "--check", code=2).stderr
    assert "are for --check" in run("encoders", "timbre", "--setting", "overlap=0.1", code=2).stderr
