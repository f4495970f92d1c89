"""Rules in a file: what is written and read again, what a damaged file says, and who is selected in other data."""

import copy
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit import rules as rules_module
from mmaudit._errors import AuditWarning, ImageReadError, InputError
from mmaudit.data import AuditData
from mmaudit.datasets import load_phantom
from mmaudit.encoders import encode
from mmaudit.explain._tokens import index_terms
from mmaudit.images import GrayImage
from mmaudit.rules import apply_rules, load_rules, parse_rule, rule_table, rules_document, rules_of, save_rules
from mmaudit.text import canonical

AP_OVER_60 = [
    {"column": "view", "operator": "==", "value": "AP"},
    {"column": "age", "operator": ">", "value": 60.0},
]


def frame():
    return pd.DataFrame(
        {
            "y": [0, 1, 0, 1, 0, 1],
            "who": list("abcdef"),
            "view": ["AP", "AP", "AP", "PA", None, "AP"],
            "age": [61.0, 60.0, np.nan, 80.0, 90.0, 70.0],
            "report": [
                "Chest tube in place.",
                "No chest tube.",
                "A chest drain.",
                "INDICATION: Chest tube.\nFINDINGS: Right basal patchy airspace opacity.",
                "Possible pacemaker. Effusion.",
                "Clear lungs.",
            ],
        },
        index=["a1", "b1", "c1", "d1", "e1", "f1"],
    )


def make(df=None, **options):
    roles = {"label": "y", "patient_id": "who", "report": "report", "metadata": ["view", "age"]} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)  # an empty report
        return AuditData.from_frame(frame() if df is None else df, **roles)


def document(*slices, data=None, **options):
    return rules_document(
        [{"slice_id": f"s{k:02d}", **given} for k, given in enumerate(slices, start=1)], data=data, **options
    )


def selected(given, data=None, **options):
    """Return the samples that the only rule of a document selects."""
    table = apply_rules(document(given, **options), make() if data is None else data)
    return table.index[table["s01"]].tolist()


def predicate(column, operator, value=None):
    return {"rule": [{"column": column, "operator": operator, "value": value}]}


# Who is selected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rule": AP_OVER_60}, ["a1", "f1"]),
        (predicate("age", ">", 60.0), ["a1", "d1", "e1", "f1"]),
        (predicate("age", ">=", 60), ["a1", "b1", "d1", "e1", "f1"]),
        (predicate("age", "<=", 60.0), ["b1"]),
        (predicate("age", "<", 60.0), []),
        (predicate("age", "missing"), ["c1"]),
        (predicate("age", "in", [60.0, 70.0]), ["b1", "f1"]),
        (predicate("view", "!=", "AP"), ["d1"]),
        (predicate("view", "in", ["PA", "lateral"]), ["d1"]),
        (predicate("view", "missing"), ["e1"]),
        (predicate('"chest tube"', "mentions"), ["a1", "d1"]),
        (predicate('"no chest tube"', "mentions"), ["b1"]),
        (predicate('"chest tube"', "lacks"), ["b1", "c1", "e1", "f1"]),
        (predicate("[chest tube]", "mentions"), ["a1", "c1"]),
        ({"terms": ["chest tube"]}, ["a1", "c1"]),
        ({"terms": ["chest tube", canonical("effusion")]}, ["a1", "c1", "e1"]),
        ({"terms": [{"term": "pacemaker", "status": "uncertain"}]}, ["e1"]),
        ({"terms": ["pacemaker"]}, []),
        (predicate(f"[{canonical('right basal patchy airspace opacity')}]", "mentions"), ["d1"]),
        ({"rule": AP_OVER_60[:1], "terms": ["chest tube"]}, ["a1", "c1"]),
        ({"rule": AP_OVER_60, "terms": ["chest tube"]}, ["a1"]),
    ],
)
def test_who_is_selected(given, expected):
    assert selected(given) == expected


