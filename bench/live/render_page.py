"""What `farcast bench render --plots` writes: the page, its curves, and the live and the rendered take side by side."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from .render_study import Study

CLIP_BYTES = 1_400_000
QUALITIES = (80, 65, 50, 35, 20)
PANEL = 256  # pixels, of each of the two pictures
CAPTION = 22  # pixels, of a line of text
PANELS = {
    "psnr": "PSNR to the live take, dB",
    "colours": "difference of the colours, levels of 255",
    "away": "object's distance from where it was live, half-pictures",
}

TOP = {"psnr": 50.0}  # a frame that was given is the same in both


def write(folder: Path, figures: Mapping[str, Any], study: Study, machine: Mapping[str, Any]) -> None:
    """render.md, render.json, render.png and render.webp in `folder`."""
    most = str(max(study.budgets))
    curves(folder / "render.png", figures, study)
    clip(folder / "render.webp", study, most)
    (folder / "render.json").write_text(json.dumps(rounded({**figures, "machine": dict(machine)})) + "\n")
    (folder / "render.md").write_text(page(figures, study, machine, most))


def rounded(value: Any) -> Any:
    """Figures to the digits that mean something."""
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def curves(path: Path, figures: Mapping[str, Any], study: Study) -> None:
    """Likeness against time, a panel a figure, a line a budget; another seed's take gives the scale."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed to write a file
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(PANELS), 1, figsize=(9, 8.5), sharex=True, layout="constrained")
    for panel, (kind, title) in zip(axes, PANELS.items(), strict=True):
        for number, (name, lines) in enumerate(figures["curves"].items()):
            values = [np.nan if value is None else min(value, TOP.get(kind, value)) for value in lines[kind]]
            other = not name.isdigit()
            style = {"color": "grey", "linestyle": ":"} if other else {"color": f"C{number}"}
            label = f"another seed, {figures['live_steps']} steps" if other else f"{name} steps"
            panel.plot(np.arange(len(values)) / figures["fps"], values, label=label, linewidth=1.4, **style)
        for stretch in study.stretches[1:]:
            panel.axvline(stretch.first / figures["fps"], color="black", linewidth=0.6, alpha=0.5)
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.25)
    axes[0].legend(fontsize=8, ncols=5)
    axes[-1].set_xlabel("seconds of video; lines: a new prompt, and a new shot from a picture")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def clip(path: Path, study: Study, most: str) -> None:
    """Both takes side by side as an animated WebP of at most CLIP_BYTES."""
    live, rendered = study.sample["live"], study.sample[most]
    names = (f"live, {study_steps(study)} steps", f"rendered, {most} steps")
    frames = []
    for index, pair in enumerate(zip(live, rendered, strict=True)):
        stretch = sum(index >= s.first for s in study.stretches) - 1
        prompt = study.prompts[stretch] if stretch < len(study.prompts) else ""
        frames.append(side_by_side(pair, names, prompt))
    duration = round(1000 / float(study.bundle.fps))
    for quality in QUALITIES:
        data = io.BytesIO()
        frames[0].save(
            data, "WEBP", save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=quality, method=3
        )
        if data.tell() <= CLIP_BYTES:
            break
    path.write_bytes(data.getvalue())


def study_steps(study: Study) -> int | str:
    return study.live_steps or "as live"


