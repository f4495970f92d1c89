"""The command line: `mmaudit apply-rules`, `audit`, `benchmark`, `cache`, `demo`, `lab`, `notebooks-html` and others.

The only module that prints. Every command is a function that takes the parsed arguments and returns an exit code;
`main` turns what goes wrong into a message and a code, in one place. pandas and the rest are imported inside the
commands, so that `mmaudit --help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mmaudit import __version__
from mmaudit._errors import AuditWarning, InputError, MissingExtraError, UnknownKeywordError, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mmaudit.data import AuditData, Target
    from mmaudit.encoders._pretrained import PretrainedEncoder
    from mmaudit.result import AuditResult

__all__ = ["main"]

DONE, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 2, 130, 143
DEMO_FOLDER = "demo-audit"
ENCODERS_FOLDER = "encoder-benchmark"
SCALE_FOLDER = "scale-benchmark"
BENCHMARK_ENCODERS, BENCHMARK_SCALE = "benchmark encoders", "benchmark scale"  # two words that choose one command
DASK_PATIENCE_S = 20  # that a scheduler is waited for
DEMO_IMAGE_PX = 112  # its report shows films smaller than that, and smaller films are drawn sooner

# What a Python argument is called on the command line, so that a message names what was typed.
OPTIONS = {
    "df": "TABLE",
    "rules": "RULES",
    "label": "--label",
    "y_proba": "--proba",
    "patient_id": "--patient",
    "sample_id": "--id",
    "image": "--image",
    "image_root": "--image-root",
    "report": "--report",
    "metadata": "--metadata",
    "label_name": "--classes",
    "modalities": "--modalities",
    "n_slices": "--n-slices",
    "alpha": "--alpha",
    "threshold": "--threshold",
    "metric": "--metric",
    "random_state": "--random-state",
    "n_patients": "--patients",
    "image_size": "--image-size",
    "source": "--source",
    "scenarios": "--scenario",
    "half": "--half",
    "n_seeds": "--seeds",
    "slicers": "--slicer",
    "subsets": "--modalities",
    "n_jobs": "--jobs",
    "encoders": "--image-encoder, --report-encoder",
    "weights": "--image-encoder",
    "texts": "--report",
    "names": "--clear",
    "models": "--models",
    "n_images": "--n-images",
    "side_px": "--side",
    "repeats": "--repeats",
    "images": "--images",
    "epochs": "--epochs",
    "sizes": "--sizes",
    "engines": "--engines",
    "encoding_size": "--encoding-size",
    "shards": "TABLE",
    "resume": "--resume",
    "dask": "--dask",
}

EXIT_CODES = """\
exit codes:
  0    done, whether or not anything was found
  2    bad input or a missing package; the message says what to do
  130  interrupted with Ctrl-C (143: ended by SIGTERM); nothing is left half-written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv : sequence of str or None
        The arguments. None: those of the process.

    Raises
    ------
    SystemExit
        From argparse: code 0 after `--help` and `--version`, code 2 after a wrong option.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    own, extra = (given[: given.index("--")], given[given.index("--") + 1 :]) if "--" in given else (given, [])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a description may hold a letter that the terminal does not have
    if " ".join(own[:2]) in (BENCHMARK_ENCODERS, BENCHMARK_SCALE):
        own[:2] = [" ".join(own[:2])]
    parser = _parser(own)
    args = parser.parse_args(own)
    if extra and args.command != "lab":
        args.parser.error(f"only 'mmaudit lab' passes on what follows '--', got: {' '.join(extra)}")
    args.extra = extra
    received: list[int] = []
    try:
        with _signals_noted(received), _warnings_as_lines(args.command):
            return args.run(args)
    except (InputError, UnknownKeywordError, MissingExtraError) as error:
        _say(f"mmaudit {args.command}: {_as_options(str(error), args.command)}")
        return BAD_INPUT
    except (Exception, KeyboardInterrupt) as error:
        # Interrupted while it is imported, a compiled module raises an ImportError of its own.
        if not received and not isinstance(error, KeyboardInterrupt):
            raise
        _say("mmaudit: interrupted. Nothing was left half-written: files appear only once they are complete.")
        return TERMINATED if signal.SIGTERM in received else INTERRUPTED


# The commands


def _audit(args: argparse.Namespace) -> int:
    out = _check_out(args.out, overwrite=args.overwrite)
    if args.image_root is not None and args.image is None:
        raise InputError("image_root", "--image beside it", "--image-root alone", "Name the column of paths too.")
    modalities = _check_modalities(args.modalities)

    import mmaudit as mma
    from mmaudit.metrics import as_metric

    metric = as_metric(args.metric)
    encoders = {
        modality: _encoder(modality, spec, column, args)
        for modality, spec, column in (
            ("image", args.image_encoder, args.image),
            ("report", args.report_encoder, args.report),
        )
        if spec is not None
    }
    sharded = "://" in args.table or Path(args.table).is_dir()
    if args.resume and not sharded:
        raise InputError("resume", "a folder of shards as TABLE", "one table", "Audit it anew: nothing of it is kept.")
    # Beside the results, which appear all at once.
    checkpoints = out.with_name(f"{out.name}.checkpoints") if sharded else None
    if checkpoints is not None:
        _check_writable(checkpoints.parent)
    with _engine(args):
        begun = time.perf_counter()
        data = _sharded_cases(args) if sharded else _cases(args, _table(args), _listed(args.metadata))
        read_s = time.perf_counter() - begun
        result = mma.audit(
            data,
            modalities=modalities,
            n_slices=args.n_slices,
            alpha=args.alpha,
            threshold=args.threshold,
            metric=metric.name,
            random_state=args.random_state,
            encoders=encoders or None,
            n_jobs=args.jobs,
            checkpoints=checkpoints,
            resume=args.resume,
            progress=not args.quiet,
        )
    _write(result, out, overwrite=args.overwrite, identifiers=args.identifiers)
    if checkpoints is not None:
        print(f"\n{_stage_table(read_s, result.settings['seconds'], result.settings['peak_bytes'])}")
        from mmaudit._checkpoints import remove_checkpoints

        remove_checkpoints(checkpoints)
    return DONE


