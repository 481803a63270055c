"""Audio tower of LAION CLAP: a 10 s waveform to a vector in the space shared with text.

The log-mel front end and the order of the steps are written from the papers and from the key list of the published
files; the HTS-AT body is passed in. Parameters carry the files' own names (``audio_branch.*``, ``audio_projection.*``).

References
----------
Wu et al., "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption augmentation",
ICASSP 2023. Chen et al., "HTS-AT: a hierarchical token-semantic audio transformer for sound classification and
detection", ICASSP 2022.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

N_FFT, HOP_LENGTH = 1024, 480  # samples at 48 kHz
N_MELS = 64
POWER_FLOOR = 1e-10
INT16_PEAK = 32767.0
DIM = 512


class Spectrogram(nn.Module):
    """Power spectrogram with centred, reflected frames.

    The published files store the transform as two banks of windowed cosines and sines. An FFT with their window gives
    the same numbers eight times as fast, and keeps float32 on GPUs whose convolutions round to TF32.
    """

    def __init__(self) -> None:
        super().__init__()
        kernels = {name: nn.Conv1d(1, N_FFT // 2 + 1, N_FFT, bias=False) for name in ("conv_real", "conv_imag")}
        self.stft = nn.ModuleDict(kernels).requires_grad_(False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms ``(B, samples)`` to power ``(B, frames, N_FFT / 2 + 1)``."""
        window = self.stft.get_parameter("conv_real.weight")[0, 0]  # cosine of frequency 0 is 1: the bare window
        spectrum = torch.stft(waveforms, N_FFT, HOP_LENGTH, window=window, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).mT


class LogMel(nn.Module):
    """Power spectrogram to mel bands in dB, with the stored filter bank."""

    def __init__(self) -> None:
        super().__init__()
        self.melW = nn.Parameter(torch.zeros(N_FFT // 2 + 1, N_MELS), requires_grad=False)

    def forward(self, power: Tensor) -> Tensor:
        """Power ``(B, frames, N_FFT / 2 + 1)`` to dB ``(B, frames, N_MELS)``, not below -100 dB."""
        return 10.0 * (power @ self.melW).clamp(min=POWER_FLOOR).log10()


def quantise(waveforms: Tensor) -> Tensor:
    """Clip to [-1, 1] and round towards zero to 16 bits, as the published encoder was fed; any shape, same shape."""
    return waveforms.clamp(-1.0, 1.0).mul(INT16_PEAK).to(torch.int16).to(waveforms.dtype).div(INT16_PEAK)


class ClapAudio(nn.Module):
    """Waveforms to unit vectors."""

    audio_branch: Any

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.audio_branch = body
        self.audio_branch.spectrogram_extractor = Spectrogram()
        self.audio_branch.logmel_extractor = LogMel()
        self.audio_projection = nn.Sequential(nn.Linear(width, DIM), nn.ReLU(), nn.Linear(DIM, DIM))

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Waveforms ``(B, samples)`` to dB ``(B, frames, N_MELS)``."""
        with torch.autocast(waveforms.device.type, enabled=False):  # powers span more than half precision holds
            mel: Tensor = self.audio_branch.logmel_extractor(self.audio_branch.spectrogram_extractor(waveforms))
        return mel

    def pool(self, log_mel: Tensor) -> Tensor:
        """Log-mel spectrograms ``(B, frames, N_MELS)`` to the mean ``(B, W)`` over the tokens of the last stage.

        Runs the body's stages one by one: its own ``forward`` would also collect the attention maps and the scores of
        its sound classes, and in training mode mask the spectrogram from the global random state.
        """
        body = self.audio_branch
        normalised = body.bn0(log_mel[:, None].transpose(1, 3)).transpose(1, 3)  # statistics per mel band
        tokens = body.patch_embed(body.reshape_wav2img(normalised))
        for stage in body.layers:
            for block in stage.blocks:
                tokens, _ = block(tokens)
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        mean: Tensor = body.norm(tokens).mean(dim=1)
        return mean

    def forward(self, waveforms: Tensor) -> Tensor:
        """Waveforms ``(B, 480000)`` at 48 kHz to unit vectors ``(B, DIM)``."""
        pooled = self.pool(self.log_mel(quantise(waveforms)))
        return functional.normalize(self.audio_projection(pooled).float(), dim=-1)
