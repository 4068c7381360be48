"""Explores the API in a browser without a window: finds every operation, logs in on the page, asks who that is.

Steered over the browser's own protocol with websocket-client. Prints what the page showed, and what went wrong on it.
With a file's name as argument, it keeps a picture of the page there.
"""

import atexit
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import websocket

URL, PASSWORD = os.environ["WIREGLOT_URL"], os.environ["WIREGLOT_PASSWORD"]
PATIENCE_S = 90
# No window and no sandbox, which root cannot have; and it asks nobody else for anything.
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"]


class Browser:
    """Ends with this script, however that ends."""

    def __init__(self):
        names = "chromium-headless-shell", "chromium"
        program = next(filter(None, map(shutil.which, names)), None) or sys.exit("no browser: " + ", ".join(names))
        folder = tempfile.mkdtemp(prefix="wireglot-browser-")
        flags = [*FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", "--window-size=1280,1800"]
        nothing = subprocess.DEVNULL
        # A group of its own: Debian's program is a script that starts the browser and others.
        self.process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=nothing, stderr=nothing, start_new_session=True)
        atexit.register(self.end, folder)
        where = until(lambda: said(pathlib.Path(folder, "DevToolsActivePort")), "the browser listens")
        port, path = where.split()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE_S, suppress_origin=True)
        self.count, self.session, self.events = 0, None, []
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Log", "Network":
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append((answer["method"], answer["params"]))

    def run(self, script):
        """What the page's own language makes of an expression."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, (script, found["exceptionDetails"])
        return found["result"].get("value")

    def until(self, script):
        return until(lambda: self.run(script), script)

    def faults(self):
        """What the console of the page complains about, and requests that went elsewhere."""
        for method, what in self.events:
            if method == "Runtime.exceptionThrown":
                yield what["exceptionDetails"]
            elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
                yield [argument.get("value") or argument.get("description") for argument in what["args"]]
            elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
                yield what["entry"]
            elif method == "Network.requestWillBeSent":
                url = what["request"]["url"]
                if not url.startswith((URL + "/", "data:")):
                    yield f"asked for {url}"

    def end(self, folder):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def until(look, what):
    """Waits for a state."""
    end = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < end, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.05)
    return found


def said(file):
    text = file.read_text() if file.exists() else ""
    return text if text.count("\n") else ""


def execute(browser, operation, body=None):
    """Opens an operation, fills its body in, sends it, and gives the status and the body of the answer."""
    block = f"document.getElementById('operations-{operation}')"
    browser.run(f"{block}.querySelector('.opblock-summary-control').click()")
    browser.until(f"!!{block}.querySelector('button.execute')")
    if body is not None:
        # As if typed: the page hears of a value only by the event.
        browser.run(f"""(() => {{
            const area = {block}.querySelector('textarea.body-param__text');
            const value = Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, 'value');
            value.set.call(area, {json.dumps(json.dumps(body))});
            area.dispatchEvent(new Event('input', {{bubbles: true}}));
        }})()""")
    browser.run(f"{block}.querySelector('button.execute').click()")
    answer = f"{block}.querySelector('.live-responses-table tr.response .response-col_status')"
    status = browser.until(f"{answer}?.textContent")
    return status, browser.run(f"{block}.querySelector('.live-responses-table tr.response .response-col_description').innerText")


# Being told to stop is an end like others.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
browser = Browser()
browser.ask("Page.navigate", url=f"{URL}/swagger-ui/")
browser.until("document.querySelectorAll('.opblock-tag').length > 1")
groups = browser.run("[...document.querySelectorAll('.opblock-tag')].map(group => group.dataset.tag)")
browser.run("document.querySelectorAll('.opblock-tag').forEach(group => group.click())")
browser.until("!document.querySelector('.opblock-tag-section:not(.is-open)')")
summaries = browser.run("[...document.querySelectorAll('.opblock-summary-description')].map(text => text.innerText)")
login = execute(browser, "Login-login", {"username": "tenant@thingsboard.org", "password": PASSWORD})
user = execute(browser, "Login-readCurrentUser")
if len(sys.argv) > 1:
    browser.run("document.getElementById('operations-Login-readCurrentUser').scrollIntoView()")
    picture = browser.ask("Page.captureScreenshot")["data"]
    pathlib.Path(sys.argv[1]).write_bytes(base64.b64decode(picture))
shown = {"groups": groups, "summaries": summaries, "login": login, "user": user}
print(json.dumps({**shown, "faults": list(browser.faults())}))
