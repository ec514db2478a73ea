"""Images and figures of other libraries: Pillow's, matplotlib's. They can change, so their pixels are taken at once."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..values import Unstorable
from .arrays import ArrayCopy, copy_array
from .held import Held

_AS_THEY_ARE = ("L", "RGB", "RGBA", "1")
_NUMBERS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def is_pillow(value: Any) -> bool:
    """Answer whether a value is an image of Pillow's."""
    return any((base.__module__, base.__qualname__) == ("PIL.Image", "Image") for base in type(value).__mro__)


def copy_pillow(image: Any) -> ArrayCopy:
    """Copy the pixels of an image of Pillow's; a file that was opened, and not read yet, is read now."""
    if image.width * image.height == 0:
        raise Unstorable(f"is empty: it is {image.width} wide and {image.height} high")
    if image.mode not in _AS_THEY_ARE and image.mode not in _NUMBERS:
        has_alpha = image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info
        image = image.convert("RGBA" if has_alpha else "RGB")
    if image.mode in _NUMBERS:
        return copy_array(image)
    # Copying is quick; turning the copy into numbers is not, and can wait.
    image = image.convert("L") if image.mode == "1" else image.copy()
    bands = len(image.getbands())
    shape = (image.height, image.width, bands)
    return ArrayCopy(Held(image.tobytes, image.height * image.width * bands), "|u1", shape, False)


def figure_of(value: Any) -> Any:
    """Answer the matplotlib figure that a value is or belongs to: a figure, axes, or pyplot itself; None for others."""
    if isinstance(value, ModuleType):
        if value.__name__ != "matplotlib.pyplot":
            return None
        if not value.get_fignums():  # `gcf` would make one
            raise Unstorable("is pyplot, and there is no open figure; log it before it is closed")
        return value.gcf()
    bases = {(base.__module__, base.__qualname__) for base in type(value).__mro__}
    if ("matplotlib.figure", "Figure") in bases:
        return value
    return value.get_figure() if ("matplotlib.artist", "Artist") in bases else None


def copy_figure(figure: Any) -> ArrayCopy:
    """Draw a figure of matplotlib's, and copy its pixels.

    That happens in the caller's thread: a figure belongs to the thread that made it, and is often closed or drawn over
    right after. Only its compression is left to ours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    before = figure.canvas
    if len(figure.get_children()) <= 1:  # its background
        raise Unstorable("is a figure with nothing in it; perhaps it was cleared, or another one was drawn into")
    try:
        canvas: Any = FigureCanvasAgg(figure)  # not its own: drawing there could open or redraw a window
        canvas.draw()
        return copy_array(canvas.buffer_rgba())
    finally:
        figure.set_canvas(before)
