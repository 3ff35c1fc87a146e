# SPDX-License-Identifier: Apache-2.0
"""The 17 rules of grafana/dashboard-linter, and the house's own, over one dashboard. A rule yields findings: (panel title or "", text)."""
import json
import os
import re
import subprocess
import tempfile

import promql

# As grafana-data's valueFormats/categories.ts has them; those of the linter's list that a training run could mean.
UNITS = set("""none string short percent percentunit sci locale flops bytes decbytes bits decbits Bps binBps bps binbps
dateTimeAsIso dateTimeAsLocal dateTimeFromNow ns µs ms s m h d dtdurations dthms clocks hertz ops cps reqps rps wps iops
cpm opm watt joule celsius bool bool_yes_no bool_on_off""".split())
DRAWN = {"stat", "singlestat", "graph", "table", "timeseries", "gauge", "heatmap", "xychart", "state-timeline"}
OF_SERVICE = {"kiban_exposed_runs"}  # of no run: what `kiban expose` says of itself
SAMPLE = {"datasource": "prometheus", "job": "kiban", "instance": "a:1", "run": "demo", "rank": "0", "__rate_interval": "1m",
          "__interval": "15s", "__range": "1h"}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] in DRAWN]


def targets(dashboard):
    """(panel title, target): what panels and annotations ask."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield panel["title"], target
    for annotation in dashboard["annotations"]["list"]:
        yield "", annotation["target"]


def variable(dashboard, name):
    return next((v for v in dashboard["templating"]["list"] if v["name"] == name), None)


def template_datasource(dashboard):
    sources = [v for v in dashboard["templating"]["list"] if v["type"] == "datasource"]
    if len(sources) != 1:
        yield "", f"expected one data source variable, found {len(sources)}"
    for source in sources:
        if (source["name"], source["label"], source["query"]) != ("datasource", "Data source", "prometheus"):
            yield "", f"the data source variable is {source['name']} '{source['label']}'"


def template_of(name):
    def rule(dashboard):
        found = variable(dashboard, name)
        wanted = {"type": "query", "label": name, "multi": True, "includeAll": True, "allValue": ".+"}
        if found is None:
            yield "", f"there is no variable {name}"
        elif {key: found.get(key) for key in wanted} != wanted or found["datasource"]["uid"] != "${datasource}":
            yield "", f"the variable {name} is not a multi-select over $datasource with everything as .+"
    return rule


def template_selectors(dashboard):
    """(variable, the selector that its label_values asks, or "")."""
    for found in dashboard["templating"]["list"]:
        if found["type"] == "query":
            match = re.fullmatch(r"label_values\((.*), *([a-z_]+)\)", found["query"]["query"])
            yield found["name"], promql.with_variables(match[1], SAMPLE) if match else ""


def template_label_promql(dashboard):
    for name, selector in template_selectors(dashboard):
        if not selector or not parses([selector]):
            yield "", f"the query of {name} is no label_values(selector, label)"


def template_on_time_change_reload(dashboard):
    for found in dashboard["templating"]["list"]:
        if found["type"] == "query" and found["refresh"] != 2:
            yield "", f"the variable {found['name']} is not read again when the time range changes"


def panel_datasource(dashboard):
    for panel in panels(dashboard):
        for where in [panel, *panel.get("targets", [])]:
            if where.get("datasource", {}).get("uid") != "${datasource}":
                yield panel["title"], "does not use the chosen data source"


def panel_title_description(dashboard):
    for panel in panels(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield panel.get("title", ""), f"panel {panel['id']} lacks a title or a description"


def panel_units(dashboard):
    for panel in panels(dashboard):
        units = [panel["fieldConfig"]["defaults"].get("unit")]
        units += [p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"]
        for unit in units:
            if unit not in UNITS:
                yield panel["title"], f"has the unit {unit!r}"


def panel_no_targets(dashboard):
    for panel in panels(dashboard):
        if not panel.get("targets"):
            yield panel["title"], "asks nothing"


def no_loki(dashboard):
    for title, target in targets(dashboard):
        if target["datasource"]["type"] != "prometheus":
            yield title, "is no Prometheus query, and rules for others are not here"


def no_loki_auto(dashboard):
    for title, target in targets(dashboard):
        if "$__auto" in target["expr"]:
            yield title, "uses $__auto, which is LogQL's"


ACCEPTED = set()  # by promtool, so far: it is asked once for all dashboards


def parses(expressions):
    """promtool takes each as a recording rule."""
    if ACCEPTED.issuperset(expressions):
        return True
    groups = {"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": e} for i, e in enumerate(expressions)]}]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump(groups, file)  # JSON is YAML
        file.flush()
        accepted = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True).returncode == 0
    if accepted:
        ACCEPTED.update(expressions)
    return accepted


def target_promql(dashboard):
    asked = [(title, promql.with_variables(target["expr"], SAMPLE)) for title, target in targets(dashboard)]
    if parses([expression for _, expression in asked]):
        return
    for title, expression in asked:
        if not parses([expression]):
            yield title, f"is no PromQL: {expression}"


def accept_all(dashboards):
    """One question to promtool instead of hundreds; what it does not accept is asked again, one by one."""
    parses([e for d in dashboards for e in [*(s for _, s in template_selectors(d) if s),
                                            *(promql.with_variables(t["expr"], SAMPLE) for _, t in targets(d))]])


def selected(dashboard):
    for title, target in targets(dashboard):
        for selector in promql.selectors(target["expr"]):
            yield title, selector


def target_rate_interval(dashboard):
    for title, selector in selected(dashboard):
        if selector.call in ("rate", "irate") and selector.range != "$__rate_interval":
            yield title, f"{selector.call}({selector.metric}[{selector.range}]) should use $__rate_interval"


def target_matcher(label):
    def rule(dashboard):
        for title, selector in selected(dashboard):
            if not selector.has(label, "=~", f"${label}"):
                yield title, f"{selector.metric} is not selected by {label}"
    return rule


def target_counter_agg(dashboard):
    for title, selector in selected(dashboard):
        if selector.metric.endswith("_total") and (selector.call not in ("rate", "irate", "increase") or not selector.range):
            yield title, f"{selector.metric} is a counter outside of rate, irate and increase"


def uneditable(dashboard):
    if dashboard["editable"] is not False:
        yield "", "can be edited where it is shown, and the change would be lost"


LINTER = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_of("job"),
    "template-instance-rule": template_of("instance"),
    "template-label-promql-rule": template_label_promql,
    "template-on-time-change-reload-rule": template_on_time_change_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-logql-rule": no_loki,
    "target-logql-auto-rule": no_loki_auto,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_matcher("job"),
    "target-instance-rule": target_matcher("instance"),
    "target-counter-agg-rule": target_counter_agg,
    "uneditable-dashboard-rule": uneditable,
}


def house_identity(dashboard):
    if dashboard["id"] is not None or not re.fullmatch(r"kiban-[a-z]+", dashboard["uid"]):
        yield "", f"id {dashboard['id']} and uid {dashboard['uid']}: expected null and kiban-WORD"
    if dashboard["graphTooltip"] != 1 or "kiban" not in dashboard["tags"]:
        yield "", "has no shared cross-hair or no tag"
    links = dashboard["links"]
    if not any(link["type"] == "dashboards" and link["tags"] == ["kiban"] and link["includeVars"] for link in links):
        yield "", "does not lead to the others with the chosen runs"


def house_layout(dashboard):
    taken, ids = {}, set()
    for panel in dashboard["panels"]:
        if panel["id"] in ids:
            yield panel["title"], f"has the id {panel['id']} of another panel"
        ids.add(panel["id"])
        at = panel["gridPos"]
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell[0] >= 24 or cell in taken:
                yield panel["title"], f"lies over '{taken.get(cell, 'the edge')}'"
                break
            taken[cell] = panel["title"]


def house_words(dashboard):
    titles = [panel["title"] for panel in dashboard["panels"]]
    for title in {t for t in titles if titles.count(t) > 1}:
        yield title, "is the title of two panels"
    for panel in panels(dashboard):
        refs = [target["refId"] for target in panel["targets"]]
        if len(refs) != len(set(refs)):
            yield panel["title"], "has two targets of one name"
        for target in panel["targets"]:
            if target.get("format") != "table" and not target["legendFormat"]:
                yield panel["title"], "has a line without a name"
            for selector in promql.selectors(target["expr"]):
                if f"`{selector.metric}`" not in panel["description"]:
                    yield panel["title"], f"does not say that it shows {selector.metric}"


def house_run(dashboard):
    """Who asks by run keeps job and instance out of the legend; who selects a run's metric selects by run."""
    for title, selector in selected(dashboard):
        of_run = selector.metric.startswith(("kiban_", "run:", "process_"))
        if of_run and selector.metric not in OF_SERVICE and not selector.has("run", "=~", "$run"):
            yield title, f"{selector.metric} is not selected by run"


HOUSE = {"identity": house_identity, "layout": house_layout, "words": house_words, "run": house_run}


def load(directory):
    """({file name: dashboard}, {rule: {(dashboard title, panel title)}}): the dashboards and the exclusions of .lint."""
    dashboards = {}
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                dashboards[name] = json.load(file)
    with open(os.path.join(directory, ".lint"), encoding="utf-8") as file:  # YAML that is JSON
        exclusions = json.load(file)["exclusions"]
    accept_all(dashboards.values())
    for rule in exclusions.values():
        if not rule["reason"]:
            raise ValueError("an exclusion without a reason")
    return dashboards, {rule: {(e["dashboard"], e["panel"]) for e in entry["entries"]} for rule, entry in exclusions.items()}
