"""Settings of the pretraining of Avramidis et al. (VCMR), as the paper states them and as its published code has them.

K. Avramidis, S. Stewart and S. Narayanan, "On the role of visual context in enriching music representations", ICASSP
2023, sections 3 and 4.3; the effects on crops are those of CLMR, which it refers to. How many batches an epoch has, it
does not say: of its 145,000 clips, the code had 1,133 of the first stage and 566 of the second.
"""

from emoclim.config import closest
from emoclim.errors import ConfigError
from emoclim.recipes.base import Preset

CHAIN = {
    "polarity_probability": 0.8,
    "noise_probability": 0.01,
    "gain_probability": 0.3,
    "filter_probability": 0.8,
    "delay_probability": 0.3,
    "pitch_probability": 0.6,
    "reverb_probability": 0.6,
}
BOTH = {"epochs": 50, "hidden_dim": 512, "embedding_dim": 128, "dropout": 0.0, "val_batches": 10}
ADAM = {"optimiser": "adam", "learning_rate": 1e-3, "weight_decay": 1e-6}
ADAMW = {"optimiser": "adamw", "weight_decay": 0.01}
RATES = {"learning_rate": 1e-3, "weight_decay": 1e-6}
FIRST_BLOCKS = "after:4"  # of SampleCNN four are frozen beside another modality
# Of each two: by itself, then beside another modality. The code's batches are those of each of two GPUs, which compare
# their own rows only; two whose gradients are averaged are the same.
PRESETS = {
    "paper": (
        Preset("paper", BOTH | ADAM | {"batch_size": 64}, CHAIN, tuning=RATES),
        Preset(
            "paper",
            BOTH | ADAM | {"batch_size": 128},
            tuning=RATES | {"unfreeze": FIRST_BLOCKS, "batchnorm": "trained"},
        ),
    ),
    "paper-code": (
        Preset(
            "published code",
            BOTH | ADAMW | {"batch_size": 64, "learning_rate": 3e-4},
            CHAIN,
            tuning={"learning_rate": 3e-4, "accumulate": 2},
        ),
        Preset(
            "published code",
            BOTH | ADAMW | {"batch_size": 128, "learning_rate": 5e-4},
            tuning={"learning_rate": 5e-4, "accumulate": 2, "unfreeze": FIRST_BLOCKS, "batchnorm": "train"},
        ),
    ),
}


def pretraining_preset(name: str, *, beside: bool) -> Preset:
    """Return settings by name, of an encoder by itself or `beside` another modality."""
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}{closest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return PRESETS[name][beside]
