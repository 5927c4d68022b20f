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
        context = browser.new_context(viewport=WIDE, color_scheme="light")
        for name in names:
            found += [f"{name}: {fault}" for fault in page_faults(context, address, name)]
        browser.close()
    print(f"{len(names)} pages looked at in {time.perf_counter() - begin:.0f} s")
    return found


def page_faults(context, address, name):
    "The faults of one page."
    page, asked = context.new_page(), []

    def guard(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            return route.continue_()
        asked.append(route.request.url)
        route.abort()

    page.route("**/*", guard)
    missing = []
    page.on("response", lambda r: missing.append(r.url) if r.status >= 400 else None)
    page.goto(address + name, wait_until="load")
    seen = ask(page, "content")
    found = [f"asks for {url[:100]}: the site must work alone" for url in asked]
    found += [f"asks for {url[len(address) :]}, which is not there" for url in missing]
    found += content(seen)
    if name.startswith(TAUGHT):
        lines = ask(page, "overflow", COMMANDS)
        found += [f"code is wider than its column: {line[:100]!r}" for line in lines]
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found += [f"{scheme}: {x}" for x in ask(page, "contrast")]
    page.set_viewport_size(NARROW)
    found += [f"at 390 px it scrolls sideways: {x!r}" for x in ask(page, "sideways")]
    page.close()
    return found


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
