"""Tables as text of a paper: LaTeX (booktabs) or Markdown."""

import re
from collections.abc import Sequence
from typing import Literal

TableFormat = Literal["latex", "markdown"]

LATEX_SIGNS = {"→": r"$\rightarrow$", "↔": r"$\leftrightarrow$", "±": r"$\pm$", "–": "--"}
SPECIAL = re.compile("[%_&#]")


def typeset_table(rows: Sequence[Sequence[str]], title: str, note: str, form: TableFormat) -> str:
    """Format a header row and the rows below it, with a title and a note on how to read them."""
    from tabulate import tabulate

    header, *body = rows
    styles = {"latex": "latex_booktabs", "markdown": "github"}
    align = ["left"] + ["right"] * (len(header) - 1)
    body = [[" ".join(cell.split()) for cell in row] for row in body]
    text = tabulate(body, header, tablefmt=styles[form], colalign=align, disable_numparse=True)
    if form == "markdown":
        return "\n".join([f"### {title}", "", note, "", text, ""])
    caption = SPECIAL.sub(r"\\\g<0>", f"{title}. {note}")
    text = "\n".join([r"\begin{table}", rf"\caption{{{caption}}}", text, r"\end{table}", ""])
    for sign, command in LATEX_SIGNS.items():
        text = text.replace(sign, command)
    return text