@contextlib.contextmanager
def _engine(args: argparse.Namespace) -> Iterator[None]:
    """Work on the dask cluster that --dask names, or on this machine."""
    if args.dask is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError("mmaudit audit --dask", "distributed", "scale") from None
    import joblib

    try:
        client = Client(args.dask, timeout=DASK_PATIENCE_S)
    except (OSError, ValueError, TypeError) as error:  # a time-out is an OSError
        raise InputError(
            "dask",
            "the address of a dask scheduler, such as tcp://host:8786",
            f"{args.dask!r}, where none answers ({type(error).__name__})",
            "Start one with 'dask scheduler', and workers with 'dask worker ADDRESS'.",
        ) from None
    with client, joblib.parallel_config("dask"):
        yield


def _apply_rules(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    if out.is_dir() or (out.exists() and not args.overwrite):
        got = f"{args.out!r}, which is {'a folder' if out.is_dir() else 'there'}"
        raise InputError("out", "the name of a new file", got, "Give another name, or --overwrite.")
    _check_writable(out.parent)
    if (args.label is None) != (args.proba is None):
        raise InputError("label", "--label and --proba, or neither", "one of them", "Leave it out, or add the other.")

    from mmaudit._files import replacing
    from mmaudit.result import _no_formula
    from mmaudit.rules import apply_rules, load_rules, metadata_columns

    document = load_rules(args.rules)
    table = _table(args)
    # Unless they are named, the columns that the rules speak of.
    metadata = _listed(args.metadata) or [c for c in metadata_columns(document) if c in table.columns]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "patient_id:", AuditWarning)  # no patient is counted here
        data = _unlabelled_cases(args, table, metadata) if args.label is None else _cases(args, table, metadata)
    selected = apply_rules(document, data)
    ids = table.index if args.id is None else table[args.id]
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        written = selected.set_axis(map(_no_formula, ids), axis=0).rename(columns=_no_formula)
        written.astype(int).to_csv(partial, index_label="sample_id")
    targets = [] if args.label is None else data.targets(args.threshold)
    for rule in selected.attrs["rules"]:
        print(_selected_in_words(rule, selected[rule["slice_id"]].to_numpy(), targets))
    print(f"\nWhich samples each rule selects is in {out}, one column a rule.")
    return DONE


def _demo(args: argparse.Namespace) -> int:
    # In its own folder the demo replaces an earlier demo; a folder that was named may hold somebody's real audit.
    overwrite = args.overwrite or args.out is None
    out = _check_out(args.out or DEMO_FOLDER, overwrite=overwrite)

    import mmaudit as mma

    data: AuditData = mma.datasets.load_phantom(
        n_patients=args.patients, image_size=DEMO_IMAGE_PX, random_state=args.random_state
    )
    print(f"{data!r}\n")
    _write(mma.audit(data, random_state=args.random_state, progress=True), out, overwrite=overwrite)
    return DONE


