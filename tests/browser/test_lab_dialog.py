"""The dialog of roles and the kernel behind it: by themselves with a kernel that is made up, then in JupyterLab."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

import mmaudit as mma

# --- Modules without JupyterLab ---------------------------------------------------------------------------------------

SETUP = """() => {
window.words = {
  __: (text, ...given) => text.replace(/%(\\d+)/g, (_, k) => given[k - 1]),
  _n: (one, many, n, ...given) => words.__(n === 1 ? one : many, ...(given.length ? given : [n])),
};
window.Signal = class {
  slots = [];
  connect(slot) { this.slots.push(slot); }
  emit(...given) { for (const slot of this.slots) slot(null, ...given); }
};
}"""

# A kernel of the dialog: notes the questions, and answers as `window.answers` says, or when `window.later` is called.
FAKE = """({ name, kernels }) => import('/lab/dialog.js').then(({ askRoles }) => {
  window.asked = [];
  window.started = [];
  window.disposed = 0;
  window.made = undefined;
  const start = (kernel) => {
    started.push(kernel);
    return {
      ended: null,
      ask: (question, { signal, onProgress } = {}) => new Promise((resolve, reject) => {
        asked.push(question);
        signal?.addEventListener('abort', () => reject(signal.reason));
        const answer = answers[question.ask];
        if (answer.progress) onProgress(answer.progress);
        if (answer.ok) resolve(answer.ok);
        else if (answer.error) reject(new Error(answer.error));
        else window.later = resolve;
      }),
      dispose: () => (disposed += 1),
    };
  };
  askRoles({ name, kernels, start, trans: words }).then((made) => (window.made = made));
})"""


def column(name, kind="number", role=None, reason="", values=None):
    told = {"values": values} if values else {}
    return {
        "name": name,
        "type": kind,
        "n_missing": 0,
        "n_values": 9,
        "examples": ["a", "b"],
        "role": role,
        "reason": reason,
        "confidence": "sure",
        **told,
    }


COLUMNS = [
    column("finding", "text", "label", "name says finding", [["sick", 3], ["very sick", 2], ["well", 5]]),
    column("p", role="proba", reason="in [0, 1]"),
    column("patient", "text", "patient_id", "name says patient"),
    column("file", "text", "image", "paths of images"),
    column("age", role="metadata", reason="name says age"),
    column("other", "text", None, "web addresses"),
    column("<img src=x onerror=alert(1)>", "text"),
]
SUGGESTION = {
    "label": ["finding"],
    "positive": ["sick"],
    "proba": ["p"],
    "patient_id": "patient",
    "sample_id": "file",
    "image": "file",
    "image_root": "films",
    "report": None,
    "metadata": ["age"],
    "threshold": None,
}
TABLE = {"path": "cases.csv", "n_rows": 10, "n_bytes": 2345, "columns": COLUMNS, "suggestion": SUGGESTION, "notes": []}
CHECKED = {
    "summary": ["10 cases of 4 patients"],
    "warnings": ["Fewer than 50 patients"],
    "pairs": [],
    "stand_in": False,
    "image_root": "films",
    "n_samples": 10,
    "n_patients": 4,
}
ANSWERS = {"table": {"ok": TABLE}, "check": {"ok": CHECKED}, "notebook": {"ok": {"path": "cases-audit.ipynb"}}}
PYTHON = [{"name": "python3", "title": "Python 3"}]


@pytest.fixture
def modules(served, watching):
    served.set_viewport_size({"width": 1280, "height": 720})
    served.goto(served.origin)
    watch = watching(served)
    served.evaluate(SETUP)
    yield served
    assert watch.errors == []


@pytest.fixture
def dialog(modules):
    """Return a function that opens the dialog with answers and waits for its table."""

    def open_(answers=None, kernels=PYTHON, wait=True):
        modules.locator("#before").focus()
        modules.evaluate("(given) => { window.answers = given; }", {**ANSWERS, **(answers or {})})
        modules.evaluate(FAKE, {"name": "cases.csv", "kernels": kernels})
        if wait:
            expect(modules.locator(".mma-lab-columns").first).to_be_visible()
        return modules

    return open_


def role(page, name):
    return page.get_by_role("combobox", name=f"Role of {name}", exact=True)


def run_button(page):
    return page.get_by_role("button", name="Make notebook and run it")


def last_roles(page):
    return page.evaluate("asked.filter(({ ask }) => ask === 'check').at(-1).roles")


class TestWhatWasGuessed:
    def test_it_is_shown_with_its_reasons_and_checked_at_once(self, dialog):
        page = dialog()
        expect(role(page, "patient")).to_have_value("patient_id")
        expect(role(page, "file")).to_have_value("image,sample_id")
        expect(page.locator("tr", has=role(page, "age"))).to_contain_text("name says age")
        expect(page.get_by_role("status")).to_contain_text("✓ 10 cases of 4 patients")
        expect(page.get_by_role("status")).to_contain_text("▲ Fewer than 50 patients")
        assert last_roles(page) == SUGGESTION
        assert page.evaluate("asked.map(({ ask }) => ask)") == ["table", "check"]

    def test_reading_shows_how_far_it_is(self, dialog):
        page = dialog({"table": {"progress": {"done": 1, "total": 4, "text": "Reading rows"}}}, wait=False)
        expect(page.get_by_text("Reading rows")).to_be_visible()
        assert page.locator("progress").evaluate("el => [el.value, el.max]") == [1, 4]
        expect(run_button(page)).to_have_attribute("aria-disabled", "true")
        page.get_by_role("button", name="Cancel").click()
        assert page.evaluate("[made, disposed]") == [None, 1]

    def test_what_is_not_used_is_folded_and_can_be_searched(self, dialog):
        page = dialog()
        expect(role(page, "other")).to_be_hidden()
        page.get_by_text("Not used (2)").click()
        page.get_by_role("searchbox").fill("OTH")
        expect(role(page, "other")).to_be_visible()
        expect(page.get_by_text("<img src=x")).to_have_count(0)
        page.keyboard.press("Escape")  # empties the field, and only that
        expect(page.get_by_text("<img src=x")).to_be_visible()
        expect(page.get_by_role("searchbox")).to_have_value("")

    def test_of_thousands_of_columns_few_are_in_the_page(self, dialog):
        columns = COLUMNS[:1] + [column(f"feature {k}") for k in range(3000)]
        page = dialog({"table": {"ok": {**TABLE, "columns": columns, "suggestion": {"label": ["finding"]}}}})
        page.get_by_text("Not used (3,000)").click()
        expect(page.get_by_role("combobox", name="Role of feature")).to_have_count(50)
        page.get_by_role("button", name="2,950 more columns").click()
        expect(page.get_by_role("combobox", name="Role of feature")).to_have_count(250)
        page.get_by_role("searchbox").fill("feature 2999")
        expect(page.get_by_role("combobox", name="Role of feature")).to_have_count(1)

    def test_names_of_columns_are_no_markup(self, dialog):
        page = dialog()
        assert page.locator("dialog img, dialog script").count() == 0

    def test_pairs_of_labels_and_probabilities_are_shown(self, dialog):
        page = dialog({"check": {"ok": {**CHECKED, "pairs": [["a", "p_a"], ["b", "p_b"]]}}})
        expect(page.locator(".mma-lab-pairs li")).to_have_text(["a ← p_a", "b ← p_b"])


class TestChoosing:
    def test_a_role_of_one_column_is_taken_from_the_other(self, dialog):
        page = dialog()
        role(page, "age").select_option("patient_id")
        expect(role(page, "patient")).to_have_value("")
        expect(page.locator("tr", has=role(page, "age"))).to_contain_text("chosen by you")
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert last_roles(page) == {**SUGGESTION, "patient_id": "age", "metadata": []}

    def test_only_the_part_that_is_taken_goes(self, dialog):
        page = dialog()
        role(page, "age").select_option("sample_id")
        expect(role(page, "file")).to_have_value("image")

    def test_a_guess_can_be_used_again(self, dialog):
        page = dialog()
        role(page, "age").select_option("report")
        page.get_by_role("button", name="Use the guess again").click()
        expect(role(page, "age")).to_have_value("metadata")
        expect(role(page, "age")).to_be_focused()
        expect(page.locator("tr", has=role(page, "age"))).to_contain_text("name says age")

    def test_all_guesses_can_be_used_again(self, dialog):
        page = dialog()
        role(page, "age").select_option("")
        role(page, "p").select_option("metadata")
        page.get_by_role("button", name="Use all guesses again").click()
        expect(page.get_by_role("button", name="Use all guesses again")).to_be_hidden()
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert last_roles(page) == SUGGESTION

    def test_a_column_that_gets_a_role_moves_up_with_the_focus(self, dialog):
        page = dialog()
        page.get_by_text("Not used (2)").click()
        role(page, "other").focus()
        role(page, "other").select_option("metadata")
        expect(page.get_by_text("Not used (1)")).to_be_visible()
        expect(page.get_by_role("table").first.get_by_role("combobox", name="Role of other")).to_be_focused()

    def test_values_that_count_as_1(self, dialog):
        page = dialog()
        page.get_by_role("checkbox", name="very sick 2").check()
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert last_roles(page)["positive"] == ["sick", "very sick"]
        role(page, "age").select_option("label")  # several labels are 0 and 1 each
        expect(page.get_by_role("checkbox")).to_have_count(0)
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert last_roles(page)["positive"] is None

    def test_folder_and_threshold(self, dialog):
        page = dialog()
        page.get_by_label("Folder of the images").fill(" elsewhere ")
        page.get_by_text("More", exact=True).click()
        page.get_by_role("spinbutton").fill("0.3")
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert [last_roles(page)[name] for name in ("image_root", "threshold")] == ["elsewhere", 0.3]
        role(page, "file").select_option("")
        expect(page.get_by_label("Folder of the images")).to_be_hidden()
        expect(page.get_by_role("status")).to_contain_text("✓")
        assert last_roles(page)["image_root"] is None

    def test_the_last_question_wins(self, dialog):
        page = dialog({"check": {}})
        page.wait_for_function("asked.length === 2")
        role(page, "age").select_option("report")
        page.wait_for_function("asked.length === 3")
        page.evaluate("(found) => later(found)", CHECKED)
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        assert last_roles(page)["report"] == "age"


class TestWhatIsWrong:
    def test_it_is_said_below_and_beside_its_field(self, dialog):
        page = dialog({"check": {"error": "Patient: expected one column, got none. Choose one."}})
        row = page.locator("tr", has=role(page, "patient"))
        expect(row).to_contain_text("✕ Patient: expected one column")
        expect(role(page, "patient")).to_have_attribute("aria-invalid", "true")
        expect(page.locator("[aria-invalid]")).to_have_count(1)
        expect(page.locator(".mma-lab-said")).to_contain_text("✕ Patient: expected one column")
        expect(run_button(page)).to_have_attribute("aria-disabled", "true")
        run_button(page).click(force=True)
        assert "notebook" not in page.evaluate("asked.map(({ ask }) => ask)")

    @pytest.mark.parametrize(
        ("field", "label"), [("Folder of the images", "Folder of the images"), ("Threshold", "Threshold, from")]
    )
    def test_fields_below_the_table(self, dialog, field, label):
        page = dialog({"check": {"error": f"{field}: expected another, got this. Mend it."}})
        expect(page.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_label(label)).to_be_visible()

    def test_values_that_count_as_1(self, dialog):
        page = dialog({"check": {"error": "Counts as 1: expected some, got all. Untick one."}})
        expect(page.get_by_role("group", name="Counts as 1")).to_contain_text("✕ Counts as 1: expected some")

    def test_a_threshold_beyond_1_is_not_asked_about(self, dialog):
        page = dialog()
        expect(page.get_by_role("status")).to_contain_text("✓")
        page.get_by_text("More", exact=True).click()
        page.get_by_role("spinbutton").fill("7")
        expect(page.locator(".mma-lab-said")).to_contain_text("✕ Threshold: expected a number from 0 to 1")
        assert page.evaluate("asked.length") == 2

    def test_a_table_that_cannot_be_read(self, dialog):
        page = dialog({"table": {"error": "Table: expected a header, got none. Export it again."}}, wait=False)
        expect(page.get_by_role("alert")).to_contain_text("Table: expected a header")
        page.evaluate("(table) => { answers.table = { ok: table }; }", TABLE)
        page.get_by_role("button", name="Try again").click()
        expect(role(page, "age")).to_be_visible()
        assert page.evaluate("[started.length, disposed]") == [2, 1]

    def test_no_kernel(self, dialog):
        page = dialog(kernels=[], wait=False)
        expect(page.get_by_role("alert")).to_contain_text("no Python kernel")
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)

    def test_a_notebook_that_is_not_written_loses_nothing(self, dialog):
        page = dialog({"notebook": {"error": "Folder: expected one to write in, got another. Unlock it."}})
        role(page, "age").select_option("report")
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        run_button(page).click()
        expect(page.locator(".mma-lab-said")).to_contain_text("✕ Folder: expected one to write in")
        expect(role(page, "age")).to_have_value("report")
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        assert page.evaluate("made === undefined")


class TestTheEnd:
    @pytest.mark.parametrize(("name", "run"), [("Make notebook only", False), ("Make notebook and run it", True)])
    def test_making(self, dialog, name, run):
        page = dialog()
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert page.evaluate("made") == {"path": "cases-audit.ipynb", "kernel": "python3", "run": run}
        assert page.evaluate("asked.at(-1)") == {"ask": "notebook", "path": "cases.csv", "roles": SUGGESTION}
        assert page.evaluate("disposed") == 1

    def test_escape_cancels_and_the_focus_returns(self, dialog):
        page = dialog()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.locator("#before")).to_be_focused()
        assert page.evaluate("[made, disposed]") == [None, 1]

    def test_enter_in_a_field_makes_nothing(self, dialog):
        page = dialog()
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        page.get_by_label("Folder of the images").press("Enter")
        role(page, "age").press("Enter")
        assert "notebook" not in page.evaluate("asked.map(({ ask }) => ask)")

    def test_the_focus_stays_inside(self, dialog):
        page = dialog()
        for _ in range(30):
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.id") != "before"

    def test_another_kernel_reads_again(self, dialog):
        page = dialog(kernels=[*PYTHON, {"name": "torch", "title": "Python with torch"}])
        page.get_by_label("Python:").select_option("torch")
        expect(role(page, "age")).to_be_visible()
        expect(run_button(page)).to_have_attribute("aria-disabled", "false")
        page.get_by_role("button", name="Make notebook only").click()
        assert page.evaluate("[made.kernel, ...started]") == ["torch", "python3", "torch"]

    @pytest.mark.parametrize("size", [(1280, 600), (640, 360)])
    def test_small_windows_show_the_buttons(self, dialog, size):
        page = dialog()
        page.set_viewport_size({"width": size[0], "height": size[1]})
        run_button(page).scroll_into_view_if_needed()
        expect(run_button(page)).to_be_in_viewport(ratio=1)


# --- The kernel -------------------------------------------------------------------------------------------------------

# A kernel of Jupyter: `window.send` gives it messages, `window.finish` ends the question that it works on.
JUPYTER = """() => import('/lab/kernel.js').then((module) => {
  window.sent = [];
  window.log = [];
  const kernel = { statusChanged: new Signal(), connectionStatusChanged: new Signal(), disposed: new Signal() };
  kernel.requestExecute = (content) => {
    const future = { done: new Promise((resolve) => (window.finish = resolve)) };
    window.send = (msg_type, content) => future.onIOPub({ header: { msg_type }, content });
    sent.push(content);
    return future;
  };
  kernel.interrupt = async () => log.push('interrupt');
  const session = { id: 'one', kernel, shutdown: async () => log.push('shutdown') };
  const sessions = { startNew: async (given) => (log.push(given), session) };
  const manager = { sessions, contents: { localPath: (path) => path.replace(/^RTC:/, '') } };
  window.jupyter = { kernel, session, sessions };
  window.kernel = new module.Kernel({ services: {}, manager, trans: words }, 'RTC:folder', 'python3');
  const told = (answer) => answer.then((ok) => ({ ok }), ({ message }) => ({ error: message }));
  window.ask = (kind, options) => told(window.kernel.ask({ ask: kind }, options));
  window.turn = () => new Promise((resolve) => setTimeout(resolve));
}).then(() => null)"""


@pytest.fixture
def kernel(modules):
    modules.evaluate(JUPYTER)
    return modules


MIME = "application/vnd.mmaudit.answer+json"


class TestKernel:
    @pytest.mark.parametrize("path", ["cases.csv", "'\"\\\n\u2028!ls", "\U0001f600 مريض \x00 é", '"); import os #'])
    def test_any_question_arrives_as_it_was_asked(self, modules, path):
        question = {"ask": "table", "path": path}
        code = modules.evaluate("(asked) => import('/lab/kernel.js').then(({ codeOf }) => codeOf(asked))", question)
        before, literal = code.split("_m.answer(")
        assert code.isascii() and len(code.splitlines()) == 1
        assert before == "import sys; sys.path[:] = [p for p in sys.path if p]; import mmaudit.lab as _m; "
        assert json.loads(eval(literal.removesuffix(")"))) == question

    def test_python_kernels_come_default_first(self, modules):
        named = {name: {"name": name, "display_name": name.upper(), "language": "python"} for name in "abc"}
        specs = {"default": "b", "kernelspecs": {**named, "r": {"name": "r", "display_name": "R", "language": "R"}}}
        find = (
            "(specs) => import('/lab/kernel.js').then(({ pythonKernels }) => pythonKernels({ kernelspecs: { specs } }))"
        )
        assert [found["name"] for found in modules.evaluate(find, specs)] == ["b", "a", "c"]
        assert modules.evaluate(find, None) == []

    def test_answers_come_after_progress_and_the_kernel_starts_in_the_folder(self, kernel):
        told = kernel.evaluate(
            """async (mime) => {
                const told = [];
                const answer = ask('table', { onProgress: (progress) => told.push(progress) });
                await turn();
                send('status', { execution_state: 'busy' });
                send('display_data', { data: { [mime]: { progress: { done: 1 } } } });
                send('display_data', { data: { [mime]: { ok: { n: 3 } } } });
                finish();
                return [await answer, told];
            }""",
            MIME,
        )
        assert told == [{"ok": {"n": 3}}, [{"done": 1}]]
        given = kernel.evaluate("log[0]")
        assert given["path"].startswith("folder/.") and given["kernel"] == {"name": "python3"}
        assert kernel.evaluate("[sent[0].store_history, sent[0].stop_on_error]") == [False, False]

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("ModuleNotFoundError", "No module named 'mmaudit'", "Run “pip install mmaudit”"),
            ("ModuleNotFoundError", "No module named 'mmaudit.lab'", "too old"),
            ("AttributeError", "module 'mmaudit.lab' has no attribute 'answer'", "too old"),
            ("ModuleNotFoundError", "No module named 'pandas'", "lacks what mmaudit needs: No module named 'pandas'"),
            ("KeyError", "patient Smith", "stopped with a KeyError"),
        ],
    )
    def test_errors_are_said_plainly_and_quote_no_table(self, kernel, name, text, said):
        error = kernel.evaluate(
            """async (content) => {
                const answer = ask('table');
                await turn();
                send('error', content);
                finish();
                return (await answer).error;
            }""",
            {"ename": name, "evalue": text},
        )
        assert said in error and "Smith" not in error

    @pytest.mark.parametrize(
        "end", ["statusChanged.emit('dead')", "statusChanged.emit('autorestarting')", "disposed.emit()"]
    )
    def test_a_kernel_that_dies_answers_all_that_wait(self, kernel, end):
        both = kernel.evaluate(
            f"""async () => {{
                const both = [ask('table'), ask('check')];
                await turn();
                jupyter.kernel.{end};
                return Promise.all(both);
            }}"""
        )
        assert all("The kernel stopped before it answered" in answer["error"] for answer in both)
        assert "stopped" in kernel.evaluate("window.kernel.ended.message")

    def test_questions_wait_for_each_other(self, kernel):
        counts = kernel.evaluate(
            """async (mime) => {
                const one = ask('table'), two = ask('check');
                await turn();
                const counts = [sent.length];
                send('display_data', { data: { [mime]: { ok: {} } } });
                finish();
                await one;
                await turn();
                return [...counts, sent.length];
            }""",
            MIME,
        )
        assert counts == [1, 2]

    def test_a_question_taken_back_is_interrupted_but_not_the_first_of_its_kind(self, kernel):
        kernel.evaluate(
            """async (mime) => {
                window.seen = [];
                for (let time = 0; time < 2; time += 1) {
                    const stop = new AbortController();
                    const answer = ask('check', { signal: stop.signal });
                    await turn();
                    stop.abort();
                    seen.push('error' in (await answer), log.includes('interrupt'));
                    finish();
                    await turn();
                }
            }""",
            MIME,
        )
        assert kernel.evaluate("seen") == [True, False, True, True]

    def test_a_question_taken_back_before_its_turn_is_never_asked(self, kernel):
        sent = kernel.evaluate(
            """async () => {
                const stop = new AbortController();
                ask('table');
                const answer = ask('check', { signal: stop.signal });
                await turn();
                stop.abort();
                await answer;
                finish();
                await turn();
                return sent.length;
            }"""
        )
        assert sent == 1

    def test_it_is_shut_down_also_while_it_starts(self, kernel):
        assert kernel.evaluate("window.kernel.dispose().then(() => log.at(-1))") == "shutdown"
        assert "shut down" in kernel.evaluate("ask('table')")["error"]


# --- In JupyterLab ----------------------------------------------------------------------------------------------------

KERNEL_MS = 60_000  # a kernel starts and loads its libraries
ROWS = 80
CASES = "patient_id,finding,probability,sex,age\n" + "".join(
    f"p{row // 2},{'yes' if row % 3 == 0 else 'no'},{(row * 37 % 100) / 100},{'FM'[row % 2]},{30 + row % 40}\n"
    for row in range(ROWS)
)


CLOSE_NOTEBOOKS = """() => {
  for (const widget of [...jupyterapp.shell.widgets('main')].filter(({ context }) => context)) {
    widget.context.model.dirty = false;
    widget.dispose();
  }
}"""


@pytest.fixture
def jupyter(lab_page):
    lab_page.close_all()
    (lab_page.folder / "cases.csv").write_text(CASES)
    for notebook in lab_page.folder.glob("cases-audit*"):
        notebook.unlink()
    yield lab_page
    lab_page.close_all()


class TestInJupyterLab:
    def test_a_table_becomes_a_notebook(self, jupyter, pytestconfig):
        if jupyter.is_older:
            pytest.skip("as with the real table")
        data = mma.datasets.load_phantom(200, image_size=64, random_state=0)
        table = data.metadata.assign(patient_id=data.patient_id, report=data.reports, effusion=data.y_true)
        table.assign(p_effusion=data.y_proba.round(3)).to_csv(jupyter.folder / "phantom.csv", index=False)
        page = jupyter.page
        jupyter.command("filebrowser:refresh")
        page.locator(".jp-DirListing-item", has_text="phantom.csv").click(button="right")
        page.get_by_role("menuitem", name="Audit with mmaudit").click()
        expect(role(page, "effusion")).to_have_value("label", timeout=KERNEL_MS)
        expect(role(page, "p_effusion")).to_have_value("proba")
        expect(run_button(page)).to_have_attribute("aria-disabled", "false", timeout=KERNEL_MS)
        page.screenshot(path=Path(pytestconfig.getoption("--output"), "dialog.png"))  # the README shows such a picture
        page.get_by_role("button", name="Make notebook only").click()
        expect(page.get_by_role("tab", name="phantom-audit.ipynb")).to_be_visible(timeout=KERNEL_MS)
        page.wait_for_function(
            "() => jupyterapp.serviceManager.sessions.refreshRunning().then(() => "
            "[...jupyterapp.serviceManager.sessions.running()].every(({ type }) => type !== 'mmaudit'))",
            polling=200,
        )

    def test_closing_the_dialog_shuts_its_kernel_down(self, jupyter):
        page = jupyter.page
        jupyter.start("mmaudit:audit-file", path="cases.csv")
        expect(page.get_by_role("dialog", name="Audit")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Audit")).to_have_count(0)
        page.wait_for_function(
            "() => jupyterapp.serviceManager.sessions.refreshRunning().then(() => "
            "![...jupyterapp.serviceManager.sessions.running()].length)",
            polling=200,
        )

    def test_the_picker_shows_tables_only(self, jupyter):
        page = jupyter.page
        (jupyter.folder / "notes.txt").write_text("no table")
        jupyter.start("mmaudit:new-audit", cwd="")
        picker = page.locator(".jp-Open-Dialog")
        expect(picker.get_by_text("cases.csv")).to_be_visible()
        expect(picker.get_by_text("notes.txt")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(picker).to_have_count(0)

    def test_the_workshop_opens_copies_and_is_restored(self, jupyter):
        if jupyter.is_older:
            pytest.skip("the same code, and its kernels take their time")
        page = jupyter.page
        jupyter.command("mmaudit:workshop", cwd="")
        page.get_by_role("button", name="Open 00").click()
        expect(page.get_by_role("tab", name="00_quickstart.ipynb")).to_be_visible(timeout=KERNEL_MS)
        assert (jupyter.folder / "mmaudit-workshop" / "00_quickstart.ipynb").is_file()
        page.evaluate(CLOSE_NOTEBOOKS)  # else the page would ask whether to leave it
        jupyter.reload()
        page.get_by_role("tab", name="Workshop").click()
        expect(page.get_by_role("button", name="Open 00")).to_be_visible(timeout=KERNEL_MS)
