"""Alm's tales: sentences of ours in the layout of the corpus."""

from dataset_contract import Miniature, Spoilt

CODES = {"anger": 2, "fearful": 3, "happy": 4, "sad": 6, "surprised": 7}
TALES = {"Grimms": ("the_stove", "two_geese"), "HCAndersen": ("the_kettle", "ü"), "Potter": ("tom_mouse", "a_picnic")}
SENTENCES = {
    f"{author}/{tale}/{3 * place + len(tale)}": (f'"I am {label}," said the {tale} of {author}, "@ home!"', label)
    for author, tales in TALES.items()
    for tale in tales
    for place, label in enumerate(CODES)
}


def agreed(sentences: dict[str, tuple[str, str]], *, at: str = "@") -> dict[str, bytes]:
    """A file for each tale; one has spaces that are too many, and one ends without a line feed."""
    lines: dict[str, list[str]] = {}
    for name, (sentence, label) in sentences.items():
        author, tale, number = name.split("/")
        line = f"{number}{at}{CODES[label]}{at}{sentence.replace(' ', '  ') if author == 'Grimms' else sentence} \n"
        lines.setdefault(f"{author}/agree-sent/{tale}.agree", []).append(line)
    return {path: "".join(all_of_tale).rstrip("\n").encode() for path, all_of_tale in lines.items()}


FILES = agreed(SENTENCES) | {"Potter/agree-sent/silent.agree": b"\n"}
OTHERS = {
    "Potter/README.txt": b"Copyright (c) 2007",
    "Potter/agreeID/tom_mouse.agreeID": b"9\n12\n",
    "Potter/sent/tom_mouse.sent.okpuncs": b"Once.\n",
    "Potter/emmood/tom_mouse.emmood": b"0:0\tN:N\tN:N\tOnce.\n",
}

MINIATURE = Miniature(
    files=FILES | OTHERS,
    labels={name: label for name, (_, label) in SENTENCES.items()},
    left_out={},
    spoilt={
        "half a download": Spoilt(
            {path: content for path, content in (FILES | OTHERS).items() if "Andersen" not in path},
            r"no HCAndersen/agree-sent/<tale>\.agree, as each of .* has; found Grimms/ \(2 files\), Potter/ ",
        ),
        "another version": Spoilt(
            FILES | agreed({"Potter/new/1": SENTENCES["Potter/a_picnic/8"]}, at="\t"),
            r"line 1 of .*new\.agree is '1\\t2\\t.*<number>@<code>@<sentence> with a code of 2, 3, 4, 6, 7; fetch",
        ),
        "duplicate ids": Spoilt(
            FILES | {f"copy/{path}": content for path, content in FILES.items()}, "gives 30 ids of alm more than once"
        ),
    },
)
