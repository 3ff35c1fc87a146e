# SPDX-License-Identifier: Apache-2.0
"""A real run, killed twice, as scrapes saw it: each scrape is of one step, and of the step in the curve record; and a real Prometheus that
scraped it has data for every expression of every live dashboard that says something of such a run.
Usage: scraped_run.py KIBAN MONITORING_TESTS"""
import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

KIBAN = os.path.abspath(sys.argv.pop(1))
sys.path.insert(0, sys.argv.pop(1))

import dashboard_lint as lint  # noqa: E402
import promql  # noqa: E402
from prometheus_server import Server, free_port, wait_until  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MONITORING = os.path.join(ROOT, "monitoring")
CHOSEN = {"job": ".+", "instance": ".+", "run": ".+", "rank": ".+", "__range": "1h", "__rate_interval": "10s", "__interval": "2s"}
STEPS = 700
SAVED_EACH = 40
KILLED_AFTER = (150, 340)  # no save is due there
GOES_ON_AFTER = tuple(step - step % SAVED_EACH for step in KILLED_AFTER)
SAMPLE = re.compile(r"^(\w+(?:\{[^}]*\})?) (\S+)$", re.MULTILINE)
# What this run has nothing to show of; the run that tests/monitoring/dashboards_data_test.py plays has it.
NOT_HERE = {
    "ALERTS": "nothing is wrong with it",
    "kiban_exposed_runs": "it is scraped itself, without kiban expose between",
    "kiban_curve_events_total": "no event on a curve so short",
    "kiban_curve_last_event_step": "the same",
    "kiban_grok_delay_ratio": "it never knows its training set",
    "kiban_checkpoint_failures_total": "every save succeeds",
    "kiban_checkpoint_rejects_total": "every checkpoint is whole",
    "kiban_hangs_total": "nobody hangs",
    "kiban_excluded_hosts": "no host is left out",
    "kiban_anomalies_total": "no step is refused",
    "kiban_corpus_dropped_documents": "its corpus is taken as it is",
    "kiban_corpus_redacted_values": "the same",
    "kiban_worker_busy_seconds": "shown after thirty seconds of training",
    "kiban_worker_straggler": "the same",
}
RUN_FILE = """
[run]
name = "scraped"
dir = "run"
[data]
sequence_length = 32
[[data.sources]]
path = "text.txt"
[model]
layout = "gpt2"
layers = 2
d_model = 32
heads = 2
[train]
batch_rows = 32
micro_batch_rows = 8
steps = {steps}
eval_interval_steps = 50
[train.schedule]
warmup_steps = 10
[checkpoint]
interval_steps = {saved_each}
[monitoring]
listen = "127.0.0.1:{port}"
peak_flops = 1e11
[launch]
workers = 2
threads_per_worker = 1
"""


