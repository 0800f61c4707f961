"""There and back: suspects in a real Label Studio, people who decide in its interface, and the file with what they decided.

    python benchmarks/label_studio.py                                         # makes peers/.venv-label_studio at the first run
    python benchmarks/label_studio.py --python other/bin/python --keep out    # an environment that is there; keeps all files

Label Studio runs on 127.0.0.1 with SQLite in a temporary folder; what it sends home (analytics, error reports, its check for a newer
version) is switched off, and the browser may ask nothing but this server. Chromium is needed. Three sets go there and back:

    texts     docstrings of installed packages, 15 wrong labels planted; two people, who change, keep, skip, disagree, answer twice, answer
              with nothing, and leave a draft
    labels    one row for each of many odd labels and ids (dollar signs, quotes, spaces, two lines); every choice is clicked once
    pictures  a folder of images with odd names; every picture must be seen

Of each, `label-studio-sdk` checks every prediction; tasks must come in the order of suspicion; the exports (JSON, JSON_MIN, CSV, TSV) go
through `datassay import` and `datassay apply`, and what comes out must be, byte for byte, a file that is written here without datassay.
Writes ``benchmarks/out/label_studio.md``; exit status 1 if anything differs.
"""

import argparse
import csv
import io
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from peers import interpreter
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from sklearn.datasets import load_digits
from text_errors import docstrings

OUT = Path(__file__).parent / "out"
CHECK = Path(__file__).parent / "peers" / "label_studio" / "check.py"
ANN, BOB = ("ann@example.org", "ann has a password"), ("bob@example.org", "bob has a password")
TOKEN = "0123456789abcdef" * 2 + "01234567"
FORMATS = {"JSON": "json", "JSON_MIN": "min.json", "CSV": "csv", "TSV": "tsv.csv"}
PATIENCE = 180_000  # ms, on a machine that others use, too
LABELS = (
    "plain", "$10-20", "$text", "a $x b", "5 $", 'a "b" & <c>', "yes, no", "two\nlines", "in  two", "001", "1", "None", "true", "x/y's",
    "=1+1", "'quoted", '{"choices": ["q"]}', "ünï",
)  # fmt: skip
NAMES = ("plain", "a b", "c#d", "e+f", "g&h", "100%", "ü", "q?x", "a=b;c")


