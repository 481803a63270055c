"""The evaluation stage against numbers made with the reference implementation; see `golden/README.md`."""

from pathlib import Path

import numpy as np
import torch
from given_embeddings import CPU, Identity, make_split

from emoclim.stages.evaluating import evaluate

THEIR_NAMES = {
    "image_audio": "image2music",
    "audio_image": "music2image",
    "image_image": "image2image",
    "audio_audio": "music2music",
}


def check_golden(path: Path) -> int:
    """Compare every case of a file of reference numbers; how many there were."""
    with np.load(path, allow_pickle=False) as golden:
        cases = sorted({name.split("/")[0] for name in golden.files if "/" in name})
        classes = tuple(golden["class_names"].tolist())
        for case in cases:
            parts = {
                modality: [torch.from_numpy(golden[f"{case}/{name}"]) for name in (modality, f"{modality}_label")]
                for modality in ("image", "audio")
            }
            report = evaluate(make_split(classes, **parts), Identity(), device=CPU)
            for name, theirs in THEIR_NAMES.items():
                found, expected = report.directions[name], f"{case}/{theirs}"
                metrics = golden["metric_order"].tolist()
                macro = np.array([found.metrics[metric] for metric in metrics])
                np.testing.assert_allclose(macro, golden[f"{expected}/macro"], rtol=0, atol=1e-6)
                np.testing.assert_array_equal(macro.round(4), golden[f"{expected}/macro_rounded4"])
                per_query = np.stack([found.scores.metrics[metric] for metric in metrics])
                np.testing.assert_allclose(per_query, golden[f"{expected}/per_query"], rtol=0, atol=1e-6)
                per_class = [[found.per_class[c].metrics.get(metric, np.nan) for c in classes] for metric in metrics]
                np.testing.assert_allclose(per_class, golden[f"{expected}/per_class"], rtol=0, atol=1e-6)
    return len(cases)


def test_equals_the_reference_numbers():
    assert check_golden(Path(__file__).parents[1] / "golden" / "retrieval.npz") == 2


def test_equals_all_reference_numbers(shared):
    assert check_golden(shared / "golden" / "retrieval.npz") == 3
