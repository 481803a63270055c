"""Two classifiers, one for each modality: candidates are ranked by their probability of the class read in the query."""

from collections.abc import Mapping
from typing import ClassVar

from typing_extensions import override

from emoclim.data import Split
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.classifying import ClassifyingObjective
from emoclim.modality import Modality


class Classification(ClassifyingObjective):
    """Items are classified by the labels of their own modality, and meet where two labels have the same name.

    A query whose class has no label of the same name among those of the candidates retrieves nothing.

    References
    ----------
    M. Won et al., "Emotion embedding spaces for matching music to stories", ISMIR 2021, section 3.2.1 and Figure 2 (a):
    cross entropy for texts, and for music the focal loss of T.-Y. Lin et al., "Focal Loss for Dense Object Detection",
    ICCV 2017, with gamma 2. In a run of both, music is the first modality.

    Inputs
    ------
    ===========  ==============  ================================================
    outputs      ``(K, N, C)``   logits of each modality, of its own C classes
    labels       ``(N,)``        int64 classes of each modality
    taxonomy     of the split    which classes are labels of which modality
    ===========  ==============  ================================================

    Relations
    ---------
    ``multi_head`` reads a query in the classes of the candidates.

    Examples
    --------
    >>> import torch
    >>> from emoclim.data import Taxonomy
    >>> objective = Classification(("audio", "text"), [Classification.Settings()])
    >>> objective.taxonomy = Taxonomy(("calm", "glad", "joy"), {"audio": (0, 1), "text": (0, 2)}, {})
    >>> read = torch.tensor([[[3.0, 0.0], [0.0, 3.0]]])
    >>> objective.query_vectors("text", {"text": read}, "audio")[0]  # calm, and joy, which is no label of music
    tensor([[[1., 0., 0., 0.],
             [0., 0., 0., 0.]]])
    """

    alone: ClassVar[bool] = True

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {one: Branch(one, len(self.taxonomy.own[one]), unit=False) for one in self.modalities}

    @override
    def reading(self, modality: Modality, candidates: Modality) -> tuple[str, Modality]:
        return modality, modality