class Studio:
    """A Label Studio that runs, and what may be asked of it."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{free.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[None]:
        there = self.folder / "studio"
        there.mkdir()
        quiet = {"COLLECT_ANALYTICS": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "LATEST_VERSION_CHECK": "false"}
        set_up = {
            "DJANGO_DB": "sqlite", "HOME": str(there), "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true", "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(self.folder),
        }  # fmt: skip
        call = [
            self.python.with_name("label-studio"), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port",
            self.address.rsplit(":", 1)[1], "--data-dir", there, "--username", ANN[0], "--password", ANN[1], "--user-token", TOKEN,
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | quiet | set_up
        with (self.folder / "studio.log").open("w") as log:
            server = subprocess.Popen(call, env=environment, stdout=log, stderr=log)
            try:
                for _ in range(600):
                    if server.poll() is not None:
                        sys.exit(f"Label Studio did not start: {(self.folder / 'studio.log').read_text()[-2000:]}")
                    try:
                        self.ask("GET", "/api/version")
                        break
                    except OSError:
                        time.sleep(1)
                yield
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(60)

    def ask(self, method: str, path: str, content: Any = None, kind: str = "application/json") -> Any:
        """Of its API; JSON, or bytes where it is none."""
        sent = content if content is None or isinstance(content, bytes) else json.dumps(content).encode()
        request = urllib.request.Request(
            self.address + path, sent, {"Authorization": f"Token {TOKEN}", "Content-Type": kind}
        )
        request.method = method
        with urllib.request.urlopen(request, timeout=120) as answer:
            came = answer.read()
        return json.loads(came) if path.startswith("/api") and "/export" not in path else came

    def project(self, title: str, tasks: Path, pictures: Path | None = None) -> int:
        """A project with the configuration that stands beside the tasks, and the tasks as its interface uploads them."""
        config = tasks.with_suffix(".xml").read_text(encoding="utf-8")
        number: int = self.ask("POST", "/api/projects/", {"title": title, "label_config": config})["id"]
        if pictures is not None:
            self.ask("POST", "/api/storages/localfiles", {"project": number, "path": str(pictures), "use_blob_urls": True})
        head = 'Content-Disposition: form-data; name="file"; filename="tasks.json"\r\nContent-Type: application/json'
        body = f"--cut\r\n{head}\r\n\r\n".encode() + tasks.read_bytes() + b"\r\n--cut--\r\n"
        made = self.ask("POST", f"/api/projects/{number}/import", body, "multipart/form-data; boundary=cut")
        assert made["task_count"] == made["prediction_count"] == len(json.loads(tasks.read_text(encoding="utf-8"))), made
        return number

    def order(self, project: int, by: str) -> list[str]:
        """Ids of rows, as the list of tasks shows them."""
        view = self.ask("POST", "/api/dm/views/", {"project": project, "data": {"ordering": [by]}})["id"]
        asked = urlencode({"view": view, "project": project, "page_size": 1000})
        return [task["data"]["datassay_id"] for task in self.ask("GET", f"/api/tasks?{asked}")["tasks"]]


class Person:
    """Somebody at the interface, in a browser that may ask this server alone."""

    def __init__(self, browser: Browser, studio: Studio, who: tuple[str, str], path: str) -> None:
        self.studio, self.outside = studio, []
        context = browser.new_context(viewport={"width": 1300, "height": 900}, locale="en")

        def guard(route: Any) -> None:
            if route.request.url.startswith((studio.address, "data:", "blob:")):
                route.continue_()
            else:
                self.outside.append(route.request.url)
                route.abort()

        context.route("**/*", guard)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(studio.address + path)
        self.page.fill("input[name=email]", who[0])
        self.page.fill("input[name=password]", who[1])
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/" not in url)

    def stream(self, project: int) -> None:
        """The tasks one after the other, as "Label All Tasks" gives them."""
        self.page.goto(f"{self.studio.address}/projects/{project}/data")
        self.page.click("text=Label All Tasks")

    def another(self, project: int, task: int) -> None:
        """An answer of one's own to a task that has one."""
        self.page.goto(f"{self.studio.address}/projects/{project}/data?task={task}")
        self.page.click("[aria-label='Create an annotation']")
        self.page.wait_for_selector("button:has-text('Submit')")

    def sees(self, text: str) -> None:
        """Wait until it is there."""
        seen = "t => document.querySelector('.lsf-richtext__container')?.innerText.split(/\\s+/).join(' ').trim() === t"
        self.page.wait_for_function(seen, arg=" ".join(text.split()))
        self.page.wait_for_selector("button:has-text('Submit')")

    def choose(self, number: int) -> None:
        box = self.page.locator(".lsf-choice input").nth(number)
        for _ in range(60):  # a picture that comes late moves the choices away under the mouse
            if box.is_checked():
                return
            box.click(force=True)
            self.page.wait_for_timeout(500)
        raise TimeoutError(f"choice {number} can't be marked")

    def press(self, button: str, path: str = "/annotations") -> None:
        """Until the server has it."""
        with self.page.expect_response(lambda answer: answer.request.method == "POST" and path in answer.url) as got:
            self.page.click(f"button:has-text('{button}')")
        assert got.value.ok, got.value.text()


