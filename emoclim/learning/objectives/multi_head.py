"""One network for both modalities with a head for the labels of each; that of the candidates reads a query, too."""

from collections.abc import Mapping, Sequence

from typing_extensions import override

from emoclim.data import Split
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.classifying import ClassifyingObjective
from emoclim.modality import Modality

SHARED = ("shared 1", "shared 2", "shared 3")  # hidden layers


class MultiHead(ClassifyingObjective):
    """Items of both modalities go through the same layers, and are trained by the head of the labels of their own.

    A query is read by the head of the candidates' labels, which its own modality was never trained on; candidates are
    ranked by their probability of the class that it reads.

    References
    ----------
    M. Won et al., "Emotion embedding spaces for matching music to stories", ISMIR 2021, section 3.2.2 and Figure 2 (b).
    No code of it was published: that each modality enters by a first layer of its own, for features of two widths, is
    our reading, and so is that texts keep the cross entropy and music the focal loss of ``classification``.

    Inputs
    ------
    ===========  ==============  ==================================================================
    outputs      ``(K, N, C)``   logits of each modality, of its own C classes; and for each query
                                 modality those of the candidates' classes, ``text as audio``
    labels       ``(N,)``        int64 classes of each modality
    taxonomy     of the split    which classes are labels of which modality
    ===========  ==============  ==================================================================

    Relations
    ---------
    ``classification`` shares nothing, and needs labels of the same name.

    Examples
    --------
    >>> from emoclim.data import Split, Taxonomy
    >>> objective = MultiHead(("audio", "text"), [MultiHead.Settings()])
    >>> objective.taxonomy = Taxonomy(("calm", "glad", "joy"), {"audio": (0, 1), "text": (2,)}, {})
    >>> {name: (branch.input, branch.width) for name, branch in objective.branches(Split({}, {}, ())).items()}
    {'audio': ('audio', 2), 'text': ('text', 1), 'audio as text': ('audio', 1), 'text as audio': ('text', 2)}
    """

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        widths = {one: len(self.taxonomy.own[one]) for one in self.modalities}
        found: dict[str, Branch] = {}
        for one in self.modalities:
            found[one] = Branch(one, widths[one], unit=False, through=SHARED)
        for one in self.modalities:
            for other in self.modalities:
                if one != other:
                    found[self.reading(one, other)[0]] = Branch(
                        one, widths[other], shares=one, unit=False, through=SHARED, output_of=other
                    )
        return found

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return False  # no loss ever sees a modality through the head of another

    @override
    def reading(self, modality: Modality, candidates: Modality) -> tuple[str, Modality]:
        return (modality if modality == candidates else f"{modality} as {candidates}"), candidates