def side_by_side(pair: Sequence[np.ndarray], names: Sequence[str], prompt: str) -> Image.Image:
    """Two frames with what they are above and the prompt below."""
    shape = pair[0].shape
    height = round(PANEL * shape[0] / shape[1])
    sheet = Image.new("RGB", (2 * PANEL, height + 2 * CAPTION), (24, 24, 28))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for place, (pixels, name) in enumerate(zip(pair, names, strict=True)):
        picture = Image.fromarray(pixels).resize((PANEL, height), Image.Resampling.BICUBIC)
        sheet.paste(picture, (place * PANEL, CAPTION))
        draw.text((place * PANEL + PANEL // 2, CAPTION // 2), name, fill=(235, 235, 235), font=font, anchor="mm")
    where = (PANEL, height + CAPTION + CAPTION // 2)
    draw.text(where, prompt, fill=(190, 200, 215), font=font, anchor="mm")
    return sheet


PAGE = """# Directed live, rendered again

A take is directed live at {live_steps} steps a chunk; its score then makes it again at other steps
(`farcast render SCORE.json --steps {most} -o final.mp4`, or the page's "render this take"): same seed, same prompts,
pictures and rewinds at the same chunks. At the live steps the frames are the live ones bit for bit ({exact};
`tests/stream/score/test_replay.py` proves it over rewinds, mixes, transitions, pictures and a restarted engine). At
more steps each chunk goes on from its own past, so the take finds its own way. How far that leads is measured here.

![live at {live_steps} steps and rendered at {most}, side by side](render.webp)

```sh
farcast bench render --plots docs/results   # writes this page, its curves and the clip
```

{takes} of {seconds:.1f} s ({model}, guidance {guidance:g}): a prompt, a second one that turns the picture, and a third
with a new shot from a picture. For scale: the same take from another seed, which shares all but the noise.

| | PSNR to live, dB | colours differ, levels | object away, half-pictures | same words | as asked | fidelity, dB |
|---|---|---|---|---|---|---|
{table}

Colours: mean difference in 8x8 cells of the picture. Away: distance between the objects' centres. Same words: share of
colour, shape, size, background and motion recognised as in the live take. As asked: the same against the prompt.
Fidelity: PSNR against the toy world drawn along the take's own track.

{findings}

![likeness over time](render.png)

Means over all frames and takes; the curves too. Measured with {machine}; how fast the machine is does not enter.
"""


def page(figures: Mapping[str, Any], study: Study, machine: Mapping[str, Any], most: str) -> str:
    """The page in Markdown."""
    rows, live_steps = figures["by_steps"], figures["live_steps"]
    table = []
    for name, row in rows.items():
        label = f"live, {live_steps} steps" if name == "live" else f"{name} steps" if name.isdigit() else name
        table.append(f"| {label} | {' | '.join(decimal(row.get(key), digits) for key, digits in COLUMNS)} |")
    findings = [*likeness(rows[most], rows["another seed"], most), verdict(rows["live"], rows[most], most)]
    return PAGE.format(
        live_steps=live_steps,
        most=most,
        exact="checked here too" if figures["exact_at_live_steps"] else "NOT SO WHEN THIS WAS MEASURED",
        takes=f"{figures['takes']} takes" if figures["takes"] > 1 else "One take",
        seconds=figures["frames"] / figures["fps"],
        model=figures["model"],
        guidance=figures["guidance"],
        table="\n".join(table),
        findings="\n".join(f"- {line}" for line in findings),
        machine=", ".join(f"{name} {machine[name]}" for name in ("cpu", "torch") if name in machine),
    )


COLUMNS = (
    ("psnr_db", 1),
    ("colours", 1),
    ("away", 2),
    ("same_words", 2),
    ("asked_for", 2),
    ("fidelity_db", 1),
)


def decimal(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def likeness(best: Mapping[str, Any], other: Mapping[str, Any], most: str) -> list[str]:
    """How near the render is to the live take, in sentences that hold whichever way it came out."""
    lines = [
        f"The picture: {decimal(best['psnr_db'], 1)} dB to the live one at {most} steps, "
        f"{decimal(other['psnr_db'], 1)} dB from another seed; colours are {decimal(best['colours'], 1)} levels off, "
        f"against {decimal(other['colours'], 1)}."
    ]
    if best["away"] is not None and other["away"] is not None:
        lines.append(
            f"The object: {decimal(best['away'], 2)} half-pictures from where it was live, against "
            f"{decimal(other['away'], 2)} from another seed."
        )
    lines.append(
        f"What is to be seen: {decimal(best['same_words'], 2)} of it is called the same, against "
        f"{decimal(other['same_words'], 2)}."
    )
    return lines


def verdict(live: Mapping[str, Any], best: Mapping[str, Any], most: str) -> str:
    """What the steps buy."""
    line = (
        f"The steps: fidelity {decimal(live['fidelity_db'], 1)} dB live, {decimal(best['fidelity_db'], 1)} dB at {most}"
    )
    if live["asked_for"] is not None and best["asked_for"] is not None:
        line += f"; attributes as asked {decimal(live['asked_for'], 2)} live, {decimal(best['asked_for'], 2)} at {most}"
    return line + "."
