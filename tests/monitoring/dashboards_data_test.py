# SPDX-License-Identifier: Apache-2.0
"""Every expression of every dashboard returns data from a real Prometheus that scraped two runs, or holds the archive of two; and
monitoring/up follows runs that come and go.  Usage: dashboards_data_test.py MONITORING_CHILD"""
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import dashboard_lint as lint
import promql
from prometheus_server import Server, ask, free_port, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MONITORING = os.path.join(ROOT, "monitoring")
CHILD = sys.argv.pop(1) if len(sys.argv) > 1 else ""
EPOCH = 946684800  # of the archive's virtual time
CHOSEN = {"job": ".+", "instance": ".+", "run": ".+", "rank": ".+", "__range": "1h"}


class Run:
    """A run that trains for as long as it is not stopped; its directory looks like a coordinator's."""

    def __init__(self, directory, name):
        self.directory = directory
        os.makedirs(directory)
        with open(os.path.join(directory, "run.json"), "w", encoding="utf-8") as file:
            file.write("{}")
        self.process = subprocess.Popen([CHILD, "serve-a-run", directory, name])
        wait_until(lambda: os.path.exists(os.path.join(directory, "targets.json")), f"run {name}")

    def stop(self, takes_its_file_away=True):
        self.process.kill()
        self.process.wait()
        if takes_its_file_away:
            os.remove(os.path.join(self.directory, "targets.json"))


