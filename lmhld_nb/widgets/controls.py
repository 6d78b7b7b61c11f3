"""What the front ends share: controls with readable labels, pictures that are redrawn fast, errors in one line."""

import html
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lmhld_nb.config import UserError

_WIDE = {"description_width": "initial"}


def choice(label: str, options: Sequence[Any], value: Any = None) -> ipywidgets.Dropdown:
    """Return a list to choose one from; options are values, or (name, value)."""
    chosen = {} if value is None else {"value": value}  # else the first
    return ipywidgets.Dropdown(options=options, description=label, style=_WIDE, **chosen)


def slider(label: str, value: float, low: float, high: float, step: float) -> Any:
    """Return a slider that answers when it is released, or at each press of an arrow key."""
    whole = all(isinstance(number, int) for number in (value, low, high, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    look: dict[str, Any] = {"description": label, "style": _WIDE, "layout": {"width": "38em"}}
    return kind(value=value, min=low, max=high, step=step, continuous_update=False, **look)


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure (inches) outside pyplot, without the layout engine: its axes stay where they are put."""
    figure = Figure(figsize=(width, height), dpi=100)
    figure.set_layout_engine("none")
    return figure


def show(target: ipywidgets.Image, figure: Figure) -> None:
    """Draw a figure into an image and close it; light compression, for it does not travel far."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    target.value = buffer.getvalue()
    plt.close(figure)


def legend(kinds: Sequence[tuple[str, str]], between: str = " &emsp; ") -> str:
    """Return HTML that names colours: (colour, name) each."""
    return between.join(
        f'<span style="background:{colour};border:1px solid #555">&emsp;</span>&nbsp;{html.escape(name)}'
        for colour, name in kinds
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return an HTML table."""
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    cells = ("".join(f"<td>{html.escape(format_value(value))}</td>" for value in row) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<table class="lmhld"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def format_value(value: Any) -> str:
    """Return a value for a table: three digits of a fraction, a dash for what is not defined."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"
    return str(value)


def panel(
    draw: Callable[[], None],
    inputs: Sequence[Sequence[ipywidgets.Widget]],
    outputs: Sequence[ipywidgets.DOMWidget],
    caption: str,
) -> ipywidgets.VBox:
    """Return a panel that calls ``draw`` now and at every change of a control but those that it makes itself.

    An error becomes one line, and ``outputs`` disappear until it is mended. ``inputs`` are rows of controls.
    """
    message = ipywidgets.HTML()
    below = _row(outputs)
    drawing: list[bool] = []

    def answer(_: object = None) -> None:
        if drawing:
            return
        drawing.append(True)
        try:
            draw()
        except Exception as error:
            name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            line = html.escape(" ".join(f"{name}{error}".split()))
            message.value = f'<b role="alert" style="color:#b00020">{line}</b>'
        else:
            message.value = ""
        finally:
            drawing.clear()
        below.layout.display = "none" if message.value else None

    for control in (control for row in inputs for control in row):
        control.observe(answer, "value")
    answer()
    small = f'<span style="font-size:85%;color:#666">{html.escape(caption)}</span>'
    return ipywidgets.VBox([*map(_row, inputs), message, below, ipywidgets.HTML(small)])


def _row(widgets: Sequence[ipywidgets.Widget]) -> ipywidgets.HBox:
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap"})
