"""Charts as plain SVG, legible on light and dark pages."""
from xml.sax.saxutils import escape

OURS, PEER, ANCHOR, GRID = "#2f7ed8", "#d97b29", "#8c98a5", "#8884"
STYLE = ("<style>text{font:12px system-ui,sans-serif;fill:#24292f}.small{font-size:11px}.title{font-size:14px;font-weight:600}"
         "@media(prefers-color-scheme:dark){text{fill:#d0d7de}}</style>")


def svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
            + STYLE + "".join(parts) + "</svg>\n")


def text(x, y, content, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(content)}</text>'


def rect(x, y, width, height, fill):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" fill="{fill}" rx="2"/>'


def line(x1, y1, x2, y2, stroke, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'


def thousands(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:.0f} k" if value >= 1e4 else f"{value / 1e3:.1f} k" if value >= 1000 else f"{value:.0f}"


def color(label):
    return OURS if label.startswith("cdc_sink") else PEER if label.startswith("JDBC") else ANCHOR


def bars(title, groups, unit=thousands, left=300, width=900):
    """groups: [(name, [(label, median, low, high)])]; a horizontal bar each, with a whisker over the range."""
    top = max((high for _, rows in groups for *_, high in rows), default=1)
    room = width - left - 90
    parts, y = [text(10, 20, title, "title")], 40
    for name, rows in groups:
        parts.append(text(10, y + 10, name, "title"))
        y += 20
        for label, value, low, high in rows:
            parts += [text(left - 8, y + 11, label, anchor="end"), rect(left, y, room * value / top, 14, color(label))]
            if high > low:
                parts.append(line(left + room * low / top, y + 7, left + room * high / top, y + 7, "#57606a", 2))
            parts.append(text(left + room * max(value, high) / top + 6, y + 11, unit(value), "small"))
            y += 18
        y += 10
    return svg(width, y + 5, parts)


def goals(rows, width=860, left=430):
    """rows: [(name, share of the goal that was reached)]; the goal is the line at 1."""
    top = 2.0
    room = width - left - 60
    parts, y = [text(10, 20, "Measured ÷ goal (a bar that ends right of the line meets it; cut at 2)", "title")], 36
    begin = y
    for name, share in rows:
        parts += [text(left - 8, y + 11, name, "small", "end"),
                  rect(left, y, room * min(share, top) / top, 14, OURS if share >= 1 else PEER),
                  text(left + room * min(share, top) / top + 6, y + 11, f"{share:.2f}", "small")]
        y += 18
    parts.append(line(left + room / top, begin - 4, left + room / top, y, "#d1242f", 1.5))
    return svg(width, y + 8, parts)


def course(title, points, windows, width=860, height=300):
    """Rate of each window of a long drain, beside its median; points are not drawn but give the length."""
    left, bottom = 70, height - 40
    top = max(windows) * 1.15
    span = max(len(windows), 1)
    right = width - 110                       # room for the names of the lines
    step = (right - left) / span
    middle = sorted(windows)[len(windows) // 2]
    parts = [text(10, 20, title, "title")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - share * (bottom - 40)
        parts += [line(left, y, right, y, GRID), text(left - 6, y + 4, thousands(top * share), "small", "end")]
    for i, rate in enumerate(windows):
        h = (bottom - 40) * rate / top
        parts += [rect(left + i * step + 2, bottom - h, step - 4, h, OURS),
                  text(left + (i + 0.5) * step, bottom + 16, f"{(i + 1) * 10} s", "small", "middle")]
    for share, name in ((1, "median"), (0.7, "0.7 × median")):
        y = bottom - (bottom - 40) * middle * share / top
        parts += [line(left, y, right, y, "#d1242f", 1), text(right + 6, y + 4, name, "small")]
    if points:
        parts.append(text(width - 34, 20, f"{points[-1][1]:,} events".replace(",", " "), "small", "end"))
    return svg(width, height, parts)