class Scrapes(threading.Thread):
    """What /metrics said, again and again: a list of {series without the label run: value}."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.all = []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                with urllib.request.urlopen(self.url, timeout=10) as answer:
                    text = answer.read().decode()
            except OSError:
                continue
            samples = SAMPLE.findall(re.sub(r'run="[^"]*",?', "", text).replace("{}", ""))
            self.all.append({name.replace(",}", "}"): float(value) for name, value in samples})

    def last(self, name):
        return self.all[-1].get(name, -1) if self.all else -1

    def end(self):
        self.over.set()
        self.join()


def run_is(scrape, *states):
    return any(scrape.get(f'kiban_run_state{{state="{state}"}}') == 1 for state in states)


class ScrapedRun(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="kiban-scraped-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        cls.port = free_port()
        with open(cls.path("text.txt"), "wb") as text:
            for license in ("GPL-3", "GPL-2", "Apache-2.0", "MPL-2.0"):
                with open(f"/usr/share/common-licenses/{license}", "rb") as file:
                    shutil.copyfileobj(file, text)
        with open(cls.path("run.toml"), "w", encoding="utf-8") as file:
            file.write(RUN_FILE.format(steps=STEPS, saved_each=SAVED_EACH, port=cls.port))
        cls.start_prometheus()
        cls.scrapes = Scrapes(cls.port)
        cls.scrapes.start()
        try:
            cls.train_and_kill()
        finally:
            cls.scrapes.end()
        cls.rows = {int(row["step"]): row for row in csv.DictReader(io.StringIO(cls.kiban("curve", "run", "--csv")))}

    @classmethod
    def path(cls, *parts):
        return os.path.join(cls.directory, *parts)

    @classmethod
    def start_prometheus(cls):
        for name in ("recording.yml", "alerts.yml"):  # evaluated each second, so that the test need not wait minutes
            with open(os.path.join(MONITORING, "prometheus", name), encoding="utf-8") as file:
                text = re.sub(r"interval: \d+[sm]", "interval: 1s", file.read())
            with open(cls.path(name), "w", encoding="utf-8") as file:
                file.write(text)
        cls.began = time.time()
        cls.prometheus = Server(cls.path("prometheus"), f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ['{cls.path("recording.yml")}', '{cls.path("alerts.yml")}']
scrape_configs:
  - job_name: kiban
    file_sd_configs: [{{files: ['{cls.path("run", "targets.json")}'], refresh_interval: 1s}}]
""")
        cls.addClassCleanup(cls.prometheus.stop)

    @classmethod
    def kiban(cls, *arguments):
        return subprocess.run([KIBAN, *arguments], cwd=cls.directory, check=True, capture_output=True, text=True).stdout

    @classmethod
    def start_coordinator(cls, still):
        """Its workers stand still for so many seconds after these steps, counted from where each attempt begins: so is the run killed and
        scraped there, however fast it is."""
        faults = ";".join(f"step.data=delay{seconds}@{steps + 1}" for steps, seconds in still.items())
        output = open(cls.path("output"), "a", encoding="utf-8")
        cls.addClassCleanup(output.close)
        return subprocess.Popen([KIBAN, "pretrain", "run.toml"], cwd=cls.directory, stdout=output, stderr=output,
                                env={**os.environ, "KIBAN_FAULT": faults})

    @classmethod
    def journal(cls, event):
        with open(cls.path("run", "journal.jsonl"), encoding="utf-8") as file:
            whole = file.read().rpartition("\n")[0]
        return [entry for entry in map(json.loads, whole.splitlines()) if entry["event"] == event]

    @classmethod
    def wait_for(cls, coordinator, step):
        """That the step is done, and what it would fall back to durable."""
        def reached():
            assert coordinator.poll() is None, open(cls.path("output"), encoding="utf-8").read()
            there = cls.scrapes.all and run_is(cls.scrapes.all[-1], "training") and cls.scrapes.last("kiban_train_step") >= step
            return there and step - step % SAVED_EACH in (entry["step"] for entry in cls.journal("checkpoint"))
        wait_until(reached, f"step {step}")

    @classmethod
    def train_and_kill(cls):
        """A worker, then the coordinator; the rest in peace."""
        worker_s, own = KILLED_AFTER
        coordinator = cls.start_coordinator({0: 2, worker_s: 4, own - GOES_ON_AFTER[0]: 4})
        try:
            cls.wait_for(coordinator, worker_s)
            with open(cls.path("run", "status.json"), encoding="utf-8") as file:
                os.kill(json.load(file)["workers"][1]["pid"], signal.SIGKILL)
            cls.wait_for(coordinator, own)
        finally:
            coordinator.kill()
            coordinator.wait()
        cls.processes = [cls.scrapes.last("process_start_time_seconds")]
        coordinator = cls.start_coordinator({0: 2})
        code = coordinator.wait(240)
        assert code == 0, open(cls.path("output"), encoding="utf-8").read()
        cls.processes.append(cls.scrapes.last("process_start_time_seconds"))

    def of_process(self, number):
        return [scrape for scrape in self.scrapes.all if scrape["process_start_time_seconds"] == self.processes[number]]

    def test_what_one_scrape_says_is_of_one_step_and_as_the_record_has_it(self):
        seen = set()
        for scrape in self.scrapes.all:
            step = scrape.get("kiban_train_step", 0)
            if step == 0 or not run_is(scrape, "training", "saving"):
                continue
            row = self.rows[int(step)]
            for series, column in (("kiban_train_loss_nats", "loss"), ("kiban_learning_rate", "learning_rate"),
                                   ("kiban_grad_norm", "grad_norm"), ("kiban_train_tokens_seen", "tokens")):
                expected = float(row[column])
                self.assertLessEqual(abs(scrape[series] - expected), 1e-9 * max(1.0, abs(expected)), f"{series} at step {step}")
            seen.add(step)
        self.assertGreater(len(seen), 20, "steps that were scraped")

    def test_position_falls_to_checkpoints_alone_and_the_high_water_mark_never(self):
        steps = [scrape["kiban_train_step"] for scrape in self.scrapes.all if run_is(scrape, "training", "saving")]
        falls = [after for before, after in zip(steps, steps[1:]) if after < before]
        self.assertEqual(falls, list(GOES_ON_AFTER), "one for each kill")
        saved = {entry["directory"]: entry["step"] for entry in self.journal("checkpoint")}
        loaded = [os.path.basename(entry["checkpoint"]) for entry in self.journal("training") if entry["checkpoint"]]
        self.assertEqual([saved[name] for name in loaded], falls)
        marks = [scrape["kiban_train_step_high_water"] for scrape in self.scrapes.all if run_is(scrape, "training", "saving")]
        self.assertEqual(marks, sorted(marks))
        self.assertGreaterEqual(marks[-1], max(steps))

    def test_counters_begin_at_zero_with_each_process_and_count_its_own_work(self):
        for number in (0, 1):
            scrapes = self.of_process(number)
            self.assertEqual(scrapes[0]["kiban_steps_total"], 0)
            self.assertEqual(scrapes[0]["kiban_train_loss_tokens_total"], 0)
            for name in ("kiban_steps_total", "kiban_tokens_total", "kiban_train_loss_nats_total", "kiban_train_loss_tokens_total"):
                values = [scrape[name] for scrape in scrapes]
                self.assertEqual(values, sorted(values), name)
        last = self.of_process(1)[-1]
        step, done = int(last["kiban_train_step"]), int(last["kiban_steps_total"])
        tokens = {at: float(row["tokens"]) for at, row in self.rows.items()}
        own = {at: tokens[at] - tokens.get(at - 1, 0) for at in range(step - done + 1, step + 1)}
        self.assertEqual(last["kiban_train_loss_tokens_total"], sum(own.values()))
        nats = sum(float(self.rows[at]["loss"]) * count for at, count in own.items())
        self.assertLessEqual(abs(last["kiban_train_loss_nats_total"] - nats), 1e-9 * nats)

    def test_events_of_the_curve_are_counted_once_over_all_processes(self):
        listed = list(csv.DictReader(io.StringIO(self.kiban("curve", "run", "--events"))))
        counted = {}
        for number in (0, 1):
            for name, value in self.of_process(number)[-1].items():
                if name.startswith("kiban_curve_events_total"):
                    counted[name] = counted.get(name, 0) + value
        step = self.of_process(1)[-1]["kiban_train_step"]
        expected = {}
        for event in listed:
            if int(event["step"]) <= step:
                name = f'kiban_curve_events_total{{kind="{event["kind"]}"}}'
                expected[name] = expected.get(name, 0) + 1
        self.assertEqual({name: value for name, value in counted.items() if value}, expected)

    def test_every_expression_returns_data_from_the_prometheus_that_scraped_it(self):
        empty, unused = [], set(NOT_HERE)
        for name, dashboard in lint.load(os.path.join(MONITORING, "grafana", "dashboards"))[0].items():
            if name == "3b-archive.json":
                continue
            for title, target in lint.targets(dashboard):
                expression = promql.with_variables(target["expr"], CHOSEN)
                excused = {metric for metric in NOT_HERE if metric in expression}
                unused -= excused
                query = {"query": expression, "start": self.began, "end": time.time(), "step": "1s"}
                if not excused and not self.prometheus.ask("query_range", **query)["result"]:
                    empty.append(f"{name}, '{title}': {expression}")
        self.assertEqual(empty, [])
        self.assertEqual(unused, set(), "excuses that no panel needs")


if __name__ == "__main__":
    unittest.main()