class InADirectory(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="kiban-dashboards-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def run_of(self, name):
        run = Run(self.path("runs", name), name)
        self.addCleanup(lambda: run.process.poll() is None and run.stop())
        return run


def expressions(dashboard, rate_interval, interval):
    for title, target in lint.targets(dashboard):
        yield title, promql.with_variables(target["expr"], {**CHOSEN, "__rate_interval": rate_interval, "__interval": interval})


class Live(InADirectory):
    def rules(self):
        """The rules as they are, but evaluated each second, so that the test need not wait minutes."""
        for name in ("recording.yml", "alerts.yml"):
            with open(os.path.join(MONITORING, "prometheus", name), encoding="utf-8") as file:
                text = re.sub(r"interval: \d+[sm]", "interval: 1s", file.read())
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)

    def service(self):
        """A kiban expose that serves no run."""
        os.makedirs(self.path("exposed"))
        process = subprocess.Popen([CHILD, "expose", self.path("exposed")])
        self.addCleanup(lambda: (process.kill(), process.wait()))
        wait_until(lambda: os.path.exists(self.path("exposed", "targets.json")), "the service")
        return self.path("exposed")

    def test_every_expression_returns_data_from_a_prometheus_that_scraped_two_runs(self):
        targets = [self.run_of(name).directory for name in ("one", "two")] + [self.service()]
        self.rules()
        start = time.time()
        server = Server(self.path("prometheus"), f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ['{self.path("recording.yml")}', '{self.path("alerts.yml")}']
scrape_configs:
  - job_name: kiban
    file_sd_configs: [{{files: [{", ".join(repr(target + "/targets.json") for target in targets)}], refresh_interval: 1s}}]
""")
        self.addCleanup(server.stop)
        slow = 'count(run:train_loss_nats_per_doubling:slope1h) == 2'  # a slope of slopes: the last to appear
        wait_until(lambda: (server.ask("query", query=slow) or {}).get("result"), "the recorded slope")

        empty = []
        for name, dashboard in lint.load(os.path.join(MONITORING, "grafana", "dashboards"))[0].items():
            if name == "3b-archive.json":
                continue
            for title, expression in expressions(dashboard, "10s", "2s"):
                def data():
                    return server.ask("query_range", query=expression, start=start, end=time.time(), step="1s")["result"]
                if not data():
                    time.sleep(5)  # the last scrape of a slow machine
                    if not data():
                        empty.append(f"{name}, '{title}': {expression}")
        self.assertEqual(empty, [])
        fired = server.ask("query", query='ALERTS{alertstate="firing"}')["result"]
        self.assertIn("KibanNonFinite", {series["metric"]["alertname"] for series in fired})
        samples = server.ask("query", query="max(scrape_samples_scraped)")["result"][0]["value"][1]
        print(f"\nsamples of a scrape with two workers: {samples}")


class Archive(InADirectory):
    STEPS = 20000

    def test_every_expression_of_the_archive_returns_data_and_the_spike_of_one_step_is_seen(self):
        for run, axis in itertools.product(("one", "two"), ("step", "tokens")):
            with open(self.path("curve.om"), "w", encoding="utf-8") as file:
                subprocess.run([CHILD, f"openmetrics-{axis}", run, str(self.STEPS)], stdout=file, check=True)
            subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=2000h", "--quiet",
                            self.path("curve.om"), self.path("prometheus", "samples")], check=True, stdout=subprocess.DEVNULL)
        server = Server(self.path("prometheus"), "global: {}\n", "--storage.tsdb.retention.time=100y")
        self.addCleanup(server.stop)
        dashboard = lint.load(os.path.join(MONITORING, "grafana", "dashboards"))[0]["3b-archive.json"]
        whole = {"start": EPOCH + 100, "end": EPOCH + self.STEPS, "step": "100s"}
        for title, expression in expressions(dashboard, "400s", "100s"):
            result = server.ask("query_range", query=expression, **whole)["result"]
            self.assertEqual({series["metric"]["run"] for series in result}, {"one", "two"}, f"{title}: {expression}")
            if "band of every step" in title and expression.startswith("max_over_time(kiban_train_loss_nats"):
                top = max(float(value) for series in result for _, value in series["values"])
                self.assertEqual(top, 25.0, "at 100 steps (or 2 440) a pixel the spike of one step is still the top of the band")


class Up(InADirectory):
    def targets(self, port):
        found = ask(port, "targets") or {"activeTargets": []}
        return {target["scrapeUrl"] for target in found["activeTargets"] if target["health"] == "up"}

    def start_up(self, *arguments):
        self.output = open(self.path("output"), "w+", encoding="utf-8")
        self.addCleanup(self.output.close)
        port = free_port()
        up = subprocess.Popen([os.path.join(MONITORING, "up"), "--port", str(port), "--scrape", "1", "--data", self.path("it's data"),
                               *arguments, self.path("runs")], stdout=self.output, stderr=self.output)
        self.addCleanup(lambda: up.poll() is None and (up.terminate(), up.wait()))
        return up, port

    def said(self):
        self.output.seek(0)
        return self.output.read()

    def test_it_follows_runs_that_come_and_go_and_stops_what_it_started(self):
        first = self.run_of("first")
        up, port = self.start_up()
        wait_until(lambda: len(self.targets(port)) == 1, "the first run is scraped")
        second = self.run_of("second")
        wait_until(lambda: len(self.targets(port)) == 2, "the second run is found")
        wait_until(lambda: (ask(port, "query", query='count(kiban_train_step)') or {}).get("result"), "their metrics")
        groups = {group["name"] for group in ask(port, "rules")["groups"]}
        self.assertEqual(groups, {"kiban_live", "kiban_long", "kiban_alerts"})
        first.stop()
        second.stop(takes_its_file_away=False)
        wait_until(lambda: len(ask(port, "targets")["activeTargets"]) == 1, "a run that has ended is no target, one that was killed is")
        up.send_signal(signal.SIGTERM)
        self.assertEqual(up.wait(60), 0, self.said())
        self.assertIsNone(ask(port, "targets"), "Prometheus is still there")
        self.assertFalse(os.path.exists(self.path("it's data", "targets")))
        self.assertIn("GF_PATHS_PROVISIONING=" + MONITORING, self.said())

    def test_it_reads_the_status_of_a_run_for_as_long_as_its_state_is_not_an_end(self):
        run = self.run_of("run")
        with open(self.path("runs", "run", "targets.json"), encoding="utf-8") as file:
            address = json.load(file)[0]["targets"][0]
        os.remove(self.path("runs", "run", "targets.json"))

        def status(state):  # as a coordinator writes it
            with open(self.path("status"), "w", encoding="utf-8") as file:
                json.dump({"host": "h", "metrics": f"http://{address}/metrics", "state": state, "workers": [{"host": "w"}]}, file, indent=2)
            os.replace(self.path("status"), self.path("runs", "run", "status.json"))
        status("done")
        _, port = self.start_up()
        wait_until(lambda: "Ctrl-C stops it" in self.said(), "its greeting")
        self.assertIn("Runs known now: 1, of which are scraped: 0", self.said())
        status("training")
        wait_until(lambda: self.targets(port) == {f"http://{address}/metrics"}, "a run that trains is scraped")
        status("failed")
        wait_until(lambda: not ask(port, "targets")["activeTargets"], "a run that has failed is no target")
        run.process.kill()

    def test_it_refuses_what_it_cannot_do(self):
        def refusal(*arguments):
            done = subprocess.run([os.path.join(MONITORING, "up"), *arguments], capture_output=True, text=True)
            return done.returncode, done.stderr
        self.assertEqual(refusal()[0], 64)
        self.assertEqual(refusal("--port"), (64, "monitoring/up: --port needs a value; see monitoring/up --help\n"))
        self.assertIn("'/nowhere' is not a directory", refusal("/nowhere")[1])
        self.assertIn("unknown option '--prot'", refusal("--prot", "1", self.directory)[1])


if __name__ == "__main__":
    unittest.main()
