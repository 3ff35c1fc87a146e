# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: no script fails, nothing is asked of the network, no text covers another or leaves its place, colours
can be read, the spike of one step is seen on every axis and at any zoom.
Usage: report_browser_test.py REPORT_PAGES      KIBAN_SHOTS names a directory that keeps the pictures"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from browser import Browser

PAGES = sys.argv.pop(1) if len(sys.argv) > 1 else ""
DESK, PHONE = (1280, 900), (390, 844)

# Every piece of text that is seen, with its box; what covers another, what leaves its drawing, what is too small.
FAULTS_OF_TEXT = r"""(() => {
  const seen = [], faults = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const parent = node.parentElement, text = node.textContent.trim();
    if (!text || parent.closest('title, script, style, [hidden]')) continue;
    if (parent.closest('details:not([open])') && !parent.closest('summary')) continue;  // has boxes, and is not seen
    const style = getComputedStyle(parent);
    if (style.visibility !== 'visible' || style.display === 'none') continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1 || box.height < 1) continue;
      seen.push({ text: text.slice(0, 40), box });
      const svg = parent.closest('svg');
      if (svg) {
        const frame = svg.getBoundingClientRect();
        if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
          faults.push(`'${text}' leaves its drawing`);
      }
      const scroll = parent.closest('.scroll');
      if (!scroll && (box.left < -1 || box.right > document.documentElement.clientWidth + 1)) faults.push(`'${text.slice(0, 40)}' leaves the page`);
      const size = parseFloat(style.fontSize) * (svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1);
      if (size < 10) faults.push(`'${text}' is ${size} pixels small`);
    }
  }
  for (let i = 0; i < seen.length; ++i) for (let j = i + 1; j < seen.length; ++j) {
    const a = seen[i].box, b = seen[j].box;
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1.5 && high > 3) faults.push(`'${seen[i].text}' and '${seen[j].text}' overlap by ${wide.toFixed(1)} x ${high.toFixed(1)}`);
  }
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push('the page is wider than the screen');
  if (seen.length < 20) faults.push('hardly any text is seen: ' + seen.length);
  return faults;
})()"""

# The least contrast (WCAG 2, section 1.4.3) of text to what is behind it.
LEAST_CONTRAST = r"""(() => {
  const numbers = color => color.match(/[\d.]+/g).map(Number);
  const light = color => { const [r, g, b] = numbers(color).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
                           return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => { for (; element; element = element.parentElement) { const color = getComputedStyle(element).backgroundColor;
                              const parts = numbers(color); if (parts.length < 4 || parts[3] > 0) return color; } return 'rgb(255, 255, 255)'; };
  let least = 99, where = '';
  for (const element of document.querySelectorAll('h1, h2, p, th, td, .key, .unit, .tick, summary, dt, dd, .choice em, .choice span, button:not([hidden]), .who, .sum')) {
    if (!element.getClientRects().length) continue;
    const style = getComputedStyle(element), fore = element.closest('svg') ? style.fill : style.color;
    const [a, b] = [light(fore), light(behind(element))].sort((x, y) => y - x), contrast = (a + 0.05) / (b + 0.05);
    if (contrast < least) { least = contrast; where = element.textContent.trim().slice(0, 40); }
  }
  return [least, where];
})()"""

