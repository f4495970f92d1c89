"""What an audit found: frames to work with, one file to keep, and pictures made from one summary."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError

__all__ = ["COLUMNS", "AuditResult", "candidate_frame", "load_result"]

COLUMNS = (
    "slice_id",
    "description",
    "rule",
    "error_type",
    "modality",
    "n_samples",
    "n_patients",
    "metric_inside",
    "metric_outside",
    "gap",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "stability",
    "confirmed",
)
MORE_COLUMNS = (
    "label",
    "slicer",
    "sentence",
    "already_told",
    "discovery_n_samples",
    "discovery_n_patients",
    "discovery_metric_inside",
    "discovery_metric_outside",
    "discovery_gap",
)
_TEXT_COLUMNS = (*COLUMNS[: COLUMNS.index("n_samples")], "label", "slicer", "sentence")
DETECTABLE_COLUMNS = ("label", "n_patients", "share", "gap")
SCHEMA = 1
INLINE_CELLS = 20_000  # a larger membership goes to a parquet file beside the JSON
MEMBERS_SHOWN = 12


class AuditResult:
    """The slices of an audit.

    Attributes
    ----------
    candidates : DataFrame, one row a slice
        All slices taken to confirmation, ranked on discovery samples. The columns n_samples to q_value, and
        confirmed, are of the confirmation samples; those of the discovery samples start with "discovery_".
        `already_told`: share of the errors in the slice, on confirmation samples, that lie in confirmed slices with
        better ranks; a slice with most of them there is the same failure in other words.
    findings : DataFrame
        The confirmed candidates, in the same order.
    membership : DataFrame of shape (n_samples, n_candidates), float32 in [0, 1]
        Strength of membership, columns in the order of `candidates`; 0.5 and above is a member.
    samples : DataFrame of shape (n_samples, 4)
        Part ("discovery" or "confirmation"), y_true, y_proba, wrong; like `membership`, indexed by sample id.
    traits : dict of slice_id to list of dict
        What sets each slice apart on discovery samples: phrase, kind, share_inside, share_outside.
    rules : dict of slice_id to list of dict
        Rules as column, operator and value, for slices that have one.
    detectable : DataFrame with columns label, n_patients, share, gap
        Smallest gap that would have been confirmed with 80 % power, by slice size, among cases of label 1 and 0.
    quarantine : DataFrame with columns sample_id, reason
        Images that could not be read.
    warnings : list of str
        What weakens the audit.
    settings, data_summary : dict
    """

    def __init__(
        self,
        *,
        candidates: pd.DataFrame,
        membership: pd.DataFrame,
        samples: pd.DataFrame,
        traits: Mapping[str, list[dict]],
        rules: Mapping[str, list[dict]],
        detectable: pd.DataFrame,
        quarantine: pd.DataFrame,
        data_summary: Mapping[str, Any],
        settings: Mapping[str, Any],
        warnings: Sequence[str],
        thumbnails: Sequence[bytes | None] | None = None,
    ) -> None:
        self.candidates = candidates
        self.membership = membership
        self.samples = samples
        self.traits = dict(traits)
        self.rules = dict(rules)
        self.detectable = detectable
        self.quarantine = quarantine
        self.data_summary = dict(data_summary)
        self.settings = dict(settings)
        self.warnings = list(warnings)
        self._thumbnails = self._keep_thumbnails(thumbnails)

    @property
    def findings(self) -> pd.DataFrame:
        """The confirmed candidates; every number is of the confirmation samples unless its name says discovery."""
        return self.candidates[self.candidates["confirmed"]].reset_index(drop=True)

    @property
    def headline(self) -> str:
        """One sentence: how many candidates were confirmed, on how many patients."""
        n, found = len(self.candidates), int(self.candidates["confirmed"].sum())
        on = f"{self.data_summary['n_confirmation_patients']:,} held-out patients"
        if n == 0:
            return "Nothing found: no group of discovery samples has more errors than the rest."
        if found == 0:
            return f"Nothing confirmed: none of {n} candidate slices holds on {on}."
        verb = "is" if found == 1 else "are"
        return f"{found} of {n} candidate slices {verb} confirmed on {on}."

    @property
    def detectable_sentence(self) -> str:
        """What this audit could have found, and hence what "nothing found" does not rule out."""
        name = self.data_summary.get("label_name", "label 1")
        if self.detectable["gap"].isna().all():
            return "On these held-out patients no slice could have been confirmed, whatever its gap."
        parts = []
        for label, who in ((1, f"among cases with {name}"), (0, "among those without")):
            known = self.detectable[self.detectable["label"] == label].dropna()
            gaps = [f"{100 * r.gap:.0f} points in a slice of {r.n_patients:.0f} patients" for r in known.itertuples()]
            parts.append(f"{who} " + (", ".join(gaps[::2]) if gaps else "none, whatever its size"))
        return (
            "Smallest gaps in the error rate that this audit would have confirmed with 80 % power: "
            + "; ".join(parts)
            + ". Smaller ones can be there unseen."
        )

    def members(self, slice_id: str, *, most: int | None = None) -> pd.DataFrame:
        """Return the members of a slice, strongest first, wrong ones before right ones at equal strength.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.
        most : int or None
            Rows at most. None: all.

        Returns
        -------
        DataFrame with columns membership, part, y_true, y_proba, wrong, indexed by sample id

        Raises
        ------
        InputError
            If there is no such slice.
        """
        if slice_id not in self.membership.columns:
            raise InputError("slice_id", "one of result.candidates['slice_id']", f"{slice_id!r}", "Check its spelling.")
        strength = self.membership[slice_id].to_numpy()
        table = self.samples.assign(membership=strength)
        distance = np.abs(table["y_proba"] - table["y_true"]).to_numpy()
        order = np.lexsort((-distance, ~table["wrong"].to_numpy(dtype=bool), -strength.round(2)))
        order = order[strength[order] >= 0.5][:most]
        return table.iloc[order][["membership", "part", "y_true", "y_proba", "wrong"]]

    def summary(self, *, thumbnails: bool = True) -> dict:
        """Return everything that is shown, as one JSON-able dict: HTML, Markdown, text and JSON are made from it.

        Parameters
        ----------
        thumbnails : bool
            Whether the pictures of the strongest members are in it, as base64 JPEG.
        """
        from mmaudit import __version__

        slices = [self._slice(row, thumbnails) for row in self.candidates.to_dict("records")]
        name = self.data_summary.get("name")
        return _plain(
            {
                "schema": SCHEMA,
                "mmaudit_version": __version__,
                "title": f"Audit of {name}" if name else "Audit",
                "headline": self.headline,
                "findings": [s for s in slices if s["confirmed"]],
                "candidates": slices,
                "detectable": self.detectable.to_dict("records"),
                "detectable_sentence": self.detectable_sentence,
                "warnings": self.warnings,
                "quarantine": self.quarantine.to_dict("records"),
                "data": self.data_summary,
                "settings": self.settings,
            }
        )

    def to_html(self, path: str | Path | None = None) -> str:
        """Return the report as one self-contained HTML page, and write it to `path` if given.

        It holds thumbnails and ids of the strongest members: treat it as you treat the data.
        """
        from mmaudit.report import render_html

        page = render_html(self.summary())
        if path is not None:
            _write_text(Path(path), page)
        return page

    def to_text(self) -> str:
        """Return the findings as sentences, for a terminal."""
        from mmaudit.report import render_text

        return render_text(self.summary(thumbnails=False))

    def model_card(self, path: str | Path | None = None) -> str:
        """Return a section for a model card in Markdown, and write it to `path` if given."""
        from mmaudit.report import render_markdown_card

        card = render_markdown_card(self.summary(thumbnails=False))
        if path is not None:
            _write_text(Path(path), card)
        return card

    def plot(self, ax=None):
        """Return matplotlib axes with the gap of every candidate and its interval (a forest plot).

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to draw. None: a new figure.
        """
        from mmaudit.report import forest_plot

        return forest_plot(self.summary(thumbnails=False), ax=ax)

    def save(self, path: str | Path, *, thumbnails: bool = False) -> Path:
        """Write the result as JSON, which `load_result` reads; a large membership goes to a parquet file beside it.

        Parameters
        ----------
        path : path
            Such as "x.mmaudit.json".
        thumbnails : bool
            Whether to save pictures of members too. They are pictures of patients: only on purpose.

        Returns
        -------
        path of the JSON file

        Raises
        ------
        InputError
            If the folder it is to lie in does not exist.

        Notes
        -----
        Written to temporary names first: if anything fails, an earlier file of that name is as it was. Sample ids are
        saved as text.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError("path", "a path in an existing folder", "one in none", "Make the folder first.")
        large = self.membership.size > INLINE_CELLS
        self._save(path, path.name.removesuffix(".json") + ".parquet" if large else None, thumbnails)
        return path

    def to_folder(self, out: str | Path, *, overwrite: bool = False) -> Path:
        """Write candidates.csv, findings.csv, membership.parquet, result.json and report.html into a folder.

        All are written to a temporary folder first: if anything fails, `out` is as it was.

        Parameters
        ----------
        out : path
            A folder that does not exist or is empty.
        overwrite : bool
            Whether files of an earlier audit in `out` may be replaced.

        Raises
        ------
        InputError
            If `out` cannot be written, or is not empty and `overwrite` is False.
        """
        out = check_folder(out, overwrite=overwrite)
        made = [folder for folder in out.parents if not folder.exists()]
        existed = out.exists()
        staging = _temporary_beside(out / "audit" if existed else out)
        try:
            staging.mkdir(parents=True)
            _for_spreadsheets(self.candidates).to_csv(staging / "candidates.csv", index=False)
            _for_spreadsheets(self.findings).to_csv(staging / "findings.csv", index=False)
            self._save(staging / "result.json", "membership.parquet", thumbnails=False)
            self.to_html(staging / "report.html")
            if existed:
                for file in sorted(staging.iterdir()):
                    file.replace(out / file.name)
            else:
                staging.replace(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            for folder in made:  # the innermost first; one that is not empty stays
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return out

    def __repr__(self) -> str:
        from mmaudit.report._format import one_line

        return f"AuditResult: {self.headline}\n" + "\n".join(
            f"  {k}. {one_line(text)}" for k, text in enumerate(self.findings["sentence"], start=1)
        )

    def _repr_html_(self) -> str:
        from mmaudit.report import render_notebook

        return render_notebook(self.summary(thumbnails=False))

    def _slice(self, row: dict, thumbnails: bool) -> dict:
        slice_id = row["slice_id"]
        shown = self.members(slice_id, most=MEMBERS_SHOWN)
        pictures = self._thumbnails if thumbnails else {}
        members = [
            {
                "sample_id": str(sample),
                "y_true": m["y_true"],
                "y_proba": m["y_proba"],
                "wrong": m["wrong"],
                "part": m["part"],
                "membership": m["membership"],
                "thumbnail": base64.b64encode(pictures[sample]).decode() if pictures.get(sample) else None,
            }
            for sample, m in zip(shown.index, shown.to_dict("records"), strict=True)
        ]
        return row | {"traits": self.traits.get(slice_id, []), "traits_part": "discovery", "members": members}

    def _keep_thumbnails(self, thumbnails) -> dict[Any, bytes]:
        if thumbnails is None:
            return {}
        position = pd.Series(np.arange(len(self.samples)), index=self.samples.index)
        kept = {}
        for slice_id in self.candidates["slice_id"]:
            for sample in self.members(slice_id, most=MEMBERS_SHOWN).index:
                picture = thumbnails[int(position[sample])]
                if picture is not None:
                    kept[sample] = picture
        return kept

    def _save(self, path: Path, membership_name: str | None, thumbnails: bool) -> None:
        table = self.samples.join(self.membership)
        table.index = table.index.astype(str)
        table.index.name = "sample_id"
        table = table.reset_index()
        document = {
            "schema": SCHEMA,
            "kind": "mmaudit.AuditResult",
            "summary": self.summary(thumbnails=False),
            "candidates": self.candidates.to_dict("records"),
            "candidate_columns": self.candidates.columns.tolist(),
            "rules": self.rules,
            "thumbnails": {str(k): base64.b64encode(v).decode() for k, v in self._thumbnails.items()}
            if thumbnails
            else {},
        }
        if membership_name is None:
            document["samples"] = table.to_dict("list")
        else:
            document["membership_file"] = membership_name
        text = json.dumps(_plain(document), allow_nan=False, ensure_ascii=False)
        with contextlib.ExitStack() as written:  # both files take their names only when both are whole
            if membership_name is not None:
                partial = written.enter_context(_replacing(path.with_name(membership_name)))
                table.to_parquet(partial, index=False)
            written.enter_context(_replacing(path)).write_text(text, encoding="utf-8")


def candidate_frame(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (*COLUMNS, *MORE_COLUMNS)
) -> pd.DataFrame:
    """Return candidates as a frame of fixed types: counts int64, other numbers float64, `confirmed` bool, text.

    Parameters
    ----------
    rows : sequence of mapping
        One a slice; None stands for NaN.
    columns : sequence of str
        Columns in their order.
    """
    frame = pd.DataFrame(list(rows), columns=list(columns))
    kinds = {
        c: "bool" if c == "confirmed" else "int64" if c.endswith(("n_samples", "n_patients")) else "float64"
        for c in frame.columns
        if c not in _TEXT_COLUMNS
    }
    return frame.astype(kinds)


def load_result(path: str | Path) -> AuditResult:
    """Return the result that `AuditResult.save` or `mmaudit audit` wrote.

    Parameters
    ----------
    path : path
        The JSON file; a membership file that it names must lie beside it.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another kind or version, or names a membership file that is missing or
        lies elsewhere. Nothing in it is executed.

    Notes
    -----
    Sample ids are text in the loaded result, whatever they were before.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("path", "a saved audit", "a path at which there is no file", "Check the path.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("kind") != "mmaudit.AuditResult":
            raise InputError("path", "a saved audit", "a file of another kind", "Give the file that save() wrote.")
        if document.get("schema") != SCHEMA:
            raise InputError("path", f"a file of version {SCHEMA}", "another version", "Install a later mmaudit.")
        table = _load_samples(path, document)
        summary = document["summary"]
        candidates = candidate_frame(document["candidates"], document["candidate_columns"])
        ids = candidates["slice_id"].tolist()
        table = table.set_index("sample_id")
        samples = table[["part", "y_true", "y_proba", "wrong"]]
        result = AuditResult(
            candidates=candidates,
            membership=pd.DataFrame(table[ids].to_numpy(np.float32), index=table.index, columns=ids),
            samples=samples.astype({"y_true": np.int8, "y_proba": np.float64, "wrong": bool}),
            traits={s["slice_id"]: s["traits"] for s in summary["candidates"]},
            rules=document["rules"],
            detectable=pd.DataFrame(summary["detectable"], columns=list(DETECTABLE_COLUMNS)).astype(
                {"n_patients": np.int64, "share": np.float64, "gap": np.float64}
            ),
            quarantine=pd.DataFrame(
                [{"sample_id": str(q["sample_id"]), "reason": q["reason"]} for q in summary["quarantine"]],
                columns=["sample_id", "reason"],
            ),
            data_summary=summary["data"],
            settings=summary["settings"],
            warnings=summary["warnings"],
        )
        result._thumbnails = {k: base64.b64decode(v, validate=True) for k, v in document["thumbnails"].items()}
        if not all(isinstance(row["confirmed"], bool) for row in document["candidates"]):
            raise ValueError  # "no" would count as true
        if len(set(ids)) < len(ids) or not ((result.membership >= 0) & (result.membership <= 1)).all(axis=None):
            raise ValueError
        if not result.samples["y_true"].isin((0, 1)).all():
            raise ValueError
        result.summary()  # what is missing is missed here, not when it is to be shown
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise InputError(
            "path", "a whole saved audit", f"a damaged file ({type(error).__name__})", "Save the audit again."
        ) from None
    return result


def check_folder(out: str | Path, *, overwrite: bool) -> Path:
    """Return the folder as a path if an audit can be written there, before any work is done; else raise InputError."""
    out = Path(out).expanduser().absolute()
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", "a file of that name", "Choose another folder.")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            "out", "a new or empty folder", "one with files in it", "Choose another, or allow overwriting."
        )
    there = out
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            "out", "a folder that can be written", f"one that cannot ({error.strerror})", "Choose another folder."
        ) from None
    return out


def _load_samples(path: Path, document: dict) -> pd.DataFrame:
    if "membership_file" not in document:
        return pd.DataFrame(document["samples"])
    name = str(document["membership_file"])
    if Path(name).name != name or not name.endswith(".parquet"):
        raise InputError(
            "path", "a membership file beside it", "a name that leads elsewhere", "Do not trust this file."
        )
    if not path.with_name(name).is_file():
        raise InputError("path", f"the file {name} beside it", "none", "Copy both files together.")
    return pd.read_parquet(path.with_name(name))


def _for_spreadsheets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with an apostrophe before each text that a spreadsheet would run as a formula.

    Texts begin with names of columns and words of reports, which somebody else may have chosen:
    https://owasp.org/www-community/attacks/CSV_Injection
    """

    def safe(text: Any) -> Any:
        return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text

    return frame.assign(**{c: frame[c].map(safe) for c in _TEXT_COLUMNS if c in frame})


def _plain(value: Any) -> Any:
    """Return the value with plain Python types only, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there only when the block has ended well."""
    partial = _temporary_beside(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    # No tempfile.mkstemp: who may read the file is what the user's umask says, no more and no less.
    return path.with_name(f".mmaudit-{secrets.token_hex(8)}")


def _write_text(path: Path, text: str) -> None:
    with _replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
