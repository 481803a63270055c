"""`emoclim evaluate`: how well a run ranks one modality by another or finds tags; `compare`: whether runs differ."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import (
    LIBRARIES,
    Device,
    OwnSettings,
    Root,
    SettingOptions,
    given_options,
    named_libraries,
    parse_settings,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, new_app, track, working
from emoclim.config import CompareConfig, EvaluateConfig

app = new_app()
CONFIG = SettingOptions(EvaluateConfig, {"ks": "k"})
COMPARE = SettingOptions(CompareConfig)
TAGGING = SettingOptions(
    pipeline.TaggingConfig,
    {"manifest": "tagging", "seeds": "tag_seeds", "fractions": "train_fraction", "shuffle": "shuffle_tags"},
)
TAGGED = frozenset(one.name for one in TAGGING.options())
OF_WORDS = frozenset({"setting", *(one.name for one in LIBRARIES)})
OF_RETRIEVAL = frozenset({"k", "measures", "average", "min_seconds", "label_map", "within", "relevant", "memory"})


@command(
    app, "evaluate", forms=("json", "latex", "markdown"), first=(*CONFIG.options(), *LIBRARIES), then=TAGGING.options()
)
def evaluate(
    context: typer.Context,
    run: Annotated[
        str | None, typer.Argument(help="Name of a run; default the newest (but for those of reproduce).")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Compare by words of emotions, without a run; ranks all that has labels.")
    ] = False,
    setting: OwnSettings = None,
    memory: Annotated[int, typer.Option(min=1, help="MB that ranking may take.")] = 1024,
    plots: Annotated[bool, typer.Option(help="Draw plots and write report.html, too.")] = True,
    device: Device = "auto",
    workspace: Root = Path(),
    **options: Any,
) -> View:
    """Report how well emotions are found, or tags.

    Ranks one modality by the other, in every direction, and tells how often the emotion is the same. With --words no
    run is needed, and labels only tell what is right. With --tagging tells how well tags of music are found by what the
    heads make of it.
    """
    asked, place = CONFIG.given(options), pipeline.Workspace(workspace)
    resources = pipeline.Resources(place, device, track=track)
    if words:
        refuse_useless(context, {"run", "head", *TAGGED}, "words are compared, without a run")
    else:
        refuse_useless(context, OF_WORDS, "they are of --words")
    if given_options(context) & TAGGED:
        refuse_useless(context, OF_RETRIEVAL, "tags are found, nothing is ranked")
        tags = pipeline.TaggingConfig(run=run, plots=plots, **asked, **TAGGING.given(options))
        tagged = pipeline.start(pipeline.Tag(), tags, resources)
        return View(tagged.to_dict(), _tagging_tables(tagged), tagged.summary(), paper=tagged.paper_tables())
    with working("evaluate"):
        if words:
            run = pipeline.words_run(named_libraries(options), parse_settings(setting, "words=paper"), resources)
            asked = {"split": "all"} | asked
        config = EvaluateConfig(**asked)
        result = pipeline.evaluate_run(run, config, memory=memory << 20, plots=plots, workspace=place, device=device)
    return View(result.to_dict(), evaluation_tables(result), result.summary(), paper=result.paper_tables())


@command(app, "compare", then=COMPARE.options())
def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs by name, or folders with queries.parquet of an evaluation.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to compare, P@5 for example; may be repeated; default all.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSON file to write the result to, too; default none.")] = None,
    workspace: Root = Path(),
    **options: Any,
) -> View:
    """Tell whether runs differ.

    Compares what `evaluate` found for each run with the first one, query by query: intervals by the bootstrap, p-values
    by a paired randomisation test.
    """
    config, place = CompareConfig(**COMPARE.given(options)), pipeline.Workspace(workspace)
    with working("compare"):
        result = pipeline.compare_runs(runs, config, metrics=metric or (), output=output, workspace=place)
    return View(result.to_dict(), [Table(result.table_rows(), result.title)], result.notes)


def evaluation_tables(result: Any) -> list[Table]:
    """Tables of how well emotions are found, by direction and by emotion, and how well valence and arousal are."""
    tables = []
    if result.report.directions:
        tables.append(Table(result.report.table_rows(), result.title))
        if not result.by_partner:
            tables.append(Table(result.per_class_rows(), f"{result.shown_metric} by emotion"))
    if result.numbers.predicted:
        tables.append(Table(result.numbers.table_rows(), f"Run {result.run}, split {result.split}"))
    return tables


def _tagging_tables(result: Any) -> list[Table]:
    tables = [Table(result.report.table_rows(), result.title), Table(result.report.per_tag_rows(), "Tag by tag")]
    if result.shows_curve:
        tables.append(Table(result.report.curve_rows(), "By the share of training items"))
    return tables