# How far below the top of its frame the highest drawn value of the loss lies, as a part of the frame's height.
TOP_OF_THE_LOSS = r"""(() => {
  const svg = document.querySelector('[data-kind=loss] svg'), frame = svg.getBoundingClientRect();
  return Math.min(...[...svg.querySelectorAll('.series path')].map(path => path.getBoundingClientRect().top - frame.top)) / frame.height;
})()"""
TICKS = "[...document.querySelectorAll('[data-kind=loss] .tick')].map(tick => tick.textContent)"


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="kiban-report-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        subprocess.run([PAGES, cls.directory], check=True)
        cls.shots = os.environ.get("KIBAN_SHOTS", cls.directory)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def open(self, page, size=DESK, dark=False):
        self.browser.screen(*size, dark, phone=size == PHONE)
        self.browser.open(os.path.join(self.directory, page))

    def choose(self, name, value):
        self.browser.run(f"document.querySelector('input[name={name}][value={value}]').click()")
        self.browser.settle()

    def frame(self):
        return self.browser.run("(() => { const b = document.querySelector('[data-kind=loss] svg').getBoundingClientRect();"
                                " return [b.left, b.top, b.width, b.height]; })()")

    def test_nothing_overlaps_and_all_can_be_read_in_both_themes_on_a_desk_and_on_a_phone(self):
        for page in ("one.html", "several.html", "empty.html"):
            for size in (DESK, PHONE):
                for dark in (False, True):
                    what = f"{page[:-5]}-{'phone' if size == PHONE else 'desk'}-{'dark' if dark else 'light'}"
                    with self.subTest(what):
                        self.open(page, size, dark)
                        self.assertEqual(self.browser.faults(), [])
                        self.assertEqual(self.browser.run(FAULTS_OF_TEXT), [])
                        contrast, where = self.browser.run(LEAST_CONTRAST)
                        self.assertGreaterEqual(contrast, 4.5, where)
                        picture = os.path.join(self.shots, what + ".png")
                        self.browser.shot(picture)
                        self.assertGreater(os.path.getsize(picture), 10_000)

    def test_details_that_are_opened_do_not_overlap_either(self):
        for size in (DESK, PHONE):
            self.open("one.html", size)
            self.browser.run("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            self.assertEqual(self.browser.run(FAULTS_OF_TEXT), [])
            self.browser.shot(os.path.join(self.shots, f"details-{'phone' if size == PHONE else 'desk'}.png"))

    def test_every_axis_and_smoothing_is_drawn_and_the_spike_of_one_step_is_the_top_of_each(self):
        for page in ("one.html", "several.html"):  # 2000 steps, each drawn; 120 000, of which a point is many
            self.open(page)
            drawn = set()
            for axis in ("step", "tokens", "time"):
                for scale in ("linear", "log"):
                    for smooth in ("off", "light", "strong"):
                        self.choose("axis", axis)
                        self.choose("scale", scale)
                        self.choose("smooth", smooth)
                        self.assertLess(self.browser.run(TOP_OF_THE_LOSS), 0.12, f"{page} {axis} {scale} {smooth}")
                        drawn.add(self.browser.run("document.querySelector('[data-kind=loss] svg').outerHTML.replace(/clip-\\d+/g, '')"))
                    self.assertEqual(self.browser.run(FAULTS_OF_TEXT), [], f"{page} {axis} {scale}")
            self.assertEqual(self.browser.faults(), [])
            self.assertEqual(len(drawn), 18, "each choice draws something else")

    def test_a_part_that_is_chosen_with_the_mouse_is_drawn_larger_with_the_spike_in_it(self):
        self.open("several.html")
        whole = self.browser.run(TICKS)
        for _ in range(2):
            left, top, width, height = self.frame()
            low, high = self.browser.run("(() => { const x = state.range || rangeOfX(); return x; })()")
            place = lambda value: left + 58 + (value - low) / (high - low) * (width - 72)
            span = (high - low) / 20  # a twentieth around the spike
            self.browser.mouse("mouseMoved", place(77_777 - span), top + height / 2)
            self.browser.mouse("mousePressed", place(77_777 - span), top + height / 2, pressed=True)
            self.browser.mouse("mouseMoved", place(77_777 + span), top + height / 2, pressed=True)
            self.browser.mouse("mouseReleased", place(77_777 + span), top + height / 2)
            self.browser.settle()
            self.assertLess(self.browser.run(TOP_OF_THE_LOSS), 0.12)
            self.assertEqual(self.browser.run(FAULTS_OF_TEXT), [])
        low, high = self.browser.run("state.range")
        self.assertLess(high - low, 1500, "of 120 000 steps")
        self.assertNotIn("0", self.browser.run(TICKS.replace("loss", "tokens")), "runs that ended before stretch no axis")
        self.browser.shot(os.path.join(self.shots, "zoomed.png"))
        self.assertNotEqual(self.browser.run(TICKS), whole)
        self.browser.run("document.getElementById('whole').click()")
        self.browser.settle()
        self.assertEqual(self.browser.run(TICKS), whole)
        self.assertEqual(self.browser.faults(), [])

    def test_the_values_under_the_pointer_are_those_of_the_record(self):
        self.open("one.html")
        left, top, width, height = self.frame()
        self.browser.mouse("mouseMoved", left + 58 + (1234 - 1) / 1999 * (width - 72), top + height / 2)
        tip = self.browser.run("document.querySelector('[data-kind=loss] .tip').innerText")
        self.assertIn("step 1,234", tip)
        self.assertIn("7.5", tip)
        self.assertIn("5.054M tokens", tip)
        self.browser.shot(os.path.join(self.shots, "pointer.png"))
        self.assertEqual(self.browser.faults(), [])

    def test_what_happened_is_marked(self):
        self.open("one.html")
        count = lambda selector: self.browser.run(f"document.querySelectorAll('[data-kind=loss] {selector}').length")
        self.assertEqual(count(".rule"), 1, "the restart")
        self.assertEqual(count(".saved"), 10, "checkpoints")
        self.assertGreaterEqual(count(".alarm"), 1, "the spike")
        self.assertGreaterEqual(count(".phase"), 1)
        self.assertEqual(self.browser.run("document.querySelectorAll('.stack').length"), 4, "a bar for each rank")

    def test_a_theme_can_be_chosen_against_the_systems(self):
        self.open("one.html", dark=False)
        page = "getComputedStyle(document.body).backgroundColor"
        light = self.browser.run(page)
        self.choose("theme", "dark")
        dark = self.browser.run(page)
        self.assertNotEqual(light, dark)
        self.assertGreaterEqual(self.browser.run(LEAST_CONTRAST)[0], 4.5)
        self.open("one.html", dark=True)
        self.assertEqual(self.browser.run(page), dark)
        self.choose("theme", "light")
        self.assertEqual(self.browser.run(page), light)

    def test_the_drawings_follow_the_width_of_the_window(self):
        self.open("one.html", PHONE)
        self.browser.screen(*DESK, False)
        self.browser.settle()
        self.browser.settle()
        self.assertGreater(self.frame()[2], 900)
        self.assertEqual(self.browser.run(FAULTS_OF_TEXT), [])

    def test_without_its_script_the_page_shows_the_curves_all_the_same(self):
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.browser.screen(*DESK, False)
            self.browser.happened.clear()
            self.browser.call("Page.navigate", url="file://" + os.path.join(self.directory, "one.html"))
            self.browser.happens("Page.loadEventFired")  # its own scripts cannot say that it is there
            self.browser.picture(os.path.join(self.shots, "without-script.png"))
        finally:
            self.browser.call("Emulation.setScriptExecutionDisabled", value=False)
        document = self.browser.call("DOM.getDocument")["root"]["nodeId"]
        found = self.browser.call("DOM.querySelectorAll", nodeId=document, selector=".plot.still svg")["nodeIds"]
        self.assertEqual(len(found), 5)


if __name__ == "__main__":
    unittest.main()
