"""Widgets in a page, with their Python half in this process."""

import mmaudit as mma


def test_a_widget_is_shown(mount, small_audit):
    mounted = mount(lambda: mma.widgets.SliceExplorer(small_audit))
    mounted.view.get_by_text(f"{len(small_audit.samples)} cases").wait_for()


def test_notes_of_the_result_are_shown_and_a_new_one_leaves_them_alone(mount, small_audit):
    first, second = small_audit.candidates["slice_id"][:2]
    said = {"verdict": "accept", "note": "seen before"}
    small_audit.user_verdicts = {"slices": {first: dict(said)}, "samples": {}}
    try:
        mounted = mount(lambda: mma.widgets.ExplanationTable(small_audit))
        rows = mounted.view.locator(".mma-table tbody tr")
        rows.nth(0).focus()
        mounted.page.keyboard.press("Enter")
        note = mounted.view.get_by_role("textbox", name="Note on").first
        note.wait_for()
        mounted.until(lambda: note.input_value() == "seen before")
        mounted.page.evaluate(
            "of => { globalThis.model.send({ kind: 'note', of, text: 'new' }); }", f"slice:{second}"
        )  # as the card of another row does
        mounted.until(lambda: mounted.widget.verdicts.get(second, {}).get("note") == "new")
        assert mounted.widget.verdicts[first] == said
    finally:
        small_audit.user_verdicts = {}


PATCHED = """async (text) => {
  const { patched } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  return [
    patched({ names: { a: "A", b: "B" }, hidden: ["s1", "h1"] }, { hidden: ["s1"] }, { hidden: ["h1"] }),
    patched({ slices: { s1: "accept", s2: "reject" } }, { slices: { s1: "accept" } }, { slices: {} }),
    patched({ slices: { s2: "reject" } }, { slices: {} }, { slices: { s1: "accept" } }),
    patched({ sort: "gap", text: "x" }, { sort: "gap" }, { sort: "rank" }),
    patched("b", "b", "a"),
  ];
}"""


def test_undo_leaves_alone_what_others_have_changed(page):
    from mmaudit.widgets._bundle import bundle

    module = bundle("table.js").replace("export default", "const unused =") + "\nexport { patched };"
    assert page.evaluate(PATCHED, module) == [
        {"names": {"a": "A", "b": "B"}, "hidden": ["h1"]},
        {"slices": {"s2": "reject"}},
        {"slices": {"s2": "reject", "s1": "accept"}},
        {"sort": "rank", "text": "x"},
        "a",
    ]
