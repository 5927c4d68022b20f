"""A real JupyterLab in a real Chromium, for tests.

`lab` (a fixture of conftest.py) is a server with a folder of its own;
`lab.page()` is a browser page in it:

    page.open(lab.write("unit.ipynb", "import featent as fe", "fe.explore()"))
    page.run_all()
    page.wait_text("chaotic")
    page.shot("unit.png")
    page.check()          # no console error, no failed request
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import nbformat

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
QUIET = {
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


def chromium():
    "Path of the browser, or None"
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


def missing():
    "What the browser tests need and is not here, in one line; empty where nothing is missing"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed: python -m pip install playwright"
    return (
        ""
        if chromium()
        else "no Chromium: apt-get install -y --no-install-recommends chromium fonts-dejavu-core"
    )


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    "A running server: its folder of files, its address, its token"

    def __init__(self, files, url, token):
        self.files, self.url, self.token, self.browser = Path(files), url, token, None

    def write(self, name, *cells):
        "A notebook of code cells in the server's folder; its name"
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in cells],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(book, path)
        return name

    def api(self, path, method="GET"):
        "Answer of the server's REST interface"
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end_kernels(self):
        for session in self.api("sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # its kernel has ended with another
                self.api(f"sessions/{session['id']}", "DELETE")

    @contextlib.contextmanager
    def page(self, width=1280, height=900, theme="light"):
        "A fresh browser page; at the end its kernels are ended too"
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce"
        )
        context.set_default_timeout(60_000)
        page = Page(self, context.new_page(), theme)
        try:
            yield page
        finally:
            context.close()
            self.end_kernels()


@contextlib.contextmanager
def serve(folder, **environment):
    "A JupyterLab server whose home, settings and files are all in `folder`"
    folder = Path(folder)
    files, port, token = folder / "files", free_port(), "t0ken"
    files.mkdir(parents=True)
    for name, values in QUIET.items():
        path = folder / f"settings/{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    own = dict(
        HOME="home",
        JUPYTER_CONFIG_DIR="config",
        JUPYTER_DATA_DIR="data",
        JUPYTER_RUNTIME_DIR="runtime",
        JUPYTERLAB_SETTINGS_DIR="settings",
        JUPYTERLAB_WORKSPACES_DIR="workspaces",
        IPYTHONDIR="ipython",
        MPLCONFIGDIR="matplotlib",
    )
    for name in own.values():
        (folder / name).mkdir(exist_ok=True)
    keep = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("JUPYTER", "JPY_", "MPLBACKEND", "TQDM_"))
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--ServerApp.root_dir={files}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.collaborative=False",
    ]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=files,
            start_new_session=True,
            env={**keep, **{k: str(folder / v) for k, v in own.items()}, **environment},
        )
        lab = Lab(files, f"http://127.0.0.1:{port}", token)
        try:
            for _ in range(240):
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the server ended:\n{(folder / 'server.log').read_text()[-2000:]}"
                    )
                try:
                    lab.api("status")
                    break
                except OSError:
                    time.sleep(0.25)
            else:
                raise RuntimeError(
                    f"no server after 60 s:\n{(folder / 'server.log').read_text()[-2000:]}"
                )
            yield lab
            with contextlib.suppress(OSError):
                lab.end_kernels()
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def browse(lab):
    "A Chromium for the pages of `lab`"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        lab.browser = p.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield lab
        finally:
            lab.browser.close()
            lab.browser = None


class Page:
    "A page of JupyterLab: `.p` is playwright's own page"

    def __init__(self, lab, p, theme):
        self.lab, self.p, self.first_theme, self.errors, self.failed = lab, p, theme, [], []
        p.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        p.on("pageerror", lambda e: self.errors.append(str(e)))
        p.on(
            "requestfailed",
            lambda r: (
                self.failed.append(f"{r.failure} {r.url}")
                if "ERR_ABORTED" not in str(r.failure)
                else None
            ),
        )
        p.on(
            "response",
            lambda r: (
                self.failed.append(f"{r.status} {r.request.method} {r.url}")
                if r.status >= 400
                else None
            ),
        )

    # going somewhere
    def open(self, name=None):
        "Open a notebook of the server's folder, or the launcher, and wait for an idle kernel"
        tree = f"/tree/{quote(name)}" if name else ""
        self.p.goto(f"{self.lab.url}/lab{tree}?token={self.lab.token}&reset")
        self.p.wait_for_function(
            "() => window.jupyterapp && document.querySelector('#jp-main-dock-panel')"
        )
        self.p.evaluate("() => window.jupyterapp.restored")
        self.p.locator("#jupyterlab-splash").wait_for(state="detached")
        self.theme(self.first_theme)
        if name:
            self.wait_idle()
        return self

    def command(self, id, **args):
        "Execute a command of the application"
        return self.p.evaluate(
            "async ([id, args]) => { await window.jupyterapp.commands.execute(id, args) }",
            [id, args],
        )

    def theme(self, name):
        "'light' or 'dark'"
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}.get(name, name)
        self.command("apputils:change-theme", theme=name)
        self.p.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def width(self, width, height=900):
        self.p.set_viewport_size({"width": width, "height": height})

    def alone(self):
        "Fold the side bars away, so that the notebook has the whole width"
        for area in ("left", "right"):
            if self.p.evaluate(f"() => !window.jupyterapp.shell.{area}Collapsed"):
                self.command(f"application:toggle-{area}-area")

    # running
    def wait_idle(self, timeout=60):
        "Wait until the status bar says that the kernel is idle"
        self.p.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=timeout * 1000)

    def run_all(self, timeout=120):
        "Run all cells, and wait until all have an execution count and the kernel is idle"
        self.wait_idle(timeout)
        self.command("notebook:run-all-cells")
        self.wait_done(timeout)

    def wait_done(self, timeout=120):
        "Wait until no cell of the notebook in front is waiting or running"
        self.p.wait_for_function(
            """() => {
            const panel = window.jupyterapp.shell.currentWidget
            if (!panel?.content?.widgets || panel.sessionContext.isReady === false) return false
            const shared = cell => cell.model.sharedModel
            const isCode = c => c.model.type === 'code' && shared(c).getSource().trim()
            const running = c => shared(c).executionState === 'running'
            const code = panel.content.widgets.filter(isCode)
            return code.length > 0
                && code.every(c => c.model.executionCount !== null && !running(c)) }""",
            timeout=timeout * 1000,
        )
        self.wait_idle(timeout)

    # looking
    def source(self):
        "Sources of the cells of the notebook in front"
        return self.p.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
            .map(c => c.model.sharedModel.getSource())"""
        )

    def title(self):
        return self.p.evaluate("() => window.jupyterapp.shell.currentWidget?.title.label")

    def output(self):
        "All text of the outputs, widgets included, of the notebook in front"
        return "\n".join(
            self.p.locator(
                ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell-outputArea"
            ).all_inner_texts()
        )

    def text(self, selector):
        return self.p.locator(selector).first.inner_text()

    def wait_text(self, text, timeout=30):
        "Wait until the outputs of the notebook in front say this"
        self.p.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell-outputArea").filter(
            has_text=text
        ).first.wait_for(timeout=timeout * 1000)

    def shot(self, path, selector=None):
        "A picture of the window, or of one element"
        (self.p.locator(selector).first if selector else self.p).screenshot(path=str(path))
        return path

    def check(self):
        "No console error, no failed request"
        assert not self.errors and not self.failed, (self.errors, self.failed)
