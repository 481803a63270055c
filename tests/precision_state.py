"""What torch may lower of the arithmetic, and that a frozen encoder lets it lower nothing."""

import warnings

import torch

from emoclim.data import FeatureSpec
from emoclim.encoders import frozen


def attempt(name: str) -> object:
    try:
        return eval(name)
    except RuntimeError:
        return "mixed"


def state() -> list[object]:
    names = ("backends.cuda.matmul", "backends.cudnn.conv", "backends.cudnn.rnn", "backends.mkldnn.matmul")
    old = ("get_float32_matmul_precision()", "backends.cuda.matmul.allow_tf32", "backends.cudnn.allow_tf32")
    told = [attempt(f"torch.{name}") for name in old]
    return [*told, *(attempt(f"torch.{name}.fp32_precision") for name in names), torch.backends.cudnn.deterministic]


def check_state(setting: str) -> None:
    warnings.simplefilter("ignore")
    exec(setting)
    before = state()
    with frozen(FeatureSpec("any", "audio", 1, "none", {}), torch.device("cpu")):
        assert [value for value in state() if value in ("tf32", "bf16")] == [], state()
        assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.is_autocast_enabled("cpu")
    assert state() == before, (before, state())
