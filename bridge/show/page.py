"""The parts of an HTML page that needs nothing from outside."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

# Tables of more rows than this have one row per curve, and more panels than this are left out.
MANY, MANY_PANELS = 60, 12
STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --quiet: #59636e; --line: #d6dbe0; --bad: #b3161b; --good: #1a6b3c; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; overflow-wrap: anywhere; }
main { max-width: 1320px; margin: 0 auto; padding: 20px 16px 64px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .2em 0 .4em; }
h2 { font-size: 1.25rem; margin: 2.4em 0 .3em; padding-top: .5em; border-top: 2px solid var(--ink); }
h3 { font-size: 1.02rem; margin: 1.4em 0 .4em; }
p, li { max-width: 78ch; } p { margin: .4em 0 .8em; } .quiet { color: var(--quiet); }
.bad { color: var(--bad); } .good { color: var(--good); } b.bad, b.good { font-weight: 650; }
nav { font-size: .9rem; margin: 0 0 1.2em; } nav a { margin-right: .9em; white-space: nowrap; } a { color: #0b5cad; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 350px), 1fr)); gap: 22px; }
.panels.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 560px), 1fr)); }
.panels > * { min-width: 0; margin: 0; } .panels > .full { grid-column: 1 / -1; }
figure.card { border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 12px 10px; }
figcaption { font-size: .92rem; line-height: 1.35; margin-bottom: 6px; } figcaption b { font-weight: 650; }
svg.plot { display: block; width: 100%; height: auto; }
svg.plot text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif !important; }
.note { font-size: .84rem; line-height: 1.4; margin: 6px 0 0; }
.chips { list-style: none; margin: 6px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 14px;
  font-size: .84rem; }
.chips li { white-space: nowrap; display: inline-flex; align-items: center; gap: 5px; }
.chips .name { color: var(--quiet); }
.chips li.estimate .name, .chips li.estimate .number { color: var(--ink); font-weight: 700; }
.number, td { font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: .5em 0 1em; }
table { border-collapse: collapse; font-size: .82rem; line-height: 1.35; width: 100%; }
th, td { padding: 4px 5px; text-align: right; white-space: nowrap; vertical-align: top; overflow-wrap: normal;
  border-bottom: 1px solid #eceff2; }
thead th { min-width: 5ch; background: #f4f6f8; vertical-align: bottom; white-space: normal; }
.text { text-align: left; } td.text { white-space: normal; } td.long { min-width: 60ch; }
td.tight { white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
tr.off td { color: var(--quiet); } tr td.bad { color: var(--bad); font-weight: 650; }
pre { font-size: .78rem; overflow-x: auto; background: #f4f6f8; padding: 10px; border-radius: 6px; white-space: pre; }
details { margin: .3em 0 1em; } summary { cursor: pointer; color: #0b5cad; }
code { font-size: .88em; }
"""


class Cell(str):
    """HTML that is already escaped, with the class of the table cell it goes into."""

    css: str

    def __new__(cls, html: str, css: str = "") -> "Cell":
        """Take `html` as it is."""
        self = super().__new__(cls, html)
        self.css = css
        return self


def text(value: object, css: str = "text") -> Cell:
    """A left-aligned cell of escaped text."""
    return Cell(escape(str(value)), css)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], muted: Sequence[bool] = ()) -> str:
    """A table inside a box of its own that scrolls sideways; plain strings are escaped."""
    body = []
    left: list[bool] = []
    for i, row in enumerate(rows):
        cells = [c if isinstance(c, Cell) else Cell(escape(c)) for c in row]
        left = left or ["text" in c.css for c in cells]
        marks = ' class="off"' if i < len(muted) and muted[i] else ""
        body.append(f"<tr{marks}>" + "".join(_td(c) for c in cells) + "</tr>")
    if not body:
        return '<p class="quiet">none</p>'
    head = "".join(
        f'<th scope="col"{" class=text" if is_left else ""}>{escape(h)}</th>'
        for h, is_left in zip(headings, left, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _td(cell: Cell) -> str:
    return f'<td class="{cell.css}">{cell}</td>' if cell.css else f"<td>{cell}</td>"


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")


def interval(score: Mapping[str, Any]) -> Cell:
    """A mean, and below it its interval where it has one."""
    if score["mean"] is None:
        return Cell("–")
    mean, low, high = number(score["mean"], 3), score["low"], score["high"]
    if low is None or high is None:
        return Cell(mean, "tight")
    return Cell(f"{mean}<br><span class=quiet>[{number(low)}, {number(high)}]</span>", "tight")


def p_value(p: float) -> str:
    """A p value as it is shown."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def sentence(text: str) -> str:
    """The text with a capital letter, and nothing else changed."""
    return text[:1].upper() + text[1:]


def figure(title: str, plot: str, below: str = "", quiet: str = "", full: bool = False) -> str:
    """A plot under its title; `plot` and `below` are HTML, the rest is escaped."""
    css = "card full" if full else "card"
    more = f' <span class="quiet">{escape(quiet)}</span>' if quiet else ""
    body = f'<div class="scroll">{plot}</div>' if full else plot
    return f'<figure class="{css}"><figcaption><b>{escape(title)}</b>{more}</figcaption>{body}{below}</figure>'


def page(title: str, body: str) -> str:
    """A whole document."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n"
        "</html>\n"
    )
