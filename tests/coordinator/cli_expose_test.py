# SPDX-License-Identifier: Apache-2.0
"""kiban expose in front of a real Prometheus: one series for each run, across restarts of its coordinator.
Usage: cli_expose_test.py KIBAN MONITORING_CHILD"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "monitoring"))
from prometheus_server import Server, wait_until  # noqa: E402

KIBAN, CHILD = sys.argv[1:3]
del sys.argv[1:3]


class Exposed(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="kiban-expose-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def start_run(self, name):
        """A run that trains for as long as it is not stopped, and writes its metrics as a coordinator does."""
        os.makedirs(self.path("runs", name), exist_ok=True)
        process = subprocess.Popen([CHILD, "serve-a-run", self.path("runs", name), name])
        self.addCleanup(lambda: process.poll() is None and (process.kill(), process.wait()))
        return process

    def start_expose(self):
        process = subprocess.Popen([KIBAN, "expose", self.path("runs"), "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.poll() is None and (process.kill(), process.wait()), process.stdout.close()))
        return process, process.stdout.readline().strip()

    def test_a_run_is_one_series_in_prometheus_across_a_restart(self):
        first = self.start_run("one")
        self.start_run("two")
        expose, address = self.start_expose()
        self.assertRegex(address, r"^http://127\.0\.0\.1:\d+/metrics$")
        server = Server(self.path("prometheus"), f"""
global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: kiban
    static_configs: [{{targets: ['{address.removeprefix("http://").removesuffix("/metrics")}']}}]
""")
        self.addCleanup(server.stop)
        start = time.time()

        def value(expression):
            result = (server.ask("query", query=expression) or {}).get("result")
            return float(result[0]["value"][1]) if result else None
        before = wait_until(lambda: (value('kiban_train_step{run="one"}') or 0) > 400 and value('kiban_train_step{run="one"}'), "the run")
        first.kill()
        first.wait()
        self.start_run("one")  # begins at step 11 again
        wait_until(lambda: (value('kiban_train_step{run="one"}') or before) < before, "the restart is seen")
        wait_until(lambda: value('changes(process_start_time_seconds{run="one"}[5m])') == 1, "another process")
        wait_until(lambda: value('increase(kiban_steps_total{run="one"}[5m])') > 50, "counters are read across it")

        def goes_back():
            result = server.ask("query_range", query='kiban_train_step{run="one"}', start=start, end=time.time(), step="500ms")["result"]
            self.assertEqual(len(result), 1, "one series")
            steps = [float(v) for _, v in result[0]["values"]]
            return any(after < before for before, after in zip(steps, steps[1:]))
        wait_until(goes_back, "it goes back where the run did")
        wait_until(lambda: value("kiban_exposed_runs{state='served'}") == 2, "both are served")
        expose.send_signal(signal.SIGTERM)
        self.assertEqual(expose.wait(30), 0)

    def test_it_prints_them_once_for_a_textfile_collector(self):
        self.start_run("one")
        wait_until(lambda: os.path.exists(self.path("runs", "one", "metrics.prom")), "the file")
        killed = self.start_run("killed")
        wait_until(lambda: os.path.exists(self.path("runs", "killed", "metrics.prom")), "its file")
        killed.kill()
        killed.wait()
        an_hour_ago = time.time() - 3600
        os.utime(self.path("runs", "killed", "metrics.prom"), (an_hour_ago, an_hour_ago))
        done = subprocess.run([KIBAN, "expose", self.path("runs"), "--once"], capture_output=True, text=True, check=True)
        self.assertIn('kiban_train_step{run="one"} ', done.stdout)
        self.assertNotIn('run="killed"', done.stdout)
        self.assertIn('kiban_exposed_runs{state="lost"} 1\n', done.stdout)
        self.assertIn(f"the coordinator of '{os.path.realpath(self.path('runs', 'killed'))}' is silent", done.stderr)
        subprocess.run(["promtool", "check", "metrics"], input=done.stdout, text=True, check=True)

    def test_it_refuses_what_it_cannot_do(self):
        for arguments, code, text in ((["/nowhere"], 74, "cannot serve the runs of '/nowhere'"),
                                      ([self.directory, "--listen", "nobody"], 78, "'nobody'")):
            done = subprocess.run([KIBAN, "expose", *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(text, done.stderr)


if __name__ == "__main__":
    unittest.main()
