"""ISEAR: reports of ours in the layout of the table that is passed round."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.datasets.isear import EMOTIONS

HEADER = "ID|CITY|COUN|SUBJ|SEX|EMOT|WHEN|Field1|Field3|Field2|MYKEY|SIT|STATE|\n"
PEOPLE = (11001, 11002, 21010, 1160012)
SITUATIONS = {
    f"{person}{number}": (f'When I felt "{emotion}" á for the {person}th time,  and á so on; twice |', emotion)
    for person in PEOPLE
    for number, emotion in enumerate(EMOTIONS, start=1)
}
SILENT = {"110014": "[ No response.]", "210107": "NO RESPONSE."}


def row(key: str, emotion: str, situation: str) -> str:
    person, number = key[:-1], key[-1]
    return f"{person}|1|1|1|2|{number}|4|{emotion}|4|3|0{key}|{situation}|1|\n"


ROWS = [row(key, emotion, SILENT.get(key, situation)) for key, (situation, emotion) in SITUATIONS.items()]
TABLE = (HEADER + "".join(ROWS)).encode()

MINIATURE = Miniature(
    files={
        "isear.csv": TABLE + b"\n",
        "read me.txt": b"by K. R. Scherer, and others\n",
        "isear_databank/isear.mdb": b"db",
    },
    labels={key: emotion for key, (_, emotion) in SITUATIONS.items()},
    left_out={},
    spoilt={
        "half a download": Spoilt(
            {"isear.csv": TABLE[: -len(ROWS[-1]) // 2]},
            r"row 29 of .*isear\.csv has \d+ cells \('1160012', '1' \.\.\.\) below a header of 14",
        ),
        "another version": Spoilt(
            {"isear.csv": b"joy,When I passed\nfear,When it was dark\n"},
            r"no table with columns MYKEY, ID, EMOT, SIT, .*found isear\.csv",
        ),
        "duplicate ids": Spoilt(
            {"isear.csv": TABLE + ROWS[3].encode()}, r"gives 1 ids of isear more than once \(110014\)"
        ),
    },
)
