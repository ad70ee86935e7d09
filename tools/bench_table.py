"""What the benchmark says: rows of a table that reads well at a terminal and in a README, and the same as JSON."""

import json
import statistics

HEAD = ("figure", "median", "from–to", "limit", "", "ours, theirs")
WIDTHS = (64, 9, 11, 8, 4, 17)
# How many digits are worth reading; whatever is counted has none.
DIGITS = {"×": 2, "s": 2, "ms": 0, "MiB": 1, "MB": 1, "": 0}


class Table:
    """Prints rows as they come and remembers them."""

    def __init__(self):
        self.sections = []
        self.notes = []
        self._waiting = []

    def section(self, title):
        self._flush()
        self.sections.append({"title": title, "rows": []})
        print(f"\n### {title}\n")
        _line(HEAD)
        _line(["-" * width for width in WIDTHS])

    def row(self, title, value, unit, limit=None, spread=(), detail=()):
        """A figure with its limit, the values that it is the median of, and ours and theirs in a unit of their own.

        Two spaces before a title say that it belongs to the row above.
        """
        value = None if value is None else float(value)
        over = limit is not None and value is not None and value > limit
        spread = [float(it) for it in spread]
        values, detail_unit = detail if detail else ((), "")
        self.sections[-1]["rows"].append({
            "figure": title.strip(), "part": title.startswith(" "), "value": value, "unit": unit, "limit": limit,
            "over": over, "values": spread, "beside": list(values), "beside_unit": detail_unit,
        })
        _line((
            # A browser swallows leading blanks.
            title.replace("  ", "– ", 1) if title.startswith("  ") else title,
            "not known" if value is None else _figure(value, unit),
            f"{_number(min(spread), unit)}–{_number(max(spread), unit)}" if len(spread) > 1 else "",
            "" if limit is None else f"{limit} {unit}".rstrip(),
            "" if limit is None or value is None else "OVER" if over else "ok",
            ", ".join(_figure(it, detail_unit) for it in values),
        ))

    def note(self, text, below=False):
        """Something to know beside the figures, above all what was left out; here, or below the table that is being written."""
        self.notes.append(text)
        self._waiting.append(text)
        if not below:
            self._flush()

    def _flush(self):
        for text in self._waiting:
            print(f"\n{text}", flush=True)
        self._waiting.clear()

    def summary(self):
        """How many figures have a limit, and which are over theirs."""
        self._flush()
        rows = [(section["title"], row) for section in self.sections for row in section["rows"] if row["limit"] is not None]
        over, figure = [], ""
        for section in self.sections:
            for row in section["rows"]:
                figure = figure if row["part"] else row["figure"]
                if row["over"]:
                    name = f"{figure}: {row['figure']}" if row["part"] else figure
                    over.append(f"- {section['title']}: {name}: {_figure(row['value'], row['unit'])}, "
                                f"limit {row['limit']} {row['unit']}".rstrip())
        unknown = sum(row["value"] is None for _, row in rows)
        print(f"\n{len(rows)} figures have a limit, {len(over)} {'is' if len(over) == 1 else 'are'} over it"
              + (f", {unknown} not known" if unknown else "") + "".join(f"\n{line}" for line in over), flush=True)

    def write(self, path, machine):
        path.write_text(json.dumps({"machine": machine, "notes": self.notes, "sections": self.sections}, indent=1,
                                   ensure_ascii=False) + "\n")


def median(values):
    """The median of what is known of some values, or None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _figure(value, unit):
    return "?" if value is None else f"{_number(value, unit)} {unit}".rstrip()


def _number(value, unit):
    return f"{value:.{DIGITS.get(unit, 1)}f}"


def _line(cells):
    first, *others = cells
    padded = [f"{first:{WIDTHS[0]}}", *(f"{cell:>{width}}" for cell, width in zip(others, WIDTHS[1:]))]
    print(f"| {' | '.join(padded)} |", flush=True)