class Report:
    """What was seen: lines to print and to write, and whether all is well."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.well = True

    def say(self, line: str, well: bool = True) -> None:
        self.lines.append(f"- {line}" if well else f"- **{line}**")
        self.well &= well
        print(line if well else f"WRONG: {line}", flush=True)


def datassay(folder: Path, *words: Any) -> str:
    call = [sys.executable, "-m", "datassay", *map(str, words)]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(call)}\n{done.stderr}")
    return done.stdout


def exported(folder: Path, source: str, studio: Studio, report: Report, *more: str) -> tuple[list[dict], list[str]]:
    """Value the file and export it; the tasks, checked by the sdk, and the ids of their rows in order."""
    reading = [] if (folder / source).is_dir() else ["--label", "label", "--id", "key"]
    datassay(folder, "value", source, *reading, "-m", "cg-score", "-o", "values.parquet")
    datassay(folder, "export", "values.parquet", "--data", source, "--to", "label-studio", "-o", "tasks.json", *more)
    said = subprocess.run(
        [studio.python, CHECK, "tasks.json", "tasks.xml"], cwd=folder, capture_output=True, text=True, check=True
    )
    checked = json.loads(said.stdout)
    report.say(
        f"{checked['predictions']} predictions, of which the sdk refuses {len(checked['refused'])}; of two that are wrong it refuses "
        f"{sum(checked['refuses'])} (a choice that the form lacks, a score of 1.5)",
        not checked["refused"] and all(checked["refuses"]),
    )
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    return tasks, [task["data"]["datassay_id"] for task in tasks]


def ordered(studio: Studio, project: int, ids: list[str], report: Report) -> None:
    ways = {"prediction score": "tasks:predictions_score", "rank": "tasks:data.datassay_rank", "ID": "tasks:id"}
    right = {name: studio.order(project, by) == ids for name, by in ways.items()}
    report.say(f"sorted as exported by {', '.join(name for name, well in right.items() if well)}", all(right.values()))


def back(folder: Path, source: str, studio: Studio, project: int, expected: bytes, report: Report) -> None:
    """Export in each format, import, apply, compare."""
    reading = [] if (folder / source).is_dir() else ["--label", "label", "--id", "key"]
    for kind, name in FORMATS.items():
        (folder / f"export.{name}").write_bytes(studio.ask("GET", f"/api/projects/{project}/export?exportType={kind}"))
        said = datassay(folder, "import", f"export.{name}", "--data", source, *reading, "-o", "decisions.csv", "--force")
        datassay(folder, "apply", "decisions.csv", "--data", source, *reading, "-o", "clean.csv", "--force")
        same = (folder / "clean.csv").read_bytes() == expected
        report.say(
            f"{kind}: {said.strip()} Applied: {'the expected file, byte for byte' if same else 'ANOTHER FILE'}.", same
        )


def texts(folder: Path, studio: Studio, browser: Browser, report: Report) -> None:
    words, package = docstrings()
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.flatnonzero(np.isin(package, ["pandas", "scipy", "sympy"])))[:300]
    labels, right = package[rows].tolist(), package[rows].tolist()
    kinds = sorted(set(right))
    for row in rng.permutation(300)[:15]:
        labels[row] = kinds[(kinds.index(labels[row]) + 1) % 3]
    lines = [["key", "text", "label"], *([f"doc-{i}", words[rows[i]], labels[i]] for i in range(300))]
    (folder / "train.csv").write_text(written(lines), encoding="utf-8", newline="")
    tasks, ids = exported(folder, "train.csv", studio, report, "--top", "40")
    project = studio.project("texts", folder / "tasks.json")
    ordered(studio, project, ids, report)
    given = [task["data"]["given_label"] for task in tasks]
    taken = [task["predictions"][0]["result"][0]["value"]["choices"][0] for task in tasks]
    other = [next(kind for kind in kinds if kind not in (a, b)) for a, b in zip(given, taken, strict=True)]

    ann = Person(browser, studio, ANN, "/user/login/")
    ann.stream(project)
    # what is clicked, and the label that the row has in the end; None: that before
    ways: list[tuple[str, list[str], Callable[[int], str | None]]] = [
        ("another label", other, lambda i: other[i]),
        ("the suggestion, which is marked already", taken, lambda i: taken[i]),
        ("the given label", given, lambda i: None),
        ("skipped", taken, lambda i: None),
        ("another label, and bob disagrees", other, lambda i: None),
        ("another label, and later the suggestion in a second answer", other, lambda i: taken[i]),
        ("another label, and bob has a draft alone", other, lambda i: other[i]),
        ("another label, and bob answers with nothing", other, lambda i: other[i]),
    ]
    end: dict[str, str] = {}
    for i, (what, clicked, label) in enumerate(ways):
        ann.sees(tasks[i]["data"]["text"])
        if i == 0:
            shown = ann.page.locator(".lsf-label-view__lsf-wrapper, body").first.inner_text()
            report.say("the page says which label is given", f"labelled {given[0]}" in shown)
        if what == "skipped":
            ann.press("Skip")
        else:
            ann.choose(kinds.index(clicked[i]))
            ann.press("Submit")
        if (settled := label(i)) is not None:
            end[ids[i]] = settled
    first = studio.ask("GET", f"/api/tasks?{urlencode({'project': project, 'page_size': 1000})}")["tasks"]
    number = {task["data"]["datassay_id"]: task["id"] for task in first}
    ann.another(project, number[ids[5]])
    ann.choose(kinds.index(taken[5]))
    ann.press("Submit")
    bob = Person(browser, studio, BOB, studio.ask("GET", "/api/invite")["invite_url"])
    bob.another(project, number[ids[4]])
    bob.choose(kinds.index(taken[4]))
    bob.press("Submit")
    bob.another(project, number[ids[7]])
    bob.press("Submit")
    bob.another(project, number[ids[6]])
    with bob.page.expect_response(lambda answer: answer.request.method == "POST" and "/drafts" in answer.url):
        bob.choose(kinds.index(given[6]))
    report.say("ann and bob: " + "; ".join(what for what, _, _ in ways))
    report.say(
        f"asked of other servers: {len(ann.outside + bob.outside)} addresses, refused by the test",
        not ann.outside + bob.outside,
    )
    expected = [lines[0], *([key, text, end.get(key, label)] for key, text, label in lines[1:])]
    back(folder, "train.csv", studio, project, written(expected).encode(), report)


def odd_labels(folder: Path, studio: Studio, browser: Browser, report: Report) -> None:
    rng = np.random.default_rng(0)
    n = 3 * len(LABELS)
    labels = [LABELS[i % len(LABELS)] for i in range(n)]
    ids = [("'=id {}", "=id{}", "00{}", "{}e5", "id, {}")[i % 5].format(i) for i in range(n)]
    x = (np.arange(n) % len(LABELS) + rng.normal(size=n)).round(3)
    lines = [["key", "x", "label"], *([key, str(a), label] for key, a, label in zip(ids, x, labels, strict=True))]
    (folder / "train.csv").write_text(written(lines), encoding="utf-8", newline="")
    tasks, _ = exported(folder, "train.csv", studio, report)
    project = studio.project("labels", folder / "tasks.json")
    ann = Person(browser, studio, ANN, "/user/login/")
    ann.stream(project)
    classes = sorted(LABELS)
    end = {}
    for i, label in enumerate(classes):
        ann.sees(tasks[i]["data"]["text"])
        ann.choose(i)
        ann.press("Submit")
        end[tasks[i]["data"]["datassay_id"]] = label
    report.say(f"{len(classes)} labels clicked, of {len(classes)} rows: {', '.join(map(repr, classes))}")
    expected = [lines[0], *([key, a, end.get(key, label)] for key, a, label in lines[1:])]
    back(folder, "train.csv", studio, project, written(expected).encode(), report)


def pictures(folder: Path, studio: Studio, browser: Browser, report: Report) -> None:
    digits = load_digits()
    kinds = ["one #1", "two & more", "zero"]
    paths = []
    for k, i in enumerate(np.flatnonzero(digits.target < 3)[:45]):
        path = folder / "pics" / ("zero", "one #1", "two & more")[digits.target[i]] / f"{NAMES[k % len(NAMES)]} {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 / 16 * digits.images[i]).astype(np.uint8)).resize((64, 64)).save(path)
        paths.append(path.relative_to(folder / "pics").as_posix())
    at = f"/data/local-files/?d={folder.name}/pics/"
    tasks, _ = exported(folder, "pics", studio, report, "--prefix", at)
    project = studio.project("pictures", folder / "tasks.json", folder / "pics")
    ann = Person(browser, studio, ANN, "/user/login/")
    end: dict[str, str] = {}
    loaded: list[str] = []
    ann.page.on("response", lambda answer: loaded.append(answer.url) if answer.ok else None)
    ann.stream(project)
    before = ""
    for task in tasks[:8]:
        name, given = task["data"]["datassay_id"], task["data"]["given_label"]
        another = (
            "was => [...document.images].find(i => i.naturalWidth === 64 && i.src !== was)?.src"  # a blob of what was loaded
        )
        before = ann.page.wait_for_function(another, arg=before).json_value()
        assert studio.address + task["data"]["image"] in loaded, name
        end[name] = kinds[(kinds.index(given) + 1) % 3]
        ann.choose(kinds.index(end[name]))
        ann.press("Submit")
    lead = sum(ann.page.request.get(studio.address + task["data"]["image"]).ok for task in tasks)
    names = ", ".join(map(repr, NAMES))
    report.say(
        f"{len(end)} pictures seen; {lead} of {len(tasks)} addresses lead to one (names with {names})", lead == len(tasks)
    )
    expected = [["path", "label"], *([path, end.get(path, path.split("/")[0])] for path in sorted(paths))]
    back(folder, "pics", studio, project, written(expected, "\r\n").encode(), report)


def written(lines: list[list[str]], end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(lines)
    return text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, help="of an environment with label-studio")
    parser.add_argument("--keep", type=Path, help="a folder for what came and went")
    parser.add_argument("--only", choices=["texts", "labels", "pictures"], action="append")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("needs Chromium: apt install chromium")
    python = options.python or interpreter("label_studio")
    report = Report()
    sets = {"texts": texts, "labels": odd_labels, "pictures": pictures}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        studio = Studio(python, Path(folder))
        with studio.running():
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            report.lines += [
                f"Label Studio {studio.ask('GET', '/api/version')['release']}, Chromium {browser.version}, playwright "
                f"{version('playwright')}, Python {platform.python_version()}, datassay {version('datassay')}.", "",
            ]  # fmt: skip
            for name in options.only or sets:
                report.lines += ["", f"## {name}", ""]
                print(f"# {name}")
                (Path(folder) / name).mkdir()
                sets[name](Path(folder) / name, studio, browser, report)
            browser.close()
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("studio"))
    OUT.mkdir(exist_ok=True)
    (OUT / "label_studio.md").write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    return 0 if report.well else 1


if __name__ == "__main__":
    sys.exit(main())
