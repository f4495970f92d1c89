"""A saved audit as the page reads it, without Jupyter: what is accepted, what is refused, and what goes back."""

import base64
import io
import json
import random
import zlib

import pytest
from PIL import Image

import mmaudit as mma

READ = """async ([content, act]) => {
    const saved = await import('/lab/saved.js');
    try {
        const document = await saved.readSaved(content);
        return await eval(act)(document, saved);
    } catch (error) {
        return { refused: error instanceof saved.UnreadableAudit, said: `${error.name}: ${error.message}` };
    }
}"""
ROWS = "document => document.page.rows.map(({ id }) => id)"


@pytest.fixture(scope="module")
def saved(_small_audit, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "small.mmaudit.json"
    return _small_audit.save(path, thumbnails=True).read_text("utf-8")


@pytest.fixture
def read(served):
    return lambda content, act=ROWS: served.evaluate(READ, [content, act])


def ask(kind, asked="{}"):
    """Return what a page does to ask the host one question."""
    return f"""async (document, saved) => {{
        const host = saved.hostOfSaved(document, () => undefined);
        const answer = new Promise((resolve) => host.onMessage((content, buffers) => resolve([content, buffers])));
        host.send({{ id: 7, kind: {kind!r}, ...{asked} }});
        const [content, buffers] = await answer;
        return {{ content, bytes: buffers.map((one) => one.byteLength) }};
    }}"""


def test_it_reads_what_python_saved(read, saved, _small_audit):
    assert read(saved) == _small_audit.candidates["slice_id"].tolist()


OF_CASES = """async (document, saved) => {
    const cases = await saved.hostOfSaved(document, () => undefined).cases({});
    const columns = await cases.columns();
    const strength = await cases.strength(document.page.rows[0].id);
    const members = [...strength.keys()].filter((i) => strength[i] >= 128);
    return { n: cases.n, members, columns: columns.map(({ name }) => name), truth: [...cases.truth(0)] };
}"""


def test_cases_are_those_of_the_audit(read, saved, _small_audit):
    found = read(saved, OF_CASES)
    samples = _small_audit.samples
    members = _small_audit.members(_small_audit.candidates["slice_id"].iloc[0])
    assert found.get("n") == len(samples), found
    assert set(samples.index[found["members"]]) == set(members.index)
    assert found["truth"] == samples["y_true"].tolist()
    assert found["columns"] == _small_audit._data.metadata.columns.tolist()


def test_the_host_answers_what_a_kernel_would(read, saved, _small_audit):
    case = read(saved, ask("case", "{ position: 3 }"))["content"]
    assert case["id"] == 7
    assert case["sample"] == str(_small_audit.samples.index[3])
    assert case["report"] is None
    assert [name for name, _ in case["metadata"]] == _small_audit._data.metadata.columns.tolist()


def test_pictures_are_those_that_were_saved(read, saved, _small_audit):
    kept = {str(sample) for sample in _small_audit._thumbnails}
    ids = _small_audit.samples.index.astype(str).tolist()
    there = next(i for i, sample in enumerate(ids) if sample in kept)
    none = next(i for i, sample in enumerate(ids) if sample not in kept)
    thumbs = read(saved, ask("thumbs", f"{{ positions: [{there}, {none}], side_px: 96 }}"))
    assert thumbs["content"]["positions"] == [there]
    assert thumbs["bytes"] == [len(_small_audit._thumbnails[_small_audit.samples.index[there]])]
    assert list(thumbs["content"]["errors"]) == [str(none)]
    film = read(saved, ask("film", f"{{ position: {there} }}"))["content"]
    assert film["dtype"] == "uint8"
    assert film["width"] > 10
    assert "reason" in read(saved, ask("film", f"{{ position: {none} }}"))["content"]


def test_a_picture_that_is_no_small_jpeg_is_not_shown(read, saved, _small_audit):
    """A picture may be small in the file, and too large for the memory of the page."""
    document = json.loads(saved)
    ids = _small_audit.samples.index.astype(str).tolist()
    large, other = io.BytesIO(), io.BytesIO()
    Image.new("L", (6000, 6000)).save(large, "JPEG")
    Image.new("L", (60, 60)).save(other, "PNG")
    for content in (large.getvalue(), other.getvalue(), b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00" * 9):
        document["thumbnails"] = {ids[0]: base64.b64encode(content).decode()}
        thumbs = read(json.dumps(document), ask("thumbs", "{ positions: [0], side_px: 96 }"))["content"]
        assert thumbs["positions"] == []
        assert "reason" in read(json.dumps(document), ask("film", "{ position: 0 }"))["content"]


def test_without_pictures_none_is_in_the_file(read, _small_audit, tmp_path):
    content = _small_audit.save(tmp_path / "x.mmaudit.json").read_text("utf-8")
    assert read(content, "document => Object.keys(document.thumbnails).length") == 0


# --- Damaged and hostile files ----------------------------------------------------------------------------------------


def at(document, path, value):
    *above, last = path
    for key in above:
        document = document[key]
    document[last] = value


def bomb(document):
    """A block that unpacks to far more than its sections say."""
    document["page"]["cases"]["block"] = base64.b64encode(zlib.compress(bytes(300_000_000), 9)).decode()


def short(document):
    document["page"]["cases"]["block"] = base64.b64encode(zlib.compress(b"\1" * 10)).decode()


def huge_offset(document):
    document["page"]["cases"]["sections"][0] |= {"offset": 2**52}


def alien_code(document):
    """A value that no category of its column has."""
    cases = document["page"]["cases"]
    raw = bytearray(zlib.decompress(base64.b64decode(cases["block"])))
    column = next(one for one in cases["sections"] if one["name"].startswith("column:"))
    raw[column["offset"]] = 200
    cases["block"] = base64.b64encode(zlib.compress(bytes(raw))).decode()


def twice(document):
    document["page"]["rows"].append(document["page"]["rows"][0])


def proto(document):
    document["page"]["rows"][0]["id"] = "__proto__"


ROW = ("page", "rows", 0)
CASES = ("page", "cases")
DAMAGE = {
    "no kind": lambda d: d.pop("kind"),
    "other kind": lambda d: at(d, ("kind",), "x"),
    "older": lambda d: at(d, ("schema",), 1),
    "later": lambda d: at(d, ("schema",), 99),
    "schema text": lambda d: at(d, ("schema",), "2"),
    "no page": lambda d: d.pop("page"),
    "page a list": lambda d: at(d, ("page",), []),
    "no rows": lambda d: d["page"].pop("rows"),
    "a row a number": lambda d: at(d, ROW, 3),
    "words of another kind": lambda d: at(d, (*ROW, "words", "about"), {"toString": 1}),
    "a row without words": lambda d: d["page"]["rows"][0].pop("words"),
    "name a number": lambda d: at(d, (*ROW, "name"), 7),
    "gap a text": lambda d: at(d, (*ROW, "gap"), "1e9"),
    "terms an object": lambda d: at(d, (*ROW, "terms"), {"length": 10**9}),
    "confirmed yes": lambda d: at(d, (*ROW, "confirmed"), "yes"),
    "target beyond": lambda d: at(d, (*ROW, "target_index"), 5),
    "the same slice twice": twice,
    "a name of every object": proto,
    "no cards": lambda d: at(d, ("page", "cards"), {}),
    "a card a text": lambda d: at(d, ("page", "cards"), dict.fromkeys((r["id"] for r in d["page"]["rows"]), "x")),
    "n too large": lambda d: at(d, (*CASES, "n"), 10**12),
    "n negative": lambda d: at(d, (*CASES, "n"), -1),
    "an id missing": lambda d: d["page"]["cases"]["ids"].pop(),
    "an id twice": lambda d: at(d, (*CASES, "ids", 0), d["page"]["cases"]["ids"][1]),
    "no base64": lambda d: at(d, (*CASES, "block"), "%%%"),
    "no zlib": lambda d: at(d, (*CASES, "block"), "AAAA"),
    "a block too short": short,
    "a bomb": bomb,
    "an offset beyond": huge_offset,
    "a length beyond": lambda d: at(d, (*CASES, "sections", 0, "length"), 10**15),
    "an unknown type": lambda d: at(d, (*CASES, "sections", 0, "dtype"), "constructor"),
    "a section missing": lambda d: d["page"]["cases"]["sections"].pop(),
    "a column unknown": lambda d: at(d, (*CASES, "columns", 0, "name"), "nobody"),
    "categories gone": lambda d: at(d, (*CASES, "columns", 0, "categories"), []),
    "a code beyond": alien_code,
    "a verdict unknown": lambda d: at(d, ("user_verdicts",), {"slices": {"s01": {"verdict": "burn", "note": ""}}}),
    "a verdict on nobody": lambda d: at(d, ("user_verdicts",), {"slices": {"s99": {"verdict": "accept", "note": ""}}}),
    "a note too long": lambda d: at(d, ("user_verdicts",), {"slices": {"s01": {"verdict": "", "note": "x" * 20_000}}}),
    "summary gone": lambda d: d.pop("summary"),
    "a finding a number": lambda d: at(d, ("summary", "findings"), [3]),
    "a title an object": lambda d: at(d, ("summary", "title"), {"toString": "x"}),
    "pictures a list": lambda d: at(d, ("thumbnails",), ["x"]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_in_words(read, saved, damage):
    document = json.loads(saved)
    damage(document)
    found = read(json.dumps(document))
    assert found["refused"], found
    assert "Expected" in found["said"]
    assert "got" in found["said"]


@pytest.mark.parametrize(
    "content", ["", "{", "null", "[]", "3", '"x"', "\0", "[" * 200_000, '{"kind": ' * 50_000, "\ufeff{}"]
)
def test_what_is_no_audit_is_refused_in_words(read, content):
    assert read(content)["refused"]


def test_a_file_cut_anywhere_is_refused(read, saved):
    for share in (0.05, 0.3, 0.6, 0.9, 0.99):
        assert read(saved[: int(share * len(saved))])["refused"]


def test_any_value_of_the_page_may_be_replaced_by_any_other(read, saved):
    """Whatever stands in a file is shown or refused in words: no other error comes out."""
    draw = random.Random(0)
    strange = [None, True, -1, 1e308, 10**30, "", "x", [], {}, [[]], {"__proto__": {"x": 1}}, "\ud800", [None]]
    for _ in range(30):
        document = json.loads(saved)
        here = document[draw.choice(["page", "summary", "user_verdicts", "user_edits", "thumbnails"])]
        while isinstance(here, dict | list) and here:
            key = draw.choice(list(here)) if isinstance(here, dict) else draw.randrange(len(here))
            if draw.random() < 0.4 or not isinstance(here[key], dict | list) or not here[key]:
                here[key] = draw.choice(strange)
                break
            here = here[key]
        found = read(json.dumps(document))
        assert isinstance(found, list) or found["refused"], found


# --- What goes back into the file -------------------------------------------------------------------------------------

WITH = "([content, values]) => import('/lab/saved.js').then(({ withValues }) => withValues(content, values))"


def random_value(draw, depth=0):
    kind = draw.randrange(8 if depth < 4 else 5)
    if kind < 5:
        texts = ["", 'say "x"', "back\\", '\\"', "{[,:]}", "é\n\u2028", "user_verdicts"]
        return [None, draw.random() < 0.5, draw.randrange(10**17), draw.random() * 1e-7, draw.choice(texts)][kind]
    if kind == 5:
        return [random_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    names = ["user_verdicts", "a", 'q"', "\\", "é", ""]
    return {draw.choice(names): random_value(draw, depth + 1) for _ in range(draw.randrange(4))}


def test_only_the_values_that_changed_are_written(served):
    draw = random.Random(1)
    for _ in range(80):
        document = {f"k{i}": random_value(draw) for i in range(draw.randrange(5))}
        if draw.random() < 0.6:
            document["user_verdicts"] = random_value(draw)
        keys = list(document)
        draw.shuffle(keys)
        document = {key: document[key] for key in keys}
        how = {"indent": draw.choice([None, 2]), "ensure_ascii": draw.random() < 0.5}
        value = {"slices": {"s01": {"verdict": "accept", "note": 'a "note"'}}}
        before = json.dumps(document, **how)
        after = served.evaluate(WITH, [before, {"user_verdicts": value}])
        assert json.loads(after) == {**document, "user_verdicts": value}
        assert served.evaluate(WITH, [before, {}]) == before
        if "user_verdicts" in document:  # all else, to the letter
            there = json.dumps({**document, "user_verdicts": "<here>"}, **how)
            compact = json.dumps(value, separators=(",", ":"))
            assert after == there.replace('"<here>"', compact)


def test_numbers_that_the_page_does_not_know_stay_as_they_were(served):
    content = '{"big": 12345678901234567890, "one": 1.0, "user_verdicts": {}, "small": 1e-400}'
    after = served.evaluate(WITH, [content, {"user_verdicts": {"slices": {}}}])
    assert after == content.replace('"user_verdicts": {}', '"user_verdicts": {"slices":{}}')


def test_verdicts_notes_and_names_come_back_in_python(served, saved, tmp_path, _small_audit):
    content = served.evaluate(
        """async (content) => {
            const saved = await import('/lab/saved.js');
            const { Store } = await import('/shared/store.js');
            const { giveVerdict } = await import('/shared/verdicts.js');
            const document = await saved.readSaved(content);
            let written = content;
            const keep = (changed) => (written = saved.withValues(written, changed));
            const store = new Store(saved.hostOfSaved(document, keep), {});
            giveVerdict(store, 'slice:s01', 'reject', 's01');
            giveVerdict(store, 'sample:5', 'radiologist', 'a case');
            store.set('notes', { 'slice:s01': 'a "note" \\\\ with é', 'sample:7': 'look again' });
            store.set('_edits', { names: { s01: 'tubes' }, hidden: ['s02'] });
            await new Promise((resolve) => setTimeout(resolve, 20));
            return written;
        }""",
        saved,
    )
    path = tmp_path / "judged.mmaudit.json"
    path.write_text(content, encoding="utf-8")
    result = mma.load_result(path)
    ids = _small_audit.samples.index.astype(str)
    assert result.user_verdicts == {
        "slices": {"s01": {"verdict": "reject", "note": 'a "note" \\ with é'}},
        "samples": {ids[5]: {"verdict": "radiologist", "note": ""}, ids[7]: {"verdict": "", "note": "look again"}},
    }
    assert result.user_edits == {"names": {"s01": "tubes"}, "hidden": ["s02"]}
    again, before = json.loads(content), json.loads(saved)
    assert {key for key in again if again[key] != before[key]} == {"user_verdicts", "user_edits"}


# --- Two audits -------------------------------------------------------------------------------------------------------

MATCH = """async ([one, other]) => {
    const { readSaved } = await import('/lab/saved.js');
    const { matchSlices } = await import('/lab/compare.js');
    const found = matchSlices(await readSaved(one), await readSaved(other));
    return { ...found, pairs: found.pairs.map(({ a, b, jaccard }) => [a?.id ?? null, b?.id ?? null, jaccard]) };
}"""


def test_an_audit_matches_itself(served, saved, _small_audit):
    found = served.evaluate(MATCH, [saved, saved])
    assert found["n_shared"] == len(_small_audit.samples)
    assert [(a, b) for a, b, _ in found["pairs"]] == [(i, i) for i in _small_audit.candidates["slice_id"]]
    assert {jaccard for *_, jaccard in found["pairs"]} == {1}


def test_each_slice_is_matched_once_and_none_is_lost(served, saved, _small_audit, tmp_path):
    other = mma.audit(_small_audit._data, n_refits=0, n_permutations=99, random_state=5)
    content = other.save(tmp_path / "other.mmaudit.json").read_text("utf-8")
    pairs = served.evaluate(MATCH, [saved, content])["pairs"]
    assert sorted(a for a, _, _ in pairs if a) == sorted(_small_audit.candidates["slice_id"])
    assert sorted(b for _, b, _ in pairs if b) == sorted(other.candidates["slice_id"])
    for a, b, jaccard in pairs:
        if a and b and jaccard is not None:
            one = set(_small_audit.members(a).index)
            two = set(other.members(b).index)
            assert jaccard == pytest.approx(len(one & two) / len(one | two))


def test_audits_of_other_cases_match_by_their_rules_alone(served, saved):
    document = json.loads(saved)
    cases = document["page"]["cases"]
    cases["ids"] = [f"other-{i}" for i in range(cases["n"])]
    document["user_verdicts"] = {"slices": {}, "samples": {}}
    found = served.evaluate(MATCH, [saved, json.dumps(document)])
    assert found["n_shared"] == 0
    rules = {row["id"]: row["rule"] for row in document["page"]["rows"]}
    matched = [(a, b) for a, b, _ in found["pairs"] if a and b]
    assert matched == [(i, i) for i, rule in rules.items() if rule]
