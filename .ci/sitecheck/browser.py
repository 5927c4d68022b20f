"A look at every built page in Chromium: wide and narrow, light and dark."

import contextlib
import functools
import http.server
import os
import re
import shutil
import threading
import time
from pathlib import Path

ARGUMENTS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage
    --disable-background-networking --disable-component-update --disable-sync""".split()
TAUGHT = ("index.html", "start/", "explanations/", "howto/")  # where code must fit
COMMANDS = "python3 -m venv "  # the two commands of the README are long, and stay in one line
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
QUESTIONS = (Path(__file__).resolve().parent / "look.js").read_text(encoding="utf-8")


def chromium():
    "The browser, or None."
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextlib.contextmanager
def served(folder):
    "A server of the folder on this machine; its address."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def look(folder):
    "What is wrong with the pages of a folder, as a reader would see them."
    path = chromium()
    if path is None:
        said = "no Chromium on the path: nobody looks at the pages"
        print(said)
        return [said] if os.environ.get("CI") else []
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return ["playwright is missing, and nobody looks at the pages: pip install -e '.[dev]'"]
    begin, found = time.perf_counter(), []
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.html"))
    with served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        window = Window(browser, address)
        for name in names:
            found += [f"{name}: {fault}" for fault in window.faults(name)]
        browser.close()
    print(f"{len(names)} pages looked at in {time.perf_counter() - begin:.0f} s")
    return found


class Window:
    "One page of the browser, in which every page of the site is opened, and what it asks for."

    def __init__(self, browser, address):
        self.page = browser.new_context(viewport=WIDE, color_scheme="light").new_page()
        self.address, self.outside, self.missing = address, [], []
        self.sizes, self.schemes = [WIDE, NARROW], ["light", "dark"]
        self.page.route("**/*", self._guard)
        self.page.on("response", self._heard)

    def _guard(self, route):
        "Let nothing from elsewhere in."
        if route.request.url.startswith((self.address, "data:", "blob:")):
            return route.continue_()
        self.outside.append(route.request.url)
        route.abort()

    def _heard(self, response):
        if response.status >= 400:
            self.missing.append(response.url)

    def faults(self, name):
        "The faults of one page: in both widths, and in both schemes, beginning with the last ones."
        self.outside.clear()
        self.missing.clear()
        self.page.goto(self.address + name, wait_until="load")
        found = content(ask(self.page, "content"))
        ask(self.page, "unfold")
        for scheme in self.schemes:
            self.page.emulate_media(color_scheme=scheme)
            found += [f"{scheme}: {x}" for x in ask(self.page, "contrast")]
        for size in self.sizes:
            self.page.set_viewport_size(size)
            found += self._narrow() if size == NARROW else self._wide(name)
        self.sizes.reverse()  # the next page is opened as this one is left
        self.schemes.reverse()
        said = [f"asks for {url[:100]}: the site must work alone" for url in self.outside]
        lost = [url[len(self.address) :] for url in self.missing]
        return said + [f"asks for {url}, which is not there" for url in lost] + found

    def _narrow(self):
        return [f"at 390 px it scrolls sideways: {x!r}" for x in ask(self.page, "sideways")]

    def _wide(self, name):
        "Code that is wider than its column, on the pages that teach."
        lines = ask(self.page, "overflow", COMMANDS) if name.startswith(TAUGHT) else []
        return [f"code is wider than its column: {line[:100]!r}" for line in lines]


def ask(page, question, value=None):
    "What a function of look.js returns of a page."
    return page.evaluate(f"value => {QUESTIONS.strip().rstrip(';')}.{question}(value)", value)


def content(seen):
    "Faults of what a page says, and of its contents list."
    found = [f"the picture {x} has no alternative text" for x in seen["pictures"]]
    found += [f"the anchor {x!r} stands twice" for x in seen["twins"]]
    if "__main__" in seen["words"]:
        found.append("it speaks of __main__")
    if re.search(r"Traceback \(most recent call last\)", seen["words"]):
        found.append("it shows a traceback")
    anchors = [anchor for anchor, _ in seen["headings"]]
    for anchor, words in seen["headings"]:
        if anchor not in seen["listed"]:
            found.append(f"the heading {words!r} is not in the list of contents")
    for anchor in seen["listed"]:
        if anchor not in anchors:
            found.append(f"the list of contents leads to {anchor!r}, which is no heading")
    return found
