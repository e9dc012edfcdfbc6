"""The command `predact`."""

import json
import shlex
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from predact.build import book, execute, pages, workers
from predact.errors import UserError
from predact.models import pairs, transcripts
from predact.store import write

app = typer.Typer(
    help="The executable edition of 'Predicting vs. Acting': its figures on any Base/RLHF pair of language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PairName = Annotated[str, typer.Option("--pair", help="A name that `predact pairs` lists, a pair file, or BASE::RLHF.")]
Base = Annotated[
    str,
    typer.Option(
        help="Instead of --pair: the Base: a folder, a .gguf file, a hub id, id@revision, or a file of generations."
    ),
]
Rlhf = Annotated[str, typer.Option(help="Instead of --pair: the RLHF model, named in the same way.")]
Name = Annotated[str, typer.Option(help="Name of the pair of --base and --rlhf.", show_default="BASE::RLHF")]
Texts = Annotated[
    str,
    typer.Option(
        "--generations",
        help="Instead of --pair: a file of generations, as of `blueprint`, by the models Base and RLHF, or those that "
        "--base and --rlhf name. What needs weights is left out.",
    ),
]
Scale = Annotated[str, typer.Option(help="classroom, laptop or full.", show_default="the pair's own")]
Store = Annotated[Path, typer.Option(help="Folder of the stored results.")]
Out = Annotated[Path | None, typer.Option(help="Folder of this book.", show_default="_build/PAIR")]
Seed = Annotated[int, typer.Option(help="Seed of all that is random.")]
Only = Annotated[str, typer.Option(help="Only notebooks whose name begins with this, for example 02.")]
Prompts = Annotated[
    str, typer.Option(help="Prompts: general, pocket or a JSON Lines file.", show_default="the pair's own")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Processes that execute notebooks side by side: one for each GPU, say.",
        show_default="of small models one for each core, else 1",
    ),
]
Given = Annotated[list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Set a parameter; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON: only the claims that were run.")]

Estimates = Annotated[bool, typer.Option("--json", help="Print memory, disk, tokens and time as JSON.")]
Every = Annotated[
    bool, typer.Option("--all", help="All pairs: those run in this folder, and those with published verdicts.")
]

WRITTEN = 'Generations of any model: JSON Lines, JSON or CSV, also .gz: {"prompt": "...", "generation": "..."}.'
PATIENCE = 5  # seconds: of work that takes longer, an estimate is printed first
Generations = Annotated[Path, typer.Argument(help=WRITTEN, metavar="FILE")]
Whose = Annotated[
    Literal["paper", "book"],
    typer.Option(help="paper: spans of characters, as in the paper; book: ours, of words, with their order."),
]
Page = Annotated[Path, typer.Option(help="Folder of the page.")]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Of JupyterLab.", show_default="8888, or the next that is free")
]
Sample = Annotated[int | None, typer.Option(help="Take so many generations of each prompt, drawn at random.")]

STORE = Path("_build/store")
INTERRUPTED = 130  # the status with which Typer, as a shell, ends after Ctrl-C


@app.command("book")
def make_book(
    pair: PairName = "pocket",
    scale: Scale = "",
    prompts: Prompts = "",
    store: Store = STORE,
    out: Out = None,
    seed: Seed = 0,
    p: Given = None,
    base: Base = "",
    rlhf: Rlhf = "",
    name: Name = "",
    generations: Texts = "",
    count: Workers = None,
) -> None:
    """Execute every notebook, build the book, and print the path of its front page."""
    pair = _pair(pair, base, rlhf, name, generations)
    folder = _execute("", pair, scale, prompts, store, out, seed, p, count)
    typer.echo(book.build(Path(), folder, pair, pairs.pair(pair).written))


@app.command("pdf")
def print_pdf(pair: PairName = "pocket", out: Out = None, base: Base = "", rlhf: Rlhf = "", name: Name = "") -> None:
    """Print the built book of a pair with Chromium, as one PDF, and print its path."""
    from predact.build import pdf

    typer.echo(pdf.make(out or Path("_build", pairs.slug(_pair(pair, base, rlhf, name)))))


@app.command()
def run(
    only: Only = "",
    p: Given = None,
    pair: PairName = "pocket",
    scale: Scale = "",
    prompts: Prompts = "",
    store: Store = STORE,
    out: Out = None,
    seed: Seed = 0,
    base: Base = "",
    rlhf: Rlhf = "",
    name: Name = "",
    generations: Texts = "",
    count: Workers = None,
) -> None:
    """Execute notebooks without building the book, and print the folder of the executed ones."""
    pair = _pair(pair, base, rlhf, name, generations)
    typer.echo(_execute(only, pair, scale, prompts, store, out, seed, p, count) / "notebooks")


