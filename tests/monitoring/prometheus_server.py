# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus on loopback for the length of a test, and what it answers."""
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: not after {seconds} s")


def ask(port, path, **parameters):
    """The data of an API answer; None when nobody answers. AssertionError with Prometheus's words when it refuses."""
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code == 503:  # not ready yet
            return None
        raise AssertionError(f"{parameters}: {error.read().decode()}") from None
    except OSError:
        return None


class Server:
    def __init__(self, directory, configuration, *options):
        os.makedirs(directory, exist_ok=True)
        self.port = free_port()
        self.directory = directory
        with open(os.path.join(directory, "prometheus.yml"), "w", encoding="utf-8") as file:
            file.write(configuration)
        self.log = open(os.path.join(directory, "log"), "w", encoding="utf-8")
        samples = os.path.join(directory, "samples")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={samples}",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn", *options], stdout=self.log, stderr=self.log)
        try:
            wait_until(lambda: ask(self.port, "status/buildinfo"), f"Prometheus in {directory}")
        except BaseException:
            self.stop()
            raise

    def ask(self, path, **parameters):
        return ask(self.port, path, **parameters)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
