"""What an encoder of music gains by the pictures of its videos, against the same encoder that hears the music alone.

The videos are generated: their music changes its emotion from passage to passage, and their pictures change with it, so
that there is something to be gained; no number here says anything of real music. Stages, losses, effects, optimisers
and rates are those of ``emoclim pretrain --preset paper``, shortened; pictures are told by their colours, in the place
of CLIP. Of each seed, ``audio only`` is the first stage, ``conditioned`` goes on from that beside the pictures, and
``audio only, as long`` goes on from it by the first stage's own loss, for as many steps. Then heads of VCMR find the
emotions of clips of other videos by the frozen encoder.

Numbers are macro ROC-AUC, means over seeds of everything random but the videos; an interval is Student's, of 95 %, of
the mean of the differences by seed. After ``--minutes`` no other seed is begun, and the table is of those there are.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from record import Row, command_line, publish
from scipy import stats

from emoclim.config import ExtractConfig
from emoclim.data.generated.videos import generate_videos
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline import PretrainConfig, Resources, TaggingConfig, Workspace, extract_features, start
from emoclim.pipeline.tagging.tag import Tag
from emoclim.pipeline.training.end_to_end.pretrain import Pretrain
from emoclim.pipeline.training.trained_runs import ENCODER_FILE
from emoclim.recipes import pretraining_preset

SECONDS, CLIP = 10, 8  # of a passage, and of what is taken of it
ALONE, CONDITIONED, LONGER = "audio only", "conditioned", "audio only, as long"


def main() -> None:
    """Generate, train, find."""
    parser = command_line(__doc__)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--passages", type=int, default=3, help="of a video, each a clip")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of a stage")
    parser.add_argument("--batches", type=int, default=8, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--length", type=int, default=49_152, help="samples of the encoder's input")
    parser.add_argument("--minutes", type=float, default=60.0)
    asked = parser.parse_args()
    begun, found = time.monotonic(), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as scratch:
        study = Study(asked, Path(scratch))
        while len(found) < asked.seeds and time.monotonic() - begun < 60 * asked.minutes:
            found.append(study.scores(seed=len(found) + 1))
            print(f"seed {len(found)}: {found[-1]}", file=sys.stderr, flush=True)
    details = {"seeds": len(found), "by_seed": found, "seconds": round(time.monotonic() - begun)}
    publish("Conditioning music on pictures", __doc__, asked, told(found), details, "torch")


class Study:
    """The videos, and what is trained on them."""

    def __init__(self, asked: argparse.Namespace, root: Path) -> None:
        self._asked, self._root, self._resources = asked, root, Resources(Workspace(root), "cpu", 0)
        films = generate_videos(root / "data" / "films", count=asked.videos, passages=asked.passages)
        parts = ("train", "train", "val", "test")
        rows = [
            {"path": f"films/{n:03}.mp4", "id": f"{n}-{place}", "start": SECONDS * place, "duration": CLIP, "group": n}
            | {"pair": f"{n}-{place}", "split": parts[n % len(parts)], "tags": emotion}
            for n, emotions in enumerate(films)
            for place, emotion in enumerate(emotions)
        ]
        for name in ("audio", "video", "tagging"):
            with (root / "data" / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                columns = [column for column in rows[0] if column != "tags" or name == "tagging"]
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
        self._extract("video", None, ExtractConfig(encoder="colour_video", workers=0))

    def scores(self, seed: int) -> dict[str, float]:
        """Macro ROC-AUC of each arm."""
        alone = self._pretrained(f"alone-{seed}", seed, None)
        arms = {
            ALONE: alone,
            CONDITIONED: self._pretrained(f"conditioned-{seed}", seed, alone, beside=True),
            LONGER: self._pretrained(f"longer-{seed}", seed, alone),
        }
        return {name: self._found(file, seed) for name, file in arms.items()}

    def _pretrained(self, name: str, seed: int, begin: Path | None, *, beside: bool = False) -> Path:
        asked, preset = self._asked, pretraining_preset("paper", beside=beside)
        size = min(asked.batch_size, preset.training.batch_size)
        shorter = {"epochs": asked.epochs, "batches_per_epoch": asked.batches, "batch_size": size, "val_batches": 2}
        libraries: dict[Modality, str] = {"audio": str(self._root / "data" / "audio.csv")}
        libraries |= {"video": "colour_video"} if beside else {}
        config = PretrainConfig(
            encoders={"audio": "sample_cnn"},
            checkpoints={"audio": begin},
            encoder_settings={"audio": {"length": asked.length}},
            libraries=libraries,
            base=preset.training.updated(seed=seed, **shorter),
            tuning=EncoderTuning(**preset.tuning),
            augmentations=Augmentations(**preset.augmentations),
            store=True,
        )
        return start(Pretrain(), config, self._resources, name=name).folder / ENCODER_FILE

    def _found(self, encoder: Path, seed: int) -> float:
        source, settings = self._root / "data" / "tagging.csv", {"length": self._asked.length}
        config = ExtractConfig(encoder="sample_cnn", checkpoint=encoder, settings=settings, workers=0)
        self._extract("audio", source, config)
        run = encoder.parent.name
        tags = TaggingConfig(run=run, manifest=source, tag_head="vcmr", seeds=1, seed=seed, resamples=1, plots=False)
        score = start(Tag(), tags, self._resources).report.macro.roc_auc
        if score is None:
            raise ValueError("no emotion has test clips with and without it; take more videos")
        return float(score.estimate.value)

    def _extract(self, modality: Modality, source: Path | None, config: ExtractConfig) -> None:
        extract_features(modality, source, config, workspace=self._resources.workspace, device="cpu")


def told(found: Sequence[Mapping[str, float]]) -> list[Row]:
    """What each arm found, against the first; and the one of as many steps."""
    means = {name: 100 * fmean(one[name] for one in found) for name in found[0]}
    rows = [Row(ALONE, means[ALONE], "%", "chance", 50.0)]
    for name, other in ((CONDITIONED, ALONE), (LONGER, ALONE), (CONDITIONED, LONGER)):
        gaps = [100 * (one[name] - one[other]) for one in found]
        against = (other, means[other]) if means[other] else (None, None)  # a share of nothing is no number
        rows.append(Row(f"{name}; difference to {other} {_interval(gaps)}", means[name], "%", *against))
    return rows


def _interval(gaps: Sequence[float]) -> str:
    mean = f"{fmean(gaps):+.2f}"
    if len(gaps) < 2 or len(set(gaps)) == 1:
        return mean
    low, high = stats.t.interval(0.95, len(gaps) - 1, fmean(gaps), stats.sem(gaps))
    return f"{mean} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    main()
