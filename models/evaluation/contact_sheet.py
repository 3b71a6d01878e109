"""The contact sheet: a row a prompt, a column a step count, three frames of each clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.evaluation.prompts import Task
from models.evaluation.tasks.t2v import Column

CELL = 80  # pixels a still
GAP = 8
HEAD = 22
MOST_ROWS = 12
_GOOD, _BAD, _INK, _PAPER = (70, 170, 90), (200, 70, 70), (30, 30, 34), (250, 250, 250)


def contact_sheet(columns: Sequence[Column], tasks: Sequence[Task], rows: int = MOST_ROWS) -> Image.Image:
    """Under each prompt its clip in every column; the bar below has a green part for every recognised attribute."""
    count = min(rows, len(tasks))
    stills = 3 * CELL
    width = GAP + len(columns) * (stills + GAP)
    height = HEAD + count * (HEAD + CELL + 6 + GAP)
    sheet = Image.new("RGB", (width, height), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for c, column in enumerate(columns):
        title = f"{column.name} step{'s' * (column.name != '1')}" if column.name.isdigit() else column.name
        pen.text((GAP + c * (stills + GAP), 4), title, fill=_INK, font=font)
    for row, task in enumerate(tasks[:count]):
        top = HEAD + row * (HEAD + CELL + 6 + GAP)
        pen.text((GAP, top + 4), task.text, fill=_INK, font=font)
        for c, column in enumerate(columns):
            left = GAP + c * (stills + GAP)
            for k, still in enumerate(column.stills[row]):
                sheet.paste(_small(still), (left + k * CELL, top + HEAD))
            right = list(column.clips[row].right(task).values())
            for k, good in enumerate(right):
                x = left + k * stills // len(right)
                box = (x, top + HEAD + CELL + 1, x + stills // len(right) - 2, top + HEAD + CELL + 4)
                pen.rectangle(box, fill=_GOOD if good else _BAD)
    return sheet


def _small(still: np.ndarray) -> Image.Image:
    return Image.fromarray(still).resize((CELL, CELL), Image.Resampling.LANCZOS)
