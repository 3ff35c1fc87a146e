# SPDX-License-Identifier: Apache-2.0
"""As much of PromQL as the rules about dashboards need: which series an expression selects, and in which call each stands."""
import re
from dataclasses import dataclass

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
TOKEN = re.compile(rf'\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<name>{NAME})|(?P<number>[0-9.]+[a-z]*)|(?P<sign>[^\s]))')
KEYWORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless"}


@dataclass
class Selector:
    metric: str
    matchers: list  # (label, operator, value)
    range: str      # what stands in [...], or ""
    call: str       # the function right around it, or ""

    def has(self, label, operator, value):
        return (label, operator, value) in self.matchers


def selectors(expression):
    """Selectors with braces, in order. ValueError on a metric without: it would select the series of every run."""
    tokens, at = [], 0
    while at < len(expression.rstrip()):
        match = TOKEN.match(expression, at)
        tokens.append(match.group(match.lastgroup))
        at = match.end()
    found, calls, i = [], [], 0
    while i < len(tokens):
        token, following = tokens[i], tokens[i + 1] if i + 1 < len(tokens) else ""
        if token == "(":
            calls.append(tokens[i - 1] if i and re.fullmatch(NAME, tokens[i - 1]) and tokens[i - 1] not in KEYWORDS else "")
        elif token == ")":
            calls.pop()
        elif token in KEYWORDS and following == "(":  # a list of labels
            while tokens[i] != ")":
                i += 1
        elif re.fullmatch(NAME, token) and following == "{":
            end = tokens.index("}", i)
            matchers = re.findall(rf'({NAME})\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', "".join(tokens[i + 2:end]))
            span = ""
            if end + 1 < len(tokens) and tokens[end + 1] == "[":
                close = tokens.index("]", end)
                span = "".join(tokens[end + 2:close])
                end = close
            found.append(Selector(token, matchers, span, calls[-1] if calls else ""))
            i = end
        elif re.fullmatch(NAME, token) and following != "(" and token not in KEYWORDS and following not in ("by", "without"):
            raise ValueError(f"'{token}' selects without braces in: {expression}")
        i += 1
    return found


def with_variables(expression, values):
    """Grafana's variables replaced, as a person who chose `values` would see it."""
    for name, value in sorted(values.items(), key=lambda item: -len(item[0])):
        expression = expression.replace("${" + name + "}", value).replace("$" + name, value)
    return expression
