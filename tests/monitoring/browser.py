# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium without network, driven through its DevTools pipe; nothing but the standard library."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAMS = ("chromium-headless-shell", "chromium")
PATIENCE = 120  # seconds, of a busy machine


class Browser:
    def __init__(self):
        program = next((found for found in map(shutil.which, PROGRAMS) if found), None)
        assert program, f"none of {PROGRAMS} is installed: ./quickstart --packages-only --with-tests"
        self.profile = tempfile.mkdtemp(prefix="kiban-browser-")
        their_in, self.out = os.pipe()
        self.inp, their_out = os.pipe()
        self.log = open(os.path.join(self.profile, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{their_in} 4>&{their_out}', "bash", program, "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none",
             "--disable-background-networking", "--proxy-server=127.0.0.1:9", "--remote-debugging-pipe",
             f"--user-data-dir={self.profile}/profile", "about:blank"],
            pass_fds=(their_in, their_out), stdout=self.log, stderr=self.log)
        os.close(their_in)
        os.close(their_out)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.happened = []  # messages that nobody asked for
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(domain + ".enable")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        os.close(self.inp)
        os.close(self.out)
        shutil.rmtree(self.profile, ignore_errors=True)

    def receive(self, end):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.inp], [], [], max(0, end - time.monotonic()))
            part = os.read(self.inp, 1 << 16) if ready else b""
            if not part:
                self.log.seek(0)
                raise AssertionError(f"the browser does not answer; it said: {self.log.read()[-2000:]}")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.receive(end)
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.happened.append(answer)

    def happens(self, method):
        """Waits until the browser has told of it."""
        end = time.monotonic() + PATIENCE
        while all(message.get("method") != method for message in self.happened):
            self.happened.append(self.receive(end))

    def screen(self, width, height, dark, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, file):
        self.happened.clear()
        self.call("Page.navigate", url="file://" + file)
        end = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < end, f"{file} is not loaded"
            time.sleep(0.05)
        self.settle()

    def settle(self):
        """Two frames later everything that was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def run(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression[:200]}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def faults(self):
        """What the page's own scripts threw or complained of, and what it asked the network for."""
        self.run("1")  # what was on its way has come
        found = []
        for message in self.happened:
            method, parameters = message.get("method"), message.get("params", {})
            if method == "Runtime.exceptionThrown":
                found.append(parameters["exceptionDetails"].get("exception", {}).get("description", str(parameters)))
            if method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                found.append(parameters["entry"]["text"])
            if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            if method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("file://"):
                found.append("asks for " + parameters["request"]["url"][:200])
        return found

    def mouse(self, kind, x, y, pressed=False):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left" if pressed or kind != "mouseMoved" else "none",
                  buttons=1 if pressed else 0, clickCount=1 if kind != "mouseMoved" else 0)

    def shot(self, file):
        self.settle()
        self.picture(file)

    def picture(self, file):
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(picture))