@app.command()
def check(
    pair: PairName = "pocket",
    scale: Scale = "",
    base: Base = "",
    rlhf: Rlhf = "",
    name: Name = "",
    as_json: Estimates = False,
) -> None:
    """Report before a run: tokenizers, memory, tokens to score and sample; the time, if the weights are stored here."""
    from predact.build import check, notebook
    from predact.models import runs

    notebook.quiet()
    run, topic = runs.run(_pair(pair, base, rlhf, name), scale), ""
    if as_json:
        typer.echo(json.dumps(check.estimates(run), indent=1))
        return
    for finding in check.findings(run):
        if finding.topic != topic:
            topic = finding.topic
            typer.secho(topic, bold=True)
        typer.echo(f"{'! ' if finding.warns else '  '}{finding.text}")


@app.command("pairs")
def list_pairs() -> None:
    """List the pairs known by name."""
    for pair in pairs.pairs():
        typer.secho(f"{pair.name}{'  (gated on the hub)' if pair.gated else ''}", bold=True)
        dtype = pair.models["Base"].dtype
        size = pair.parameters * pairs.DTYPES[dtype]
        typer.echo(f"  {pair.about} {pair.licence}. {size:,.{0 if size > 10 else 2}f} GB of weights in {dtype}.")
        typer.echo("  " + ", ".join(f"{step}: {model.source}" for step, model in pair.models.items()))


@app.command("corpora")
def list_corpora() -> None:
    """List the corpora known by name."""
    from predact.texts.corpora import corpora

    typer.echo(corpora().to_string(index=False))


@app.command()
def blueprint(
    file: Generations, out: Page = Path("blueprint"), protocol: Whose = "book", sample: Sample = None, seed: Seed = 0
) -> None:
    """Draw what the generations in FILE have in common, on one self-contained page, and print its path."""
    from predact.build import standalone

    texts = standalone.read(file, sample, seed)
    for note in texts.notes:
        typer.echo(note, err=True)
    wanted = standalone.seconds(texts)
    if wanted > PATIENCE:
        typer.echo(f"This takes about {wanted:.0f} seconds.", err=True)
    page = standalone.page(texts, f"Blueprint of {file.name}", protocol, bar=True)
    write(out / "index.html", page.encode(), "out")
    typer.echo(out / "index.html")


@app.command("lab")
def open_lab(pair: PairName = "pocket", port: Port = None, base: Base = "", rlhf: Rlhf = "", name: Name = "") -> None:
    """Open the laboratory in JupyterLab: ask a pair's models, read with them, guess against them, mix them."""
    from predact.lab import server

    notebook = server.copied(Path(), _pair(pair, base, rlhf, name))
    lab = server.server(Path(), notebook, port)
    typer.echo(f"The laboratory: {lab.display_url.split()[0]}\nChoose Run > Run All Cells there. Ctrl-C twice ends it.")
    lab.start()


@app.command()
def scorecard(pair: PairName = "pocket", out: Out = None, as_json: AsJson = False, every: Every = False) -> None:
    """Print the verdicts in the executed notebooks of a pair, or those of all pairs, claim by claim."""
    from predact.claims.verdict import claims
    from predact.discussion import across, published

    folders = sorted(Path("_build").glob("*")) if every else [out or Path("_build", pairs.slug(pair))]
    rows = execute.verdicts(path for folder in folders for path in sorted((folder / "notebooks").glob("*.ipynb")))
    if not (rows or every):
        pairs.pair(pair)
    shown = across.in_order([*(across.verdicts(published.FOLDER) if every else []), *rows])
    if as_json:
        typer.echo(json.dumps(shown, indent=1))
        return
    for claim in claims().values():
        typer.echo(f"{claim.id}  {claim.claim}")
        mine = [row for row in shown if row["id"] == claim.id]
        for row in mine:
            whose = f"{pairs.title(row['pair'])} " if every else ""
            rule = " (our own measure)" if row["protocol"] == "book" else ""
            typer.echo(f"    {whose}{row['verdict']}{rule}: {pages.numbers(row)}")
        if not mine:
            typer.echo("    not yet run")


