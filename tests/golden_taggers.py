"""Numbers of the reference implementation for music taggers of pseudo-random parameters, and how they are compared."""

import json
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CASES = ("noise", "chord", "silence", "chord_pure")
DECIBEL_TOLERANCE = {"noise": 1e-3, "chord": 2e-2, "silence": 0.0, "chord_pure": 2e-2}
ROUNDING = -60.0  # dB; what a pure chord has below is the rounding of the Fourier transform


@dataclass(frozen=True)
class GoldenTagger:
    """One network's numbers: `folder` of the reference's files, `name` of the network there."""

    folder: Path
    name: str

    @property
    def manifest(self) -> Any:
        return json.loads((self.folder / "MANIFEST.json").read_text())

    def tolerance(self, kind: str, case: str) -> float:
        stated = self.manifest["tolerances_absolute"][self.name][kind]
        return next(float(value) for cases, value in stated.items() if case in cases.split(","))

    def write_checkpoint(self, bare: nn.Module, path: Path) -> Path:
        """Write the reference's parameters, where it fills them, in the old form of the published files."""
        fill = runpy.run_path(str(self.folder / "fill.py"))
        constants = bare.state_dict()
        template = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in constants.items()}
        arrays, _ = fill["fill"](template, self.manifest["fill_offset"])
        assert fill["checksum"](arrays) == json.loads((self.folder / "keys.json").read_text())[self.name]["checksum"]
        filled = {name: torch.from_numpy(array) for name, array in arrays.items()}
        torch.save(constants | filled, path, _use_new_zipfile_serialization=False)
        return path

    def waveform(self, case: str) -> Tensor:
        """``(1, samples)``."""
        given = self.manifest["cnn"][self.name]["waveforms"][case]
        return torch.from_numpy(runpy.run_path(str(self.folder / "inputs.py"))["waveform"](given))[None]

    def check(self, net: Any, case: str, *, band_step: int) -> None:
        """Hold spectrogram, feature and tags of one waveform to the reference's; the file has every n-th band."""
        with np.load(self.folder / f"{self.name}.npz") as file:
            golden = dict(file)
        row = golden["order"].tolist().index(case)
        waveform = self.waveform(case)
        with torch.inference_mode():
            decibels, feature = net.decibels(waveform)[0].numpy(), net(waveform)
            tags = net.tags(feature)
        self._check_decibels(golden, decibels, case, band_step)
        for kind, value in {"features": feature, "tags": tags}.items():
            expected, tolerance = golden[f"{kind}_f64"][row], self.tolerance(kind, case)
            np.testing.assert_allclose(value[0], expected, rtol=0, atol=tolerance, err_msg=kind)

    def _check_decibels(
        self, golden: dict[str, NDArray[Any]], decibels: NDArray[Any], case: str, band_step: int
    ) -> None:
        assert decibels.shape == tuple(golden[f"db/{case}/shape"])
        lowest, highest = golden[f"db/{case}/stats"][2:]
        np.testing.assert_allclose(decibels.max(), highest, rtol=0, atol=DECIBEL_TOLERANCE[case])
        if case == "silence":
            assert decibels.min() == lowest == -100.0
            return
        shown = decibels[..., ::band_step, :]
        for part, name in [(shown[..., :6], "slice"), (shown[..., -3:], "slice_end")]:
            expected = golden[f"db/{case}/{name}"]
            heard = expected > ROUNDING if case == "chord_pure" else np.full(expected.shape, fill_value=True)
            assert heard.any()
            np.testing.assert_allclose(part[heard], expected[heard], rtol=0, atol=DECIBEL_TOLERANCE[case])
