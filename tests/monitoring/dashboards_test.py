# SPDX-License-Identifier: Apache-2.0
"""The dashboards keep the rules, and show every metric and no other.  Usage: dashboards_test.py (from anywhere)"""
import copy
import os
import re
import subprocess
import unittest

import dashboard_lint as lint
import promql

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MONITORING = os.path.join(ROOT, "monitoring")
DASHBOARDS, EXCLUSIONS = lint.load(os.path.join(MONITORING, "grafana", "dashboards"))

# What a panel may ask beside the metrics of monitoring/METRICS.md: of Prometheus about its scrapes and alerts, and of
# prometheus-cpp about itself.
OF_OTHERS = {"up", "scrape_samples_scraped", "scrape_duration_seconds", "ALERTS", "exposer_request_latencies",
             "exposer_scrapes_total", "exposer_transferred_bytes_total"}
# Metrics without a panel, each with its reason. There is none today.
NOT_SHOWN = {}


def read(*parts):
    with open(os.path.join(MONITORING, *parts), encoding="utf-8") as file:
        return file.read()


def documented():
    """{metric: type} of monitoring/METRICS.md, which another test holds against the exposition."""
    return dict(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", read("METRICS.md"), re.M))


def family(metric, known):
    base = re.sub(r"_(bucket|sum|count)$", "", metric)
    return base if known.get(base) == "histogram" or base in OF_OTHERS else metric


def shown():
    return {family(selector.metric, documented()) for d in DASHBOARDS.values() for _, selector in lint.selected(d)}


def recorded():
    return set(re.findall(r"- record: (\S+)", read("prometheus", "recording.yml")))


class Dashboards(unittest.TestCase):
    def test_there_are_the_eight_and_the_archive(self):
        self.assertEqual(len(DASHBOARDS), 9)
        self.assertEqual(len({d["uid"] for d in DASHBOARDS.values()}), 9)
        self.assertEqual(len(lint.LINTER), 17)

    def test_each_keeps_the_rules_of_the_linter_but_for_the_exclusions_that_give_a_reason(self):
        used = {rule: set() for rule in EXCLUSIONS}
        for name, dashboard in DASHBOARDS.items():
            for rule, check in lint.LINTER.items():
                for panel, text in check(dashboard):
                    place = (dashboard["title"], panel)
                    if place in EXCLUSIONS.get(rule, ()):
                        used[rule].add(place)
                    else:
                        self.fail(f"{name}, panel '{panel}', {rule}: {text}")
        self.assertEqual(used, EXCLUSIONS, "an exclusion that is no longer needed")

    def test_only_series_that_have_no_job_and_instance_are_excluded_from_selecting_by_them(self):
        for dashboard in DASHBOARDS.values():
            for panel, selector in lint.selected(dashboard):
                of_archive = selector.has("axis", "=", "step") or selector.has("axis", "=", "tokens")
                has_none = selector.metric.startswith("run:") or selector.metric == "ALERTS" or of_archive
                self.assertEqual(has_none, not selector.has("job", "=~", "$job"), f"{panel}: {selector.metric}")
                self.assertEqual(has_none, not selector.has("instance", "=~", "$instance"), f"{panel}: {selector.metric}")

    def test_each_keeps_the_rules_of_the_house(self):
        for name, dashboard in DASHBOARDS.items():
            for rule, check in lint.HOUSE.items():
                self.assertEqual(list(check(dashboard)), [], f"{name}, {rule}")

    def test_every_metric_has_a_panel_or_a_reason(self):
        self.assertGreaterEqual(len(documented()), 50)
        self.assertEqual(set(documented()) - shown(), set(NOT_SHOWN))

    def test_no_panel_asks_for_a_metric_that_does_not_exist(self):
        self.assertEqual(shown() - set(documented()) - recorded() - OF_OTHERS, set())

    def test_every_recorded_series_has_a_panel_or_is_what_an_alert_or_another_is_made_of(self):
        rules = read("prometheus", "recording.yml") + read("prometheus", "alerts.yml")
        for name in recorded():
            used = name in shown() or len(re.findall(re.escape(name) + r"\b(?!:)", rules)) > 1
            self.assertTrue(used, f"nobody asks for {name}")

    def test_rules_ask_only_for_what_exists(self):
        text = read("prometheus", "recording.yml") + read("prometheus", "alerts.yml")
        asked = set(re.findall(r"\b(?:kiban|process)_[a-z_]+\b", re.sub(r"name: \w+|#.*", "", text)))
        self.assertEqual({family(name, documented()) for name in asked} - set(documented()), set())


def broken(change):
    dashboard = copy.deepcopy(DASHBOARDS["2-learning-curves.json"])
    change(dashboard, lint.panels(dashboard)[0], lint.variable)
    return dashboard


class TheLinterObjects(unittest.TestCase):
    """Each rule finds the fault that it is there for: a rule that finds nothing anywhere would pass unnoticed."""

    def expect(self, rule, change):
        checks = {**lint.LINTER, **lint.HOUSE}
        self.assertTrue(list(checks[rule](broken(change))), f"{rule} does not object")

    def test_to_templates(self):
        self.expect("template-datasource-rule", lambda d, p, v: v(d, "datasource").update(name="source"))
        self.expect("template-job-rule", lambda d, p, v: v(d, "job").update(multi=False))
        self.expect("template-instance-rule", lambda d, p, v: v(d, "instance").update(allValue=".*"))
        self.expect("template-label-promql-rule", lambda d, p, v: v(d, "run")["query"].update(query="label_values(a{, run)"))
        self.expect("template-on-time-change-reload-rule", lambda d, p, v: v(d, "run").update(refresh=1))

    def test_to_panels(self):
        self.expect("panel-datasource-rule", lambda d, p, v: p["datasource"].update(uid="abc"))
        self.expect("panel-title-description-rule", lambda d, p, v: p.update(description=""))
        self.expect("panel-units-rule", lambda d, p, v: p["fieldConfig"]["defaults"].update(unit="nats"))
        self.expect("panel-no-targets-rule", lambda d, p, v: p.update(targets=[]))
        self.expect("uneditable-dashboard-rule", lambda d, p, v: d.update(editable=True))

    def test_to_targets(self):
        def ask(expression):
            return lambda d, p, v: p["targets"][0].update(expr=expression)
        every = 'job=~"$job", instance=~"$instance", run=~"$run"'
        self.expect("target-logql-rule", lambda d, p, v: p["targets"][0]["datasource"].update(type="loki"))
        self.expect("target-logql-auto-rule", ask(f"rate(a_total{{{every}}}[$__auto])"))
        self.expect("target-promql-rule", ask(f"sum by (run (a{{{every}}})"))
        self.expect("target-rate-interval-rule", ask(f"rate(a_total{{{every}}}[5m])"))
        self.expect("target-job-rule", ask('a{instance=~"$instance"}'))
        self.expect("target-instance-rule", ask('a{job=~"$job", instance="$instance"}'))
        self.expect("target-counter-agg-rule", ask(f"sum(a_total{{{every}}})"))
        self.expect("target-counter-agg-rule", ask(f"max_over_time(a_total{{{every}}}[5m])"))
        self.expect("run", ask('kiban_train_step{job=~"$job"}'))
        with self.assertRaises(ValueError):
            promql.selectors("sum(a) / 2")

    def test_to_the_rest(self):
        self.expect("identity", lambda d, p, v: d.update(id=7))
        self.expect("layout", lambda d, p, v: p["gridPos"].update(w=25))
        self.expect("layout", lambda d, p, v: lint.panels(d)[1]["gridPos"].update(p["gridPos"]))
        self.expect("words", lambda d, p, v: p.update(description="the loss"))


class Rules(unittest.TestCase):
    def promtool(self, *arguments):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_promtool_finds_nothing_in_them(self):
        out = self.promtool("check", "rules", *[os.path.join(MONITORING, "prometheus", f"{n}.yml") for n in ("recording", "alerts")])
        self.assertEqual(out.count("SUCCESS"), 2, out)

    def test_every_alert_fires_where_it_should_and_stays_quiet_beside_it(self):
        file = os.path.join(ROOT, "tests", "monitoring", "rules_test.yml")
        self.promtool("test", "rules", file)
        with open(file, encoding="utf-8") as text:
            tested = text.read()
        for alert in re.findall(r"- alert: (\w+)", read("prometheus", "alerts.yml")):
            self.assertRegex(tested, rf"alertname: {alert}\n +exp_alerts:\n", f"{alert} is not seen to fire")
            self.assertRegex(tested, rf"alertname: {alert}, exp_alerts: \[\]", f"{alert} is not seen to stay quiet")

    def test_a_page_reaches_who_is_on_call_and_a_warning_the_team(self):
        config = os.path.join(MONITORING, "prometheus", "alertmanager.yml")
        subprocess.run(["amtool", "check-config", config], check=True, capture_output=True)
        for severity, receiver in (("page", "on_call"), ("warning", "team"), ("info", "shown_only")):
            out = subprocess.run(["amtool", "config", "routes", "test", f"--config.file={config}", f"severity={severity}"],
                                 check=True, capture_output=True, text=True).stdout
            self.assertEqual(out.strip(), receiver)
        for severity in re.findall(r"severity: (\w+)", read("prometheus", "alerts.yml")):
            self.assertIn(severity, ("page", "warning", "info"))


if __name__ == "__main__":
    unittest.main()
