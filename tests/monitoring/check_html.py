# SPDX-License-Identifier: Apache-2.0
"""Fails when an element of the page is not closed in order, or a number in a drawing is not one; counts the drawings."""
import re
import sys
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Checker(HTMLParser):
    open_tags, drawings = [], 0

    def handle_starttag(self, tag, attributes):
        if tag == "svg":
            self.drawings += 1
        for name, value in attributes:
            if name in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy"}:
                float(value)
            if name == "d":
                assert re.fullmatch(r"[MLZlhz0-9 .-]*", value), value
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open_tags.pop()

    def handle_endtag(self, tag):
        expected = self.open_tags.pop()
        assert tag == expected, f"</{tag}> closes <{expected}> at {self.getpos()}"


checker = Checker()
checker.feed(open(sys.argv[1], encoding="utf-8").read())
checker.close()
assert not checker.open_tags, checker.open_tags
print("svg:", checker.drawings)