@app.command("publish")
def publish_pair(
    pair: PairName = "pocket",
    out: Out = None,
    base: Base = "",
    rlhf: Rlhf = "",
    name: Name = "",
    texts: Annotated[bool, typer.Option("--texts", help="Some of the models' answers, too, to be read.")] = False,
) -> None:
    """Put the results of a pair, from its executed notebooks, into book/published/pairs, and print their folder."""
    from predact.build import notebook, publish

    notebook.quiet()
    pair = _pair(pair, base, rlhf, name)
    execute.find(Path())  # refuses where there is no book
    folder = out or Path("_build", pairs.slug(pair))
    typer.echo(publish.publish(folder / "notebooks", pair, texts=texts))


def main() -> None:
    """Run the command. What goes wrong is one line.

    The status is 2 after a mistake of the user, 1 after a failed build or where the system refuses a file, and 130
    after Ctrl-C.
    """
    try:
        app(_joined(map(_readable, sys.argv[1:])))
    except (UserError, execute.Failed) as error:
        _end(str(error), 2 if isinstance(error, UserError) else 1)
    except OSError as error:
        _end(": ".join(str(part) for part in (error.filename, error.strerror or error) if part), 1)
    except SystemExit as stopped:
        if stopped.code == INTERRUPTED:
            _end("interrupted; what is done is kept, and the same command goes on from there.", INTERRUPTED)
        raise


def _end(why: str, status: int) -> NoReturn:
    typer.echo(f"predact: {why}", err=True)
    sys.exit(status)


def _readable(word: str) -> str:
    """Return a word of the command line, unless it is no text."""
    try:
        return word.encode().decode()
    except UnicodeEncodeError:
        raise UserError(f"{word!r} is not UTF-8; rename the file, or type the name anew.") from None


def _pair(pair: str, base: str, rlhf: str, name: str, generations: str = "") -> str:
    """Return the pair that was asked for: that of --pair, or that of --base, --rlhf and --name, or of --generations."""
    if generations:
        title = name or pairs.slug(Path(generations).name)
        return pairs.spelled(f"{generations}:{base or 'Base'}", f"{generations}:{rlhf or 'RLHF'}", title)
    return pairs.spelled(base, rlhf, name) if base or rlhf or name else pair


def _execute(
    only: str,
    pair: str,
    scale: str,
    prompts: str,
    store: Path,
    out: Path | None,
    seed: int,
    given: list[str] | None,
    count: int | None,
) -> Path:
    """Run the notebooks, printing the time of each, and return the folder of the book.

    A worker that is not the main one prints nothing and ends the command here.
    """
    models = pairs.pair(pair)
    common = {"pair": pair, "scale": scale, "store": str(store), "seed": str(seed)}
    folder = out or Path("_build", pairs.slug(pair))
    words = _words(given or [], [*common, "prompts"]) | ({"prompts": prompts} if prompts else {})
    notebooks = execute.find(Path(), only)
    if models.written:
        notebooks = _on_generations(models, notebooks)
    work, main = execute.plan(notebooks, common, words), workers.is_main()
    count = workers.usual(models) if count is None else count
    with workers.beside(count, Path(), folder, work):
        if not main:
            workers.assist(Path(), folder, work)
            raise typer.Exit()
        for done in execute.run(Path(), folder, work):
            typer.echo(f"{done.name:<24}{done.seconds:8.1f} s{'' if done.executed else '  (unchanged)'}")
            typer.echo(done.warnings, err=True, nl=False)
    return folder


def _on_generations(models: pairs.Pair, notebooks: list[Path]) -> list[Path]:
    """Return the notebooks for which generations are enough, and say which are left out.

    What is wrong with the files is told here, before anything runs.
    """
    found = execute.on_generations(notebooks)
    transcripts.prompts(models)
    if left := [path.stem for path in notebooks if path not in found]:
        typer.echo(f"predact: {', '.join(left)} left out: of this pair only generations are known.", err=True)
    return found


def _joined(arguments: Iterable[str]) -> list[str]:
    """Rewrite ``-p name value`` as ``-pname=value``: Typer has no repeatable option with two values."""
    rest = iter(arguments)
    return ["-p" + "=".join(islice(rest, 2)) if part == "-p" else part for part in rest]


def _words(given: list[str], options: Iterable[str]) -> dict[str, str]:
    words = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not separator:
            raise UserError(f"-p {name}: expected a name and a value, for example -p documents 20.")
        if name in options:
            raise UserError(f"-p {name}: write --{name} {shlex.quote(value)}.")
        words[name] = value
    return words
