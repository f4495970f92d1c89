"""Modules of the browser, joined into one text."""

import base64
import re
import zlib

import pytest

from mmaudit.widgets._bundle import bundle, folder, packed, styles

ENTRIES = ("table.js", "grid.js", "explorer.js")


@pytest.fixture
def modules(tmp_path):
    """Return a function that writes modules and joins them."""

    def write(**sources):
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('__', '/')}.js"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, "utf-8")
        return bundle("entry.js", tmp_path)

    return write


def test_what_is_imported_comes_first_and_once(modules):
    text = modules(
        entry='import { a } from "./shared/a.js";\nimport {\n  b,\n} from "./shared/b.js";\nexport default a + b;\n',
        shared__a='import { b } from "./b.js";\nexport const a = b + 1;\n',
        shared__b="export function b() {}\n",
    )
    assert text == "function b() {}\nconst a = b + 1;\nexport default a + b;\n"


def test_comments_and_indentation_are_left_out_and_nothing_else(modules):
    source = (
        '/** Say.\n * @param {string} words */\nexport const say = (words) => {\n  // once\n  return "a // b";\n};\n'
    )
    text = modules(entry='import { say } from "./say.js";\n\n\nexport default say;\n', say=source)
    assert text == 'const say = (words) => {\nreturn "a // b";\n};\nexport default say;\n'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('import x from "./x.js";', "cannot join 'import'"),
        ('import * as x from "./x.js";', "cannot join 'import'"),
        ('import { x } from "https://elsewhere/x.js";', "cannot join 'import'"),
        ('const x = await import("./x.js");', r"cannot join 'import\('"),
        ('export { x } from "./x.js";', "cannot join 'export'"),
        ("export default 1;", "cannot join 'export default'"),
        ("export const here = 1;", "here is a name of entry.js too|entry.js: here is a name of other.js too"),
    ],
)
def test_other_forms_are_errors(modules, source, message):
    entry = 'import { ok } from "./other.js";\nconst here = 0;\nexport default here;\n'
    with pytest.raises(ValueError, match=message):
        modules(entry=entry, other=f"export const ok = 1;\n{source}\n", x="export const x = 1;\n")


def test_a_name_that_is_not_exported_is_an_error(modules):
    with pytest.raises(ValueError, match=r"entry.js: other.js does not export b"):
        modules(entry='import { a, b } from "./other.js";\n', other="export const a = 1;\nconst b = 2;\n")


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_widget_is_one_small_module_that_asks_for_nothing_outside(entry):
    text = bundle(entry)
    assert text.count("export default") == 1
    for word in ("import(", "http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "fetch("):
        assert word not in text.replace("http://www.w3.org/2000/svg", ""), word


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_travels_is_small_and_is_the_module(entry):
    text = packed(entry)
    assert len(text.encode()) <= 40_000
    (inside,) = re.findall(r'^const packed = "([\w+/=]+)";$', text, re.MULTILINE)
    assert zlib.decompress(base64.b64decode(inside)).decode() == bundle(entry)


def test_every_rule_of_the_style_sheets_is_about_our_own_elements():
    names = sorted(path.name for path in folder().glob("*.css"))
    assert "theme.css" in names
    heads = [head.strip() for head in re.findall(r"([^{};]+)\{", styles(*names))]
    selectors = [one.strip() for head in heads if not head.startswith("@") for one in head.split(",")]
    assert len(selectors) > 10
    assert [one for one in selectors if not one.startswith(".mma-")] == []


def test_styles_ask_for_nothing_outside():
    text = styles(*sorted(path.name for path in folder().glob("*.css")))
    assert "url(" not in text
    assert "@import" not in text