def test_what_comes_out():
    given = document({"rule": AP_OVER_60, "label": "1", "confirmed": True}, {"terms": ["effusion"], "label": ""})
    found = apply_rules(given, make())
    assert found.index.name == "sample_id"
    assert found.columns.tolist() == ["s01", "s02"]
    assert found.dtypes.tolist() == [bool, bool]
    assert [rule["slice_id"] for rule in found.attrs["rules"]] == ["s01", "s02"]
    assert [rule["label"] for rule in found.attrs["rules"]] == [1, None]


class Pictures:
    """Images in memory; None cannot be read."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return len(self.pixels)

    def read(self, index, *, max_side_px=None):
        pixels = self.pixels[index]
        if pixels is None:
            raise ImageReadError("image", "an image", "none", "Export it again.")
        return GrayImage(pixels, pixels.shape[1], pixels.shape[0], 8)

    def take(self, indices):
        return Pictures([self.pixels[i] for i in indices])


@pytest.fixture(scope="module")
def phantom():
    """Phantom cases; their images are noise, since films take time to draw."""
    data = load_phantom(300, image_size=64)
    rng = np.random.default_rng(0)
    shapes = rng.integers(8, 30, (data.n_samples, 2))
    data.images = Pictures([(rng.random(shape) ** rng.uniform(0.2, 5)).astype(np.float32) for shape in shapes])
    return data


def test_columns_are_made_as_the_audit_made_them(phantom):
    """Every column of the table that rules are searched in, but for clusters of images."""
    features, _ = encode(phantom, fit_on=np.arange(phantom.n_samples) % 2 == 0, min_count=5, random_state=0)
    columns = [c for c in features.table.columns if not c.startswith("image cluster")]
    assert {"metadata", "image", "report", "label_term"} <= {features.kinds[c] for c in columns}
    made = rule_table(phantom, columns)
    assert made.index.equals(phantom.sample_id)
    pd.testing.assert_frame_equal(made.reset_index(drop=True), features.table[columns], check_dtype=True)


def test_concepts_are_found_as_explanations_find_them(phantom):
    data = phantom
    index = index_terms(data.reports, fit_on=np.ones(data.n_samples, dtype=bool), min_count=5)
    tokens = index.tokens[index.tokens["status"] != "negated"].groupby("status").head(40)
    assert set(tokens["status"]) == {"affirmed", "uncertain"}
    names = [f"[{'possible ' * (row.status == 'uncertain')}{row.term}]" for row in tokens.itertuples()]
    table = rule_table(data, names)
    for name, row in zip(names, tokens.itertuples(), strict=True):
        assert table[name].tolist() == index.holds(row.term, status=row.status).tolist(), name


@pytest.fixture(scope="module")
def audited(phantom):
    data = phantom.subset(np.arange(phantom.n_samples))
    data.images = None
    return data, mma.audit(data, n_refits=0, n_permutations=99, n_jobs=1)


def compared(data, rule):
    return np.ones(data.n_samples, dtype=bool) if rule["label"] is None else data.y_true == rule["label"]


def test_the_rules_of_an_audit_select_its_members(audited):
    data, result = audited
    given = rules_document(rules_of(result.candidates, result.rules, result.explanations), data=data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)  # groups of similar cases are left out
        found = apply_rules(given, data)
    of_slices = [rule for rule in found.attrs["rules"] if rule["source"] == "slice"]
    assert len(of_slices) >= 3
    for rule in of_slices:
        members = result.membership[rule["slice_id"]].to_numpy() >= 0.5
        assert (found[rule["slice_id"]].to_numpy() & compared(data, rule)).tolist() == members.tolist()
        assert members.any()


def test_explanations_pick_the_samples_that_they_were_measured_on(audited):
    data, result = audited
    labels = result.candidates.set_index("slice_id")["label"]
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    parts = [
        (part, {"slice_id": f"{slice_id} {k}", "label": labels[slice_id], **part["selector"]})
        for slice_id, explanation in result.explanations.items()
        for k, part in enumerate(explanation["parts"])
        if part["selector"]
    ]
    assert {"terms", "metadata"} <= {part["kind"] for part, _ in parts}
    found = apply_rules(rules_document(given for _, given in parts), data)
    for (part, _), rule in zip(parts, found.attrs["rules"], strict=True):
        picked = found[rule["slice_id"]].to_numpy() & held_out & compared(data, rule)
        assert picked.sum() == part["confirmation"]["n_samples"], part["text"]
        assert len(set(data.patient_id[picked])) == part["confirmation"]["n_patients"]


def test_images_are_read_where_a_rule_speaks_of_them():
    df = pd.concat([frame()] * 10).assign(who=np.arange(60)).reset_index(drop=True)
    greys = [0.1, 0.9, 0.5, 0.7, 0.2, None] + [0.1] * 54
    images = Pictures([None if grey is None else np.full((8, 8), grey, np.float32) for grey in greys])
    data = make(df, images=images)
    with pytest.warns(AuditWarning, match=r"got 1 of 60 that are not"):
        found = apply_rules(document(predicate("image brightness", ">", 0.45)), data)
    assert found.index[found["s01"]].tolist() == [1, 2, 3]  # the unreadable one is neither bright nor dark
    with pytest.warns(AuditWarning):
        assert 5 not in selected(predicate("image brightness", "<=", 0.45), data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert selected(predicate("age", ">", 85.0), data)[:1] == [4]  # no image is read for that
    with_own = make(df.assign(**{"image brightness": 0.6}), images=images, metadata=["image brightness"])
    assert len(selected(predicate("image brightness", ">", 0.45), with_own)) == 60


def test_a_rule_in_words_is_about_these_data(phantom):
    rule = parse_rule("AGE > 60 and image brightness > 0.3 and report mentions chest drain", phantom)
    assert [p.column for p in rule.predicates] == ["age", "image brightness", "[chest tube]"]
    holds = rule.holds(rule_table(phantom, [p.column for p in rule.predicates]))
    assert holds.shape == (phantom.n_samples,)
    with pytest.raises(InputError, match="which never occurs"):
        parse_rule("view = sideways", phantom)
    with pytest.raises(InputError, match=r"a column of the data in 'image brightness > 0\.3'"):
        parse_rule("image brightness > 0.3", make())


# What the data must have


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"rule": AP_OVER_60}, {"metadata": ["view"]},
         r"^metadata: expected the column 'age', of which rule s01 speaks, got data without it\. Add it to"),
        (predicate("agee", ">", 60.0), {},
         r"the column 'agee', of which rule s01 speaks, .*Did you mean 'age'\?$"),
        ({"terms": ["chest tube"]}, {"report": None},
         r"^report: expected reports, of which rule s01 speaks \(\[chest tube\]\), got none\. Name the col"),
        (predicate('"chest tube"', "lacks"), {"report": None},
         r'^report: .* rule s01 speaks \("chest tube"\), got none'),
        (predicate("image contrast", ">", 0.1), {},
         r"^image: expected images, of which rule s01 speaks \(image contrast\), got none\. Name the column of"),
        (predicate("view", ">", 60.0), {},
         r"^metadata: expected numbers in the column 'view', of which rule s01 speaks, got text\. Conv.*to_numeric"),
        (predicate("age", "==", "old"), {},
         r"^metadata: expected text in the column 'age', of which rule s01 speaks, got numbers\. Convert .*astype"),
    ],
)  # fmt: skip
def test_what_the_data_lack_is_said_with_the_rule(given, options, message):
    with pytest.raises(InputError, match=message):
        apply_rules(document(given), make(**options))


def test_a_table_of_columns_that_are_not_there():
    with pytest.raises(
        InputError, match=r"metadata: expected the column 'image cluster of 6', of which the rule speaks"
    ):
        rule_table(make(), ["view", "image cluster of 6"])
    with pytest.raises(TypeError, match=r"^data: expected AuditData, got DataFrame"):
        apply_rules(document({"rule": AP_OVER_60}), frame())
    assert rule_table(make(), ["age", "view", "age"]).columns.tolist() == ["age", "view"]
    assert rule_table(make(), []).shape == (6, 0)


def test_an_empty_column_is_neither_text_nor_numbers():
    data = make(frame().assign(view=np.nan))
    assert selected({"rule": AP_OVER_60}, data) == []
    assert len(selected(predicate("view", "missing"), data)) == 6


def test_other_values_are_told_once():
    given = document({"rule": AP_OVER_60}, predicate("view", "!=", "PA"), data=make())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply_rules(given, make())
    other = make(frame().assign(view=["AP", "LL", "LL", "swimmer", None, "PA"], age=[700, 800, 900, 850, np.nan, 60]))
    with pytest.warns(AuditWarning) as caught:
        found = apply_rules(given, other)
    assert [str(w.message) for w in caught] == [
        "metadata: expected values that the audit had seen, got 3 other values in 'view'; a median of 800 in 'age', "
        "where most were 60 to 90. Check that they mean the same."
    ]
    assert found["s02"].tolist() == [True, True, True, True, False, False]


def test_what_only_the_audit_can_tell_is_left_out():
    clusters = predicate("image cluster of 6", "==", "3")
    given = document({"rule": AP_OVER_60}, clusters, {"description": "a group of similar images"})
    assert [rule["runnable"] for rule in given["rules"]] == [True, False, False]
    with pytest.warns(AuditWarning) as caught:
        found = apply_rules(given, make())
    assert found.columns.tolist() == ["s01"]
    assert [str(w.message) for w in caught] == [
        "rules: expected rules that run on any data, got 2 that do not. Left out: "
        "s02 (it speaks of clusters of images, which only the audit knows); "
        "s03 (a group of similar cases, which only the audit knows)."
    ]
    # A file that says otherwise is not believed.
    for rule in given["rules"]:
        rule["runnable"] = True
    with pytest.warns(AuditWarning, match="2 that do not"):
        assert apply_rules(given, make()).columns.tolist() == ["s01"]


def test_another_lexicon_is_told_where_it_matters():
    given = document({"rule": AP_OVER_60}) | {"lexicon": "0" * 64}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply_rules(given, make())
    given = document({"terms": ["chest tube"]}) | {"lexicon": "0" * 64}
    with pytest.warns(AuditWarning, match=r"rules: expected the lexicon that they were made with, got another one"):
        apply_rules(given, make())


# What a document says


def test_columns_are_described_without_anybodys_own_value():
    n = 1000
    df = pd.DataFrame(
        {
            "y": np.arange(n) % 2,
            "who": np.arange(n),
            "age": np.r_[np.full(n - 1, 50.0) + np.arange(n - 1) % 30, 119.0],
            "site": np.where(np.arange(n) % 2, "north", "south"),
            "nurse": [f"nurse {k}" for k in range(n)],
        }
    )
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["age", "site", "nurse"])
    rules = [{"column": c, "operator": "missing", "value": None} for c in ("age", "site", "nurse")]
    about = document({"rule": rules}, data=data)["columns"]
    assert about["age"] == {"dtype": "number", "range": [50.0, 79.0]}
    assert about["site"] == {"dtype": "text", "values": ["north", "south"]}
    assert about["nurse"] == {"dtype": "text"}


def test_without_data_only_kinds_are_known():
    slices = [
        {"rule": AP_OVER_60},
        predicate("ward", "missing"),
        predicate("ward", "in", [1.0, 2.0]),
        predicate("image sharpness", ">", 1.0),
        {"terms": ["tube"]},
        predicate('"tube"', "lacks"),
    ]
    assert {name: about["dtype"] for name, about in document(*slices)["columns"].items()} == {
        "view": "text",
        "age": "number",
        "ward": "number",
        "image sharpness": "image statistic",
        "[tube]": "report concept",
        '"tube"': "report words",
    }


def test_numbers_that_are_none_become_none():
    evidence = {"gap": np.float32(0.25), "ci_low": np.nan, "n_patients": np.int64(40), "q_value": None}
    rule = document({"rule": AP_OVER_60, "evidence": evidence})["rules"][0]
    assert rule["evidence"] == {"gap": 0.25, "ci_low": None, "n_patients": 40.0, "q_value": None}


def candidates(**columns):
    row = {
        "slice_id": "s01",
        "description": "view = AP",
        "sentence": "Where view = AP ...",
        "target": "y",
        "label": "1",
    }
    row |= {"confirmed": True, "gap": 0.3, "ci_low": 0.2, "ci_high": 0.4, "q_value": 0.01, "n_patients": 50}
    return pd.DataFrame([row | columns])


def part(selector, f1, *, holds=True, gap=0.2):
    confirmation = {"f1": f1, "gap": gap, "ci_low": 0.1, "ci_high": 0.3, "q_value": 0.02, "n_patients": 30}
    return {"text": f"text {f1}", "selector": selector, "holds": holds, "confirmation": confirmation}


def test_a_slice_is_its_own_rule():
    explanations = {"s01": {"status": "explained", "parts": [part({"terms": ["tube"]}, 0.9)]}}
    (entry,) = rules_of(candidates(), {"s01": AP_OVER_60}, explanations)
    assert (entry["rule"], entry["source"], entry["status"]) == (AP_OVER_60, "slice", "explained")
    assert entry["evidence"] == {"gap": 0.3, "ci_low": 0.2, "ci_high": 0.4, "q_value": 0.01, "n_patients": 50}
    assert rules_document([entry])["rules"][0]["runnable"]


@pytest.mark.parametrize("own", [{}, {"s01": predicate("image cluster of 6", "==", "1")["rule"]}])
def test_a_slice_without_a_rule_is_its_best_explanation_that_holds(own):
    tube = {"terms": [{"term": "tube", "status": "affirmed"}]}
    parts = [part(None, 0.99), part({"rule": AP_OVER_60}, 0.95, holds=False), part({"rule": AP_OVER_60}, 0.6)]
    (entry,) = rules_of(candidates(), own, {"s01": {"status": "explained", "parts": [*parts, part(tube, 0.8)]}})
    assert (entry["source"], entry["description"], entry["rule"]) == ("explanation", "text 0.8", None)
    assert entry["terms"] == tube["terms"]
    assert entry["evidence"] == {
        "gap": 0.2, "ci_low": 0.1, "ci_high": 0.3, "q_value": 0.02, "n_patients": 30, "f1": 0.8,
    }  # fmt: skip
    assert rules_document([entry])["rules"][0]["runnable"]
    (entry,) = rules_of(candidates(), own, {})
    assert not rules_document([entry])["rules"][0]["runnable"]


# The file


def saved(tmp_path, *slices, **options):
    return save_rules(tmp_path / "rules.json", document(*slices, **options))


def test_a_file_says_what_the_document_says(tmp_path):
    data = make()
    given = document(
        {"rule": AP_OVER_60, "description": "view = AP and age > 60", "label": 1, "confirmed": True},
        predicate("view", "in", ("AP", "größer")),
        {"terms": ["chest tube", {"term": "pacemaker", "status": "uncertain"}]},
        {},
        data=data,
        label="Effusion",
    )
    path = save_rules(tmp_path / "rules.json", given)
    assert load_rules(path) == given
    text = json.loads(path.read_text(encoding="utf-8"))
    assert (text["kind"], text["version"], text["label"]) == ("mmaudit.rules", 1, "Effusion")
    assert text["mmaudit_version"] == mma.__version__
    assert text["rules"][0]["rule"] == AP_OVER_60
    with pytest.warns(AuditWarning, match="Left out: s04"):
        pd.testing.assert_frame_equal(apply_rules(path, data), apply_rules(str(path), data))


def test_an_earlier_file_stays_if_writing_fails(tmp_path, monkeypatch):
    path = saved(tmp_path, {"rule": AP_OVER_60})
    before = path.read_bytes()

    def fail(self, *args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        saved(tmp_path, {"terms": ["tube"]})
    assert [p.name for p in tmp_path.iterdir()] == ["rules.json"]
    assert path.read_bytes() == before


def test_no_folder_and_no_document(tmp_path):
    with pytest.raises(InputError, match=r"^path: expected a path in an existing folder, got one in none"):
        saved(tmp_path / "nowhere", {"rule": AP_OVER_60})
    with pytest.raises(InputError, match=r"^rules: expected a file of rules, got one of another kind"):
        save_rules(tmp_path / "rules.json", {"rules": []})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^rules: expected a file of rules, got a path at which there is no file\. Check the path"),
        (b"", r"^rules: expected a whole file of rules, got a damaged one \(JSONDecodeError\)\. Save them again"),
        (b"\xff\xfe", r"damaged one \(UnicodeDecodeError\)"),
        (b"[" * 200_000, r"damaged one \(RecursionError\)|damaged one \(JSONDecodeError\)"),
        (b'{"kind": "mmaudit.AuditResult"}', r"expected a file of rules, got one of another kind"),
        (b"[]", r"one of another kind"),
        (b'{"kind": "mmaudit.rules", "version": 2}', r"expected version 1, got version 2\. Install a later mmaudit"),
        (b'{"kind": "mmaudit.rules", "version": "1"}', r"a damaged one"),
        (b'{"kind": "mmaudit.rules", "version": 1}', r"a damaged one \(KeyError\)"),
        (b'{"kind": "mmaudit.rules", "version": NaN}', r"a damaged one \(ValueError\)"),
    ],
)
def test_a_file_that_is_none_of_rules(tmp_path, content, message):
    path = tmp_path / "rules.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_rules(path)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    path = saved(tmp_path, {"rule": AP_OVER_60})
    monkeypatch.setattr(rules_module, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=r"^rules: expected a file of at most 100 bytes, got a larger one"):
        load_rules(path)


BAD = {
    "operator": ("rules", 0, "rule", 0, "operator", "__import__"),
    "operator of another kind": ("rules", 0, "rule", 0, "operator", ["=="]),
    "limit that is text": ("rules", 0, "rule", 1, "value", "60"),
    "limit that is infinite": ("rules", 0, "rule", 1, "value", float("inf")),
    "limit that is too large": ("rules", 0, "rule", 1, "value", 10**400),
    "value that is a mapping": ("rules", 0, "rule", 0, "value", {"a": 1}),
    "value that is missing": ("rules", 0, "rule", 0, "value", None),
    "value that is half a letter": ("rules", 0, "rule", 0, "value", "\ud800"),
    "value that no text can be compared with": ("rules", 0, "rule", 0, "value", 2**63),
    "value that is huge": ("rules", 0, "rule", 0, "value", "x" * 10_001),
    "column that is a number": ("rules", 0, "rule", 0, "column", 7),
    "column that is not described": ("rules", 0, "rule", 0, "column", "sex"),
    "missing that has a value": ("rules", 1, "rule", 0, "value", "AP"),
    "rule that is text": ("rules", 0, "rule", "view = AP"),
    "rule that is empty": ("rules", 0, "rule", []),
    "too many predicates": ("rules", 0, "rule", AP_OVER_60 * 501),
    "terms that are text": ("rules", 0, "terms", ["tube"]),
    "status of a term": ("rules", 0, "terms", [{"term": "tube", "status": "negated"}]),
    "label": ("rules", 0, "label", 2),
    "label that is true": ("rules", 0, "label", True),
    "confirmed": ("rules", 0, "confirmed", "no"),
    "slice id of half a letter": ("rules", 0, "slice_id", "\ud800"),
    "slice id": ("rules", 0, "slice_id", ""),
    "evidence": ("rules", 0, "evidence", {"gap": "0.3"}),
    "description": ("rules", 0, "description", ["view"]),
    "rule that is no mapping": ("rules", 0, 5),
    "rules": ("rules", "none"),
    "columns": ("columns", []),
    "limit of a column of text": ("columns", "age", "dtype", "text"),
    "value of a column of words": ("columns", "view", "dtype", "report words"),
    "mention of what is no report": ("rules", 1, "rule", 0, "operator", "mentions"),
    "kind of a column": ("columns", "view", "dtype", "object"),
    "range": ("columns", "age", "range", [1]),
    "values": ("columns", "view", "values", "AP"),
    "lexicon": ("lexicon", None),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_document_is_told_before_use(name):
    *steps, last, value = BAD[name]
    given = copy.deepcopy(document({"rule": AP_OVER_60}, predicate("view", "missing"), data=make()))
    at = given
    for step in steps:
        at = at[step]
    at[last] = value
    with pytest.raises(InputError, match=r"^rules: expected a whole file of rules, got a damaged one"):
        apply_rules(given, make())


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(InputError, match="a damaged one"):
        rules_document([{"slice_id": "s01", "rule": AP_OVER_60}] * 2)