def _lab(args: argparse.Namespace) -> int:
    if not args.copy_only and importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtraError("mmaudit lab", "jupyterlab", "lab")
    folder = Path(args.folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise InputError("out", "a folder", f"{args.folder!r}, which is a file", "Give another name.")

    from mmaudit.workshop import FIRST, prepare_lab, write_notebooks

    _check_writable(folder)
    for path in write_notebooks(folder, audience="instructor" if args.instructor else "learner"):
        _say(f"kept your {path}: it differs from the packaged one. To get that one, rename yours and run this again.")
    print(f"Notebooks are in {folder}; begin with {FIRST}.")
    if args.copy_only:
        return DONE
    options, variables = prepare_lab(folder)
    command = [sys.executable, "-m", "jupyterlab", FIRST, *options]
    # No question about news and no look for updates: nothing goes over the network unless the user asks for it.
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    if args.no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container everybody is root, and JupyterLab would refuse to start
    return _become([*command, *args.extra], folder, variables)


def _notebooks_html(args: argparse.Namespace) -> int:
    from mmaudit.workshop import write_site

    out = Path(args.out).expanduser()
    _check_writable(out.parent)
    write_site(out, execute=args.execute, progress=not args.quiet)
    print(f"The site is in {out}; open {out / 'index.html'} in a browser.")
    return DONE


def _phantom(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    _check_writable(out)

    from mmaudit.datasets import write_phantom

    write_phantom(
        out,
        n_patients=args.patients,
        image_size=args.image_size,
        random_state=args.random_state,
        label=args.label,
        bit_depth=args.bit_depth,
        layout=args.layout,
        progress=not args.quiet,
    )
    note = out / ("README" if args.layout == "mimic-cxr" else "README.txt")
    print(f"Wrote the phantom cases to {out}; {note} says what is in it.")
    return DONE


def _benchmark(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", f"{args.out!r}, which is a file", "Give another name.")
    begun = any((out / name).is_dir() for name in ("rows", "predictions"))  # networks are trained before rows are there
    if out.is_dir() and any(out.iterdir()) and not begun:
        raise InputError(
            "out",
            "a new or empty folder, or that of an earlier benchmark",
            f"{args.out!r}, which holds other files",
            "Give another name.",
        )
    _check_writable(out)

    from mmaudit import benchmark

    scenarios = args.scenario or benchmark.SCENARIOS
    slicers = args.slicer or benchmark.DEFAULT_SLICERS
    subsets = [tuple(_listed(text)) for text in args.modalities or []] or benchmark.SUBSETS
    benchmark.check_settings(
        scenarios=scenarios,
        half=args.half,
        n_seeds=args.seeds,
        subsets=subsets,
        slicers=slicers,
        n_jobs=args.jobs,
    )
    named = [text.partition(":")[::2] for text in args.source or ["phantom"]]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise InputError("source", "each source once", "one of them twice", "Leave one out.")
    sources = [benchmark.load_source(name, root or None) for name, root in named]
    cases, left_out = benchmark.make_cases(sources, scenarios=scenarios, half=args.half, n_seeds=args.seeds)
    if left_out:
        _say(
            f"left out {len(left_out)} of {len(cases) + len(left_out)} cases: fewer than {benchmark.LEAST_PLANTED} "
            f"samples or {benchmark.LEAST_PATIENTS} patients would be planted, or all of one label"
        )
    benchmark.run(
        cases,
        sources=sources,
        out=out,
        subsets=subsets,
        slicers=slicers,
        n_jobs=args.jobs,
        progress=not args.quiet,
    )
    print((out / "table.md").read_text(encoding="utf-8").rstrip())
    print(f"\nThe figure is {out / 'benchmark.png'}; the scores of every case are in benchmark.parquet beside it.")
    return DONE


def _benchmark_encoders(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", f"{args.out!r}, which is a file", "Give another name.")
    if out.is_dir() and any(out.iterdir()) and not (out / "encoders.csv").is_file():
        raise InputError(
            "out",
            "a new or empty folder, or that of an earlier benchmark of encoders",
            f"{args.out!r}, which holds other files",
            "Give another name.",
        )
    _check_writable(out)

    from mmaudit._files import replacing
    from mmaudit.encoders._throughput import measure_throughput, models_named
    from mmaudit.result import _for_spreadsheets, _write_text

    measured = measure_throughput(
        models_named(_listed(args.models)) if args.models is not None else None,
        n_images=args.n_images,
        side_px=args.side,
        repeats=args.repeats,
        images=args.images,
        progress=not args.quiet,
    )
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "encoders.csv") as partial:
        _for_spreadsheets(measured.table, measured.table.columns).to_csv(partial, index=False)
    text = measured.to_markdown()
    _write_text(out / "encoders.md", text)
    print(text.rstrip())
    print(f"\nThe numbers are in {out / 'encoders.csv'}; encoders.md beside it says what you see here.")
    return DONE


def _benchmark_scale(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", f"{args.out!r}, which is a file", "Give another name.")
    if out.is_dir() and any(out.iterdir()) and not (out / "runs").is_dir():
        raise InputError(
            "out",
            "a new or empty folder, or that of an earlier benchmark of scale",
            f"{args.out!r}, which holds other files",
            "Give another name.",
        )
    _check_writable(out)
    try:
        sizes = [float(text) for text in _listed(args.sizes)]
    except ValueError:
        raise InputError("sizes", "numbers such as 1e3,1e4", repr(args.sizes), "Separate with commas.") from None

    from mmaudit._files import replacing
    from mmaudit.result import _for_spreadsheets, _write_text
    from mmaudit.scale import measure_scale

    measured = measure_scale(
        sizes,
        _listed(args.engines),
        folder=out,
        encoding_size=args.encoding_size,
        repeats=args.repeats,
        random_state=args.random_state,
        quick=args.quick,
        progress=not args.quiet,
    )
    with replacing(out / "scale.csv") as partial:
        _for_spreadsheets(measured.table, measured.table.columns).to_csv(partial, index=False)
    with replacing(out / "scale.png") as partial:
        measured.plot().savefig(partial, format="png", dpi=150)
    text = measured.to_markdown()
    _write_text(out / "scale.md", text)
    print(text.rstrip())
    print(f"\nThe numbers are in {out / 'scale.csv'}; scale.md beside it says what you see here, scale.png shows it.")
    return DONE


def _cache(args: argparse.Namespace) -> int:
    from mmaudit import cache

    found = cache.entries()
    if args.clear is None:
        print(f"{cache.cache_dir()}\n")
        print(_as_table(found) if found else "It is empty.")
        return DONE
    removed = cache.clear(args.clear or None)
    print(f"removed from {cache.cache_dir()}:\n\n{_as_table(removed)}" if removed else "The cache is empty.")
    return DONE


def _train_clip(args: argparse.Namespace) -> int:
    out = Path(args.out).expanduser()
    _check_writable(out)

    from mmaudit.encoders._clip_training import train_clip

    size = {"n_patients": args.patients, "epochs": args.epochs}
    figures = train_clip(
        out,
        **{name: number for name, number in size.items() if number is not None},
        random_state=args.random_state,
        progress=not args.quiet,
    )
    print(_clip_figures(figures["test"]))
    print(f"\nThe model is in {out}; MODEL_CARD.md there says what it was trained on.")
    return DONE


# Reading and writing


def read_table(path: str | Path, *, text_columns: Sequence[str | None] = ()) -> pd.DataFrame:
    """Return the table in a file, rows numbered from 0.

    Parameters
    ----------
    path : path
        A file that ends in .csv or .tsv (also with .gz behind it) or in .parquet.
    text_columns : sequence of str or None
        Columns of a CSV or TSV file that are read as text, so that the id 007 stays 007. None entries are ignored.

    Raises
    ------
    InputError
        If the file is missing, has another ending, or does not hold such a table.
    """
    import pandas as pd

    from mmaudit._tables import error_name, read_csv, read_parquet

    path = Path(path)
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind not in ("csv", "tsv", "parquet") or path.name.lower().endswith(".parquet.gz"):
        raise InputError(
            "TABLE",
            "a file that ends in .csv, .csv.gz, .tsv, .tsv.gz or .parquet",
            f"the name {path.name or str(path)!r}",
            "Convert the table, for example with pandas: df.to_csv('cases.csv', index=False).",
        )
    if not path.is_file():
        got = "a folder" if path.is_dir() else f"{str(path)!r}, where there is none"
        raise InputError("TABLE", "a file", got, "Check the path and the current folder.")
    try:
        if kind == "parquet":
            table = read_parquet(path)
        else:
            texts = {column: str for column in text_columns if column is not None}
            separator = "\t" if kind == "tsv" else ","
            # low_memory=False: a column's type is decided once, from the whole column, not chunk by chunk
            table = read_csv(path, sep=separator, dtype=texts, encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError:
        raise InputError("TABLE", "text in UTF-8", "bytes that are not", "Save the table as UTF-8.") from None
    except PermissionError:
        raise InputError("TABLE", "a file you may read", "one you may not", "Change its permissions.") from None
    except pd.errors.EmptyDataError:
        raise InputError("TABLE", "a header and rows", "an empty file", "Export the table again.") from None
    except pd.errors.ParserError as error:
        raise InputError(
            "TABLE",
            "the same number of fields in every row",
            f"a {kind} file that breaks this ({' '.join(str(error).split())})",
            "Quote texts that hold the separator or a line break.",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            "TABLE", f"a whole {kind} file", f"one that cannot be read ({error_name(error)})", "Export it again."
        ) from None
    if kind == "csv" and table.shape[1] == 1 and ";" in str(table.columns[0]):
        raise InputError(
            "TABLE",
            "fields separated by commas",
            "one column with semicolons in its name",
            "Export it with commas, or with tabs and the ending .tsv.",
        )
    return table.reset_index(drop=table.index.names == [None])


def _table(args: argparse.Namespace) -> pd.DataFrame:
    return read_table(args.table, text_columns=(args.patient, args.id, args.image, args.report))


def _cases(args: argparse.Namespace, table: pd.DataFrame, metadata: Sequence[str]) -> AuditData:
    """Return the cases of a table, in the columns that the options name."""
    return _from_frame(args, table, metadata=metadata, **_predictions(args, list(table.columns)))


def _sharded_cases(args: argparse.Namespace) -> AuditData:
    """Return the cases of a folder of shards, in the columns that the options name."""
    from mmaudit.data import AuditData
    from mmaudit.shards import column_names

    return AuditData.from_shards(
        args.table,
        image=args.image,
        image_root=args.image_root,
        report=args.report,
        metadata=_listed(args.metadata),
        name=_stem(args.table.rstrip("/")),
        n_jobs=args.jobs,
        progress=not args.quiet,
        **_predictions(args, column_names(args.table)),
    )


def _predictions(args: argparse.Namespace, columns: Sequence[str]) -> dict[str, Any]:
    """Return the roles of labels, probabilities and ids, in columns that the options name."""
    labels, probas = _columns(args.label, columns), _columns(args.proba, columns)
    if not probas:
        raise InputError("y_proba", "a column, or several", "nothing", "Separate with commas.")
    classes = _listed(args.classes) or None
    if classes and (len(labels) > 1 or len(probas) == 1):
        raise InputError(
            "label_name",
            "one --label of classes, and a column of --proba for each",
            f"{len(labels)} of --label and {len(probas)} of --proba",
            "Leave --classes out, or name the column of each class.",
        )
    return {
        "label": labels,
        "y_proba": probas,
        "label_name": classes,
        "patient_id": args.patient,
        "sample_id": args.id,
    }


def _unlabelled_cases(args: argparse.Namespace, table: pd.DataFrame, metadata: Sequence[str]) -> AuditData:
    """Return cases of a table without labels; those that they have mean nothing."""
    import numpy as np
    import pandas as pd

    # Cases have both labels, even if they are one: the last row is taken twice for that, and dropped again.
    twice = pd.concat([table, table.tail(1)], ignore_index=True)
    label = "-".join(["no label", *map(str, table.columns)])  # a name that no column has
    twice[label] = (np.arange(len(twice)) == len(table)).astype(int)
    data = _from_frame(args, twice, label=label, patient_id=label, metadata=metadata)
    return data.subset(np.arange(len(table)))


def _from_frame(args: argparse.Namespace, table: pd.DataFrame, **roles: Any) -> AuditData:
    from mmaudit.data import AuditData

    return AuditData.from_frame(
        table, image=args.image, image_root=args.image_root, report=args.report, name=_stem(args.table), **roles
    )


def _encoder(modality: str, spec: str, column: str | None, args: argparse.Namespace) -> PretrainedEncoder:
    """Return the encoder that `spec` names, before the table is read: its model is on this machine, or may be fetched.

    An error is about the option, whatever the encoder calls the argument.
    """
    option = f"--{modality}-encoder"
    if column is None:
        raise InputError(option, f"--{modality} beside it", "none", f"Name the column of {modality}s too.")

    from mmaudit.encoders._spec import encoder_from

    try:
        encoder = encoder_from(spec, allow_download=args.allow_download, progress=not args.quiet)
        encoder._identity()
        takes = encoder.modalities
    except InputError as error:
        error.args = (str(error).replace(error.argument, option, 1),)
        raise
    if modality not in takes:
        raise InputError(option, f"an encoder of {modality}s", f"one of {' and '.join(takes)}s", "Choose another.")
    return encoder


def _check_out(out: str, *, overwrite: bool) -> Path:
    """Return the folder that results go to, after checking that they can; nothing is made yet."""
    from mmaudit.result import check_folder

    folder = Path(out).expanduser()
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(
            "out", "a new or empty folder", f"{out!r}, which holds files", "Give another name, or --overwrite."
        )
    check_folder(folder, overwrite=overwrite)
    return folder


def _check_writable(folder: Path) -> None:
    """Raise unless `folder` can be made, or written to if it is there. Tries it, since permissions alone mislead."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".mmaudit-", dir=there):
            pass
    except OSError as error:
        raise InputError(
            "out",
            "a place that can be written to",
            f"{str(folder)!r}, which cannot ({error.strerror or type(error).__name__})",
            "Give a folder of your own.",
        ) from None


def _write(result: AuditResult, out: Path, *, overwrite: bool, identifiers: bool = False) -> None:
    result.to_folder(out, overwrite=overwrite, identifiers=identifiers)
    print(result.to_text().rstrip())
    print(f"\nThe report is {out / 'report.html'}; the tables lie beside it.")


def _become(command: list[str], folder: Path, variables: dict[str, str]) -> int:
    """Let `command` take the place of this process in `folder`, so that Ctrl-C and signals reach it alone.

    The variables are paths, put before those that the environment has.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    paths = {name: os.pathsep.join(filter(None, (path, os.environ.get(name)))) for name, path in variables.items()}
    environment = os.environ | paths
    if os.name == "posix":
        os.chdir(folder)
        os.execve(command[0], command, environment)
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


# Words


def _stage_table(read_s: float, seconds: dict[str, float], peak_bytes: dict[str, int]) -> str:
    """Return what each stage took: seconds, and the memory of this process and its workers here."""
    rows = [("read", read_s, 0), *((stage, s, peak_bytes.get(stage, 0)) for stage, s in seconds.items())]
    rows.append(("in all", read_s + sum(seconds.values()), max(peak_bytes.values(), default=0)))
    lines = [f"{'stage':<12}{'seconds':>10}{'peak memory':>14}"]
    lines += [f"{stage:<12}{s:>10,.1f}{_size(peak) if peak else '':>14}" for stage, s, peak in rows]
    return "\n".join(lines)


def _as_table(found: Sequence[Any]) -> str:
    """Return entries of the cache as lines: name, number, size, what they are."""
    rows = [(entry.name, f"{entry.n_items:,}", _size(entry.n_bytes), entry.description) for entry in found]
    n_items, n_bytes = sum(entry.n_items for entry in found), sum(entry.n_bytes for entry in found)
    rows = [("NAME", "NUMBER", "SIZE", ""), *rows, ("total", f"{n_items:,}", _size(n_bytes), "")]
    name, number, size = (max(len(row[k]) for row in rows) for k in range(3))
    return "\n".join(f"{a:<{name}}  {b:>{number}}  {c:>{size}}  {d}".rstrip() for a, b, c, d in rows)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:,.1f} kB"


def _clip_figures(test: dict[str, Any]) -> str:
    """Return what `train_clip` measured on the test patients, one line a figure."""
    retrieval = test["retrieval"]
    rows = [
        (f"{which}: the right one of {retrieval['n_studies']:,} among the first ten", "recall_at_10", retrieval[which])
        for which in ("image to report", "report to image")
    ]
    rows += [(name, "auroc", figure) for name, figure in test["zero-shot"].items()]
    width = max(len(what) for what, _, _ in rows)
    lines = [
        f"  {what:<{width}}  "
        + ("-" if figure[key] is None else f"{figure[key]:.2f} [{figure['ci'][0]:.2f}, {figure['ci'][1]:.2f}]")
        for what, key, figure in rows
    ]
    chance = f"(chance {retrieval['chance']:.3f})"
    heads = (f"On test patients, share of queries with 95 % interval {chance}:", "AUROC, asked by name:")
    return "\n".join([heads[0], *lines[:2], heads[1], *lines[2:]])


def _selected_in_words(rule: dict[str, Any], inside: np.ndarray, targets: Sequence[Target]) -> str:
    """Return how many samples a rule selects and, where it can be known, how often the classifier is wrong there."""
    words = f"{rule['slice_id']}  {inside.sum():,} of {len(inside):,} samples: {rule['description']}"
    words += "" if rule["confirmed"] else " (not confirmed)"
    target = next((t for t in targets if t.name == rule["target"]), targets[0] if len(targets) == 1 else None)
    if target is None:
        return words

    from mmaudit.confirm import slice_metrics

    n, _, _, within, without, _ = slice_metrics(inside, rule["label"], target, target.y_true)
    who = {0: f" without {target.name}", 1: f" with {target.name}", None: ""}[rule["label"]]
    if within != within:
        return f"{words}\n     of the {n:,} samples{who} or of the others there are too few to compare errors"
    others = f"{100 * without:.0f} % of the others" + (" at the same mix of labels" if rule["label"] is None else "")
    return f"{words}\n     wrong on {100 * within:.0f} % of its {n:,} samples{who}, against {others}"


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _columns(text: str, columns: Sequence[str]) -> list[str]:
    """Return the names in `text`, separated by commas; one name, if a column has commas in its own."""
    return [text] if text in columns else _listed(text)


def _stem(path: str) -> str:
    return Path(path).name.partition(".")[0]


def _check_modalities(text: str) -> str | tuple[str, ...]:
    from mmaudit.data import MODALITIES

    chosen = tuple(_listed(text))
    if chosen == ("auto",):
        return "auto"
    unknown = [word for word in chosen if word not in MODALITIES]
    if unknown or not chosen:
        got = repr(unknown[0]) if unknown else "nothing"
        hint = nearest(unknown[0], MODALITIES) if unknown else ""
        raise InputError("modalities", f"auto, or some of {', '.join(MODALITIES)}", got, f"Separate with commas.{hint}")
    return chosen


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _as_options(message: str, command: str) -> str:
    """Return a message that begins with an argument's Python name with the name it has on the command line."""
    message = message.replace("allow_download=True", "--allow-download")
    argument, colon, rest = message.partition(":")
    by_option = ("audit", "demo", "apply-rules", BENCHMARK_SCALE)
    out = "FOLDER" if command == "lab" else "--out" if command in by_option else "OUT"
    option = (OPTIONS | {"out": out}).get(argument.partition("[")[0])
    return message if option is None else option + colon + rest


@contextlib.contextmanager
def _signals_noted(received: list[int]) -> Iterator[None]:
    """Turn SIGTERM, which schedulers send, into KeyboardInterrupt as well, and add what came to `received`."""

    def interrupt(number: int, _: Any) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _warnings_as_lines(command: str) -> Iterator[None]:
    """Print each warning once, as one line without the name of a source file."""
    said = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        line = f"warning: {_as_options(' '.join(str(message).split()), command)}"
        if line not in said:
            said.add(line)
            _say(line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", AuditWarning)
        warnings.showwarning = show
        yield


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors also name the option nearest to an unknown one."""

    given: Sequence[str] = ()

    def __init__(self, **kwargs: Any) -> None:
        # Abbreviations are off: a script that relies on one breaks as soon as a second option begins like it.
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        known = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        for word in self.given:
            option = word.partition("=")[0]
            if option.startswith("--") and option[2:] not in known:
                hint = nearest(option[2:], known).replace("'", "'--", 1)
                message += f"\n{self.prog}: {option} is not an option.{hint}"
        super().error(message)

    def parse_args(self, args=None, namespace=None):
        # argparse lets the outer parser report what a command did not know: let the command itself do it, since
        # its options are the ones to hint at.
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parsed.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed


def _add_reading_options(command: _Parser, *, labelled: bool) -> None:
    """Add what says where the cases are in a table; labels and probabilities must be named if it is `labelled`."""
    shards = "; or a folder of .parquet files, with embeddings beside them" if labelled else ""
    command.add_argument(
        "table", metavar="TABLE", help=f"a .csv, .csv.gz, .tsv or .parquet file, one row a sample{shards}"
    )
    command.add_argument(
        "--label",
        required=labelled,
        metavar="A[,B]",
        help="labels, 0 or 1; several columns are several labels, empty where one is not known",
    )
    command.add_argument(
        "--proba",
        required=labelled,
        metavar="A[,B]",
        help="predicted probability of label 1, in [0, 1]; of each label; or of each class",
    )
    command.add_argument("--classes", metavar="A,B,C", help="what the classes 0, 1, 2, ... of --label are called")
    command.add_argument("--patient", metavar="COLUMN", help="which samples belong to one patient; give it if you can")
    command.add_argument("--id", metavar="COLUMN", help="unique names of the samples (default: the number of the row)")
    command.add_argument("--image", metavar="COLUMN", help="paths of images")
    command.add_argument(
        "--image-root", metavar="DIR", help="folder, .zip file or URL that all images lie in; paths are relative to it"
    )
    command.add_argument("--report", metavar="COLUMN", help="report texts")
    command.add_argument("--metadata", metavar="A,B,C", help="columns of metadata, separated by commas")


def _parser(given: Sequence[str]) -> _Parser:
    top = _Parser(
        prog="mmaudit",
        description="Finds the patients a medical image classifier fails on: discovers slices from images, reports\n"
        "and metadata, confirms them on held-out patients, says them in words. Not for clinical use.",
        epilog="Begin with 'mmaudit demo'. 'mmaudit COMMAND --help' explains a command.",
    )
    top.add_argument("--version", action="version", version=f"mmaudit {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Any, summary: str, *, description: str, epilog: str) -> _Parser:
        command = commands.add_parser(name, help=summary, description=description, epilog=epilog)
        command.set_defaults(run=run, parser=command)
        command.given = given
        return command

    audit = add(
        "audit",
        _audit,
        "audit a table of cases with labels and predicted probabilities",
        description="""\
Finds groups of cases on which a classifier fails, and checks each on patients it has not looked at.
TABLE has one row a sample: a label (0 or 1), the probability of 1 that the classifier gave, and what else
is known: the patient, the path of the image, the report, metadata. What is not named is not used. Several labels are
audited together. A label of classes (0, 1, 2, ...) comes with the probability of each.""",
        epilog=f"""\
examples:
  mmaudit audit cases.csv --label effusion --proba p_effusion --patient patient_id \\
      --report report --metadata view,sex,age --out effusion-audit
  mmaudit audit cases.csv --label effusion,oedema --proba p_effusion,p_oedema --patient patient_id --report report
  mmaudit audit cases.csv --label diagnosis --proba p0,p1,p2 --classes normal,pneumonia,nodule --patient patient_id \\
      --metadata view,sex,age
  mmaudit audit cases.csv --label effusion --proba p_effusion --patient patient_id --image path --image-root films \\
      --image-encoder hf:microsoft/rad-dino

an encoder SPEC is one of:
  phantom-clip                    the small network of this package, trained on phantoms; images and reports
  open_clip:NAME[:PRETRAINED]     open_clip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224
  hf:NAME                         hf:microsoft/rad-dino, hf:emilyalsentzer/Bio_ClinicalBERT
  xrv:WEIGHTS                     xrv:densenet121-res224-all
  a folder with a model of open_clip or transformers, or the .safetensors file of a classifier of this package
What a network gives is kept: 'mmaudit cache' shows it. Nothing is fetched without --allow-download.

many cases:
  mmaudit audit shards --label effusion --proba p_effusion --patient patient_id --report report --out effusion-audit
  A folder of shards holds tables part-00000.parquet, part-00001.parquet, ... and beside each, where there are
  embeddings, part-00000.image.npy. It is read by worker processes, a shard at a time. What is finished is kept in
  effusion-audit.checkpoints until the end: after an interruption, the same command goes on with --resume.

what comes out:
  the findings as sentences, and in the folder --out:
  report.html         everything on one page, works offline
  findings.csv        slices confirmed on held-out patients
  candidates.csv      all slices that were tried, since all of them count
  membership.parquet  how strongly each sample belongs to each slice
  result.json         the same for mmaudit.load_result()
  rules.json          slices that can be said as rules, for 'mmaudit apply-rules' and mmaudit.apply_rules()

{EXIT_CODES}""",
    )
    _add_reading_options(audit, labelled=True)
    audit.add_argument("--image-encoder", metavar="SPEC", help="network that embeds images (default: none is needed)")
    audit.add_argument("--report-encoder", metavar="SPEC", help="network that embeds reports (default: none is needed)")
    audit.add_argument("--allow-download", action="store_true", help="fetch a network that is not on this machine")
    audit.add_argument(
        "--modalities",
        default="auto",
        metavar="M,M",
        help="some of image,report,metadata (default: auto, all that the table has)",
    )
    audit.add_argument("--n-slices", type=int, default=10, metavar="N", help="slices to look for (default: 10)")
    audit.add_argument("--alpha", type=float, default=0.05, metavar="A", help="false discovery rate (default: 0.05)")
    audit.add_argument(
        "--threshold", type=float, default=0.5, metavar="T", help="probability from which 1 is predicted (default: 0.5)"
    )
    audit.add_argument(
        "--metric",
        default="error_rate",
        metavar="NAME",
        help="what is compared on the held-out patients: error_rate (the default), sensitivity, specificity, auroc, "
        "brier or calibration_error",
    )
    audit.add_argument("--random-state", type=int, default=0, metavar="N", help="seed; same seed, same answer")
    audit.add_argument("--out", default="mmaudit-audit", metavar="DIR", help="folder to write (default: mmaudit-audit)")
    audit.add_argument("--quiet", action="store_true", help="no progress bars")
    audit.add_argument("--overwrite", action="store_true", help="replace an earlier audit in --out")
    audit.add_argument("--identifiers", action="store_true", help="sample ids in the report, instead of numbers")
    audit.add_argument("--jobs", type=int, metavar="N", help="worker processes for many cases (default: all cores)")
    audit.add_argument("--dask", metavar="ADDRESS", help="work on the cluster of this dask scheduler, tcp://host:8786")
    audit.add_argument("--resume", action="store_true", help="go on with an audit of shards that was interrupted")

    rules = add(
        "apply-rules",
        _apply_rules,
        "find the subgroups of an audit in other cases",
        description="""\
Says which cases of a table the rules of an audit select. RULES is the file rules.json; TABLE has the columns, the
images or the reports that the rules speak of. With labels and probabilities, says how often the classifier is wrong
there and elsewhere. Those numbers are no test: what is confirmed, an audit confirms.""",
        epilog=f"""\
examples:
  mmaudit apply-rules effusion-audit/rules.json new-cases.csv --report report
  mmaudit apply-rules effusion-audit/rules.json new-cases.csv --label effusion --proba p_effusion --id image \\
      --image path --image-root films --report report --out subgroups.csv

what comes out:
  a line a rule, and a table: sample_id, and a column a rule with 1 for the samples that it selects

{EXIT_CODES}""",
    )
    rules.add_argument("rules", metavar="RULES", help="rules.json of an audit")
    _add_reading_options(rules, labelled=False)
    rules.add_argument(
        "--threshold", type=float, default=0.5, metavar="T", help="probability from which 1 is predicted (default: 0.5)"
    )
    rules.add_argument("--out", default="subgroups.csv", metavar="FILE", help="table to write (default: subgroups.csv)")
    rules.add_argument("--overwrite", action="store_true", help="replace the file --out")

    demo = add(
        "demo",
        _demo,
        "audit made-up cases in which failures were planted",
        description="""\
Makes phantom patients with images, reports and metadata, and a simulated reader who fails on some of them in
planted ways; then audits that reader. Needs no data, no network and no GPU.""",
        epilog=f"""\
example:
  mmaudit demo --out demo-audit

what comes out:
  the findings as sentences, and the same six files as from 'mmaudit audit'

{EXIT_CODES}""",
    )
    demo.add_argument("--out", metavar="DIR", help=f"folder to write (default: {DEMO_FOLDER}, replaced if it is there)")
    demo.add_argument("--patients", type=int, default=400, metavar="N", help="number of patients (default: 400)")
    demo.add_argument("--random-state", type=int, default=0, metavar="N", help="seed; same seed, same answer")
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier audit in --out")

    lab = add(
        "lab",
        _lab,
        "open the notebooks in JupyterLab",
        description="""\
Copies the notebooks of the package to FOLDER and opens JupyterLab on the first one, the table of contents beside it.
Solutions of exercises are folded away, to be opened by a click. A file that is already in FOLDER is never overwritten:
what you changed stays as you left it. Needs: pip install "mmaudit[lab]".""",
        epilog=f"""\
examples:
  mmaudit lab my-notebooks
  mmaudit lab my-notebooks --no-browser -- --port 9999
  mmaudit lab to-teach --instructor

what comes out:
  the notebooks in FOLDER, and a server that runs until Ctrl-C

{EXIT_CODES}""",
    )
    lab.add_argument(
        "folder",
        nargs="?",
        default="mmaudit-notebooks",
        metavar="FOLDER",
        help="where to copy them (default: mmaudit-notebooks)",
    )
    lab.add_argument(
        "--instructor", action="store_true", help="for who teaches: solutions as cells that run, and notes on teaching"
    )
    lab.add_argument("--no-browser", action="store_true", help="print the address, open no browser")
    lab.add_argument("--copy-only", action="store_true", help="copy the notebooks and start nothing")

    site = add(
        "notebooks-html",
        _notebooks_html,
        "write the notebooks as web pages",
        description="""\
Runs the notebooks of the package, each in a fresh kernel, and writes them as web pages with all that they put out.
Solutions are folded away, notes on teaching left out, widgets shown by the tables they leave. The pages ask no other
host for anything. Needs: pip install "mmaudit[lab]", and what the notebooks need.""",
        epilog=f"""\
examples:
  mmaudit notebooks-html site
  mmaudit notebooks-html site --no-execute

what comes out:
  the folder OUT, with index.html and a page a notebook; nothing if one of them fails, which is named

{EXIT_CODES}""",
    )
    site.add_argument("out", metavar="OUT", help="folder to write; an earlier site in it is replaced")
    site.add_argument(
        "--execute",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to run the notebooks (default: yes); not run, pages show text and code alone",
    )
    site.add_argument("--quiet", action="store_true", help="no progress bar")

    phantom = add(
        "phantom",
        _phantom,
        "write made-up cases as files, to try your own code on",
        description="""\
Writes phantom patients to a new folder: images, reports, metadata, labels, the probabilities of a simulated reader
who fails in planted ways, and the ground truth. Made by this package from a seed; nobody's data.""",
        epilog=f"""\
examples:
  mmaudit phantom phantom-cases --patients 100
  mmaudit phantom phantom-mimic --patients 100 --layout mimic-cxr

what comes out, with the layout plain:
  images/     one PNG a sample
  masks/      where each finding and device is drawn, one 16-bit PNG a sample
  table.csv   one row a sample, ready for 'mmaudit audit'
  truth.csv   what is drawn, and what the reports say of it
  README.txt  where the failures were planted, and the command that audits the table
with the layout mimic-cxr:
  the files of MIMIC-CXR-JPG 2.0.0 (tables as csv.gz, JPEG images, reports), hosp/patients.csv.gz of MIMIC-IV, and
  phantom-truth/ beside them; mmaudit.datasets.load_mimic_cxr reads it

{EXIT_CODES}""",
    )
    phantom.add_argument("out", metavar="OUT", help="folder to write, new or empty")
    phantom.add_argument("--patients", type=int, default=400, metavar="N", help="number of patients (default: 400)")
    phantom.add_argument("--image-size", type=int, default=224, metavar="PX", help="side of an image (default: 224)")
    phantom.add_argument("--random-state", type=int, default=0, metavar="N", help="seed; same seed, same files")
    phantom.add_argument("--label", default="Pleural effusion", metavar="FINDING", help="what the label is")
    phantom.add_argument("--bit-depth", type=int, default=8, choices=(8, 16), help="of the images (default: 8)")
    phantom.add_argument("--layout", default="plain", choices=("plain", "mimic-cxr"), help="how the files are laid out")
    phantom.add_argument("--quiet", action="store_true", help="no progress bar")

    benchmark = add(
        "benchmark",
        _benchmark,
        "plant failures and see which slicer finds them",
        description="""\
Plants failures in a classifier: a rare slice, a spurious correlation, noisy labels. Then lets each slicer search
each subset of image, report and metadata on some patients, and scores it on the others. Predictions are drawn on
real data (covid, openi), or come from networks trained on phantoms. Run again on the same OUT, it goes on where it
was.""",
        epilog=f"""\
examples:
  mmaudit benchmark scores --seeds 2
  mmaudit benchmark scores --source covid:covid-chestxray-dataset --source openi --jobs 2
  mmaudit benchmark scores --source openi --slicer mmaudit --slicer domino --modalities report --modalities metadata

what comes out:
  table.md            precision at 10 with 95 % intervals, and what was confirmed
  benchmark.png       the same as a figure
  benchmark.parquet   one row a case, subset and slicer
  rows/               the same, a file a case; predictions/ holds those of trained networks

{EXIT_CODES}""",
    )
    benchmark.add_argument("out", metavar="OUT", help="folder to write, new or of an earlier benchmark")
    benchmark.add_argument(
        "--source",
        action="append",
        metavar="S",
        help="phantom (default), openi, openi:FOLDER or covid:FOLDER; may be repeated",
    )
    benchmark.add_argument(
        "--half",
        default="report",
        metavar="HALF",
        help="report (default), or tune: other attributes and seeds, to choose settings on",
    )
    benchmark.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds of each attribute (default: 5)")
    benchmark.add_argument(
        "--slicer",
        action="append",
        metavar="NAME",
        help="mmaudit, domino, concatenated, kmeans (default: these) or sliceline; may be repeated",
    )
    benchmark.add_argument(
        "--modalities", action="append", metavar="M,M", help="a subset to search (default: all seven); may be repeated"
    )
    benchmark.add_argument(
        "--scenario",
        action="append",
        metavar="NAME",
        help="rare, correlation, noisy or null (default: all); may be repeated",
    )
    benchmark.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    benchmark.add_argument("--quiet", action="store_true", help="no progress bar")

    encoders = add(
        BENCHMARK_ENCODERS,
        _benchmark_encoders,
        "time the encoders beside bare loops over the same networks",
        description="""\
Times the encoders of this package beside what one writes without it: open a file, apply the library's own transform,
run the network, at the batch size that is best on this machine. Both in one run, taking turns, on JPEG films that are
made for it. Networks have the size of real ones and random weights, on which time does not depend: nothing is
fetched. Runs on the CPU. A folder called encoders for 'mmaudit benchmark' is ./encoders.""",
        epilog=f"""\
examples:
  mmaudit benchmark encoders
  mmaudit benchmark encoders speed --models small-cnn,vit-small-16 --n-images 256 --repeats 5
  mmaudit benchmark encoders speed --images films

models:
  images: clip-vit-b-32, vit-small-16, xrv-densenet121, small-cnn, phantom-clip; reports: bert-4-layers

what comes out:
  encoders.csv  samples a second, ratio, batch sizes and memory, one row a model
  encoders.md   the same to read, which is also printed

{EXIT_CODES}""",
    )
    encoders.add_argument(
        "out",
        nargs="?",
        default=ENCODERS_FOLDER,
        metavar="OUT",
        help=f"folder to write, new or of an earlier such benchmark (default: {ENCODERS_FOLDER})",
    )
    encoders.add_argument("--models", metavar="A,B", help="which models (default: all whose packages are installed)")
    encoders.add_argument("--n-images", type=int, default=96, metavar="N", help="films, or reports (default: 96)")
    encoders.add_argument("--side", type=int, default=1024, metavar="PX", help="side of the films (default: 1024)")
    encoders.add_argument("--images", metavar="DIR", help="a folder of grey JPEG files to use instead of made ones")
    encoders.add_argument("--repeats", type=int, default=3, metavar="N", help="passes of each side (default: 3)")
    encoders.add_argument("--quiet", action="store_true", help="no progress bar")

    scale = add(
        BENCHMARK_SCALE,
        _benchmark_scale,
        "measure what an audit costs from 1,000 samples to 1,000,000",
        description="""\
Simulates cohorts of 1,000 to 1,000,000 samples of 512 dimensions, with reports, and audits each on this machine: by
processes of its own, and on a local dask cluster. Says seconds and peak memory by stage, the cost of a sample, and what
that comes to for 1e8 samples on a cluster, with its arithmetic. The default takes hours, and 3 GB on the disk. Run
again on the same OUT, it goes on where it was. A folder called scale for 'mmaudit benchmark' is ./scale. Engine dask
needs: pip install "mmaudit[scale]".""",
        epilog=f"""\
examples:
  mmaudit benchmark scale --sizes 1e3,1e4
  mmaudit benchmark scale --out cost --sizes 1e4,1e5,377110 --engines local
  mmaudit benchmark scale --out try --sizes 1e3 --encoding-size 1e3 --repeats 1 --quick

what comes out, in the folder --out:
  scale.md   seconds and memory by stage, goals, and the extrapolation, which is also printed
  scale.csv  one row a cohort and engine
  scale.png  cost of a sample against the number of samples
  runs/      each measurement, made once; cohorts/ holds the simulated shards, which may be removed

{EXIT_CODES}""",
    )
    scale.add_argument(
        "--out",
        default=SCALE_FOLDER,
        metavar="DIR",
        help=f"folder to write, new or of an earlier such benchmark (default: {SCALE_FOLDER})",
    )
    scale.add_argument(
        "--sizes", default="1e3,1e4,1e5,1e6", metavar="N,N", help="samples of each cohort (default: 1e3,1e4,1e5,1e6)"
    )
    scale.add_argument(
        "--engines", default="local,dask", metavar="E,E", help="local, dask (default: both), separated by commas"
    )
    scale.add_argument(
        "--encoding-size",
        type=float,
        default=1e5,
        metavar="N",
        help="samples that are encoded on 1 and on 2 workers of dask (default: 1e5)",
    )
    scale.add_argument("--repeats", type=int, default=3, metavar="N", help="times that this is done (default: 3)")
    scale.add_argument("--random-state", type=int, default=0, metavar="N", help="seed of cohorts and audits")
    scale.add_argument("--quick", action="store_true", help="few refits and permutations, to see that it works")
    scale.add_argument("--quiet", action="store_true", help="no progress bar")

    cache = add(
        "cache",
        _cache,
        "show or remove what is kept so that it need not be computed again",
        description="""\
Shows the folder of what can be computed again: embeddings by model and content, digests of image files, films of
phantoms. Embeddings come from the images and reports of patients: keep them as you keep those. The folder is the one
that the environment variable MMAUDIT_CACHE names, else mmaudit in your cache folder.""",
        epilog=f"""\
examples:
  mmaudit cache
  mmaudit cache --clear
  mmaudit cache --clear phantom digests

what comes out:
  the folder and its entries, with number and size; with --clear, those that were removed

{EXIT_CODES}""",
    )
    cache.add_argument(
        "--clear", nargs="*", metavar="NAME", help="remove these entries, as the list names them; all if none is named"
    )

    clip = add(
        "train-clip",
        _train_clip,
        "train the small joint network of images and reports on phantoms",
        description="""\
Trains a small CLIP of phantom films and their reports. The one that comes with this package, phantom-clip, was
trained by this command. Interrupted and run again on the same OUT, it goes on where it was. Needs:
pip install "mmaudit[torch,clip]".""",
        epilog=f"""\
example:
  mmaudit train-clip my-clip --patients 500 --epochs 10

what comes out:
  the folder OUT, with weights, vocabulary, figures.json and MODEL_CARD.md; 'mmaudit audit --image-encoder OUT' uses it

{EXIT_CODES}""",
    )
    clip.add_argument("out", metavar="OUT", help="folder to write, new or empty")
    clip.add_argument("--patients", type=int, metavar="N", help="patients to train on (default: as phantom-clip)")
    clip.add_argument("--epochs", type=int, metavar="N", help="passes over them (default: as phantom-clip)")
    clip.add_argument("--random-state", type=int, default=0, metavar="N", help="seed")
    clip.add_argument("--quiet", action="store_true", help="no progress bar")
    top.given = given[:1]  # what follows the name of a command is the command's to judge
    return top


if __name__ == "__main__":
    sys.exit(main())
