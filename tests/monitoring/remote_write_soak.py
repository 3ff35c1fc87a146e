# SPDX-License-Identifier: Apache-2.0
"""The recipe of monitoring/README.md for keeping samples elsewhere: Prometheus writes to VictoriaMetrics, which answers the same.
Needs the Debian package victoria-metrics.  Usage: remote_write_soak.py MONITORING_CHILD"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

from prometheus_server import Server, free_port, wait_until

CHILD = sys.argv.pop(1)
README = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "monitoring", "README.md")


def recipe(port, directory):
    """What the README tells people to type (a list of words), and to add to prometheus.yml; with another port and directory."""
    with open(README, encoding="utf-8") as file:
        text = file.read().replace("127.0.0.1:8428", f"127.0.0.1:{port}").replace("=DIR ", f"={directory} ")
    command = re.search(r"^    (victoria-metrics .*)$", text, re.M)[1].split()
    return command, re.search(r"^    (remote_write: .*)$", text, re.M)[1]


class RemoteWrite(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="kiban-remote-write-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def start(self, *command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: process.poll() is None and (process.kill(), process.wait()))
        return process

    def test_what_prometheus_scraped_is_answered_by_the_receiver(self):
        program = shutil.which("victoria-metrics")
        self.assertIsNotNone(program, "apt-get install victoria-metrics")
        port = free_port()
        command, remote_write = recipe(port, f"{self.directory}/victoria")
        self.assertIn(f"127.0.0.1:{port}", command[2])
        self.start(program, *command[1:], "-search.latencyOffset=1s", "-memory.allowedBytes=200MB")
        os.makedirs(f"{self.directory}/run")
        self.start(CHILD, "serve-a-run", f"{self.directory}/run", "one")
        wait_until(lambda: os.path.exists(f"{self.directory}/run/targets.json"), "the run")
        server = Server(f"{self.directory}/prometheus", f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: kiban
    file_sd_configs: [{{files: ['{self.directory}/run/targets.json'], refresh_interval: 1s}}]
{remote_write}
""", "--storage.remote.flush-deadline=2s")
        self.addCleanup(server.stop)

        def there(expression):
            query = urllib.parse.urlencode({"query": expression, "time": at})
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=30) as answer:
                    return json.load(answer)["data"]["result"]
            except OSError:
                return None
        wait_until(lambda: server.ask("query", query="kiban_train_step")["result"], "a scrape")
        time.sleep(6)
        at = time.time() - 4
        for expression in ("kiban_train_step", "kiban_train_loss_nats", "sum(kiban_worker_up)"):
            here = wait_until(lambda: server.ask("query", query=expression, time=at)["result"], expression)
            found = wait_until(lambda: there(expression), f"{expression} in VictoriaMetrics")
            there_value, here_value = float(found[0]["value"][1]), float(here[0]["value"][1])
            self.assertLessEqual(abs(there_value - here_value), 1e-9 * abs(here_value), expression)  # it keeps 13 digits


if __name__ == "__main__":
    unittest.main()
