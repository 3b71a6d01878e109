"""--decoder and --lora reach the model from `serve`, `generate` and `render`, and tell its weights apart."""

from __future__ import annotations

import json
from pathlib import Path

import av
import farcast
import numpy as np
import pytest
from farcast import events
from farcast.cli import run

pytest.importorskip("torch", reason="the server's packages are not installed")

from models.checkpoint.fingerprint import fingerprint
from models.checkpoint.load import open_weights, parse_lora
from models.errors import ModelError
from stream.cli import generate, render, serve
from stream.config import ServerConfig
from tests.support.adapters import decoder_file, lora_file, model_folder
from tests.support.running_server import running

REAL_ENGINE, REAL_RENDERER = ServerConfig.engine, ServerConfig.renderer


class Files:
    def __init__(self, folder: Path) -> None:
        self.model = str(model_folder(folder / "model"))
        self.decoder = str(decoder_file(folder / "taew2_1.safetensors"))
        self.lora = str(lora_file(folder / "lora.safetensors"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("adapters"))


def finish(app: object, prog: str, *args: str) -> object:
    with pytest.raises(SystemExit) as end:
        run(app, list(args), prog=prog)
    return end.value.code


def frames_in(path: Path) -> np.ndarray:
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def test_a_lora_may_have_a_scale() -> None:
    assert parse_lora("style.safetensors") == ("style.safetensors", 1.0)
    assert parse_lora("style.safetensors:0.8") == ("style.safetensors", 0.8)
    assert parse_lora("C:/style.safetensors") == ("C:/style.safetensors", 1.0)
    for text in ("style.safetensors:much", "style.safetensors:nan", ":0.5"):
        with pytest.raises(ModelError, match="FILE:SCALE"):
            parse_lora(text)


def test_the_fingerprint_says_what_was_added(files: Files) -> None:
    options = [{}, {"lora": [files.lora]}, {"lora": [files.lora + ":0.0001"]}, {"decoder": files.decoder}]
    found = [fingerprint(open_weights(files.model, "cpu", **more)) for more in options]  # type: ignore[arg-type]
    assert len(set(found)) == 4
    assert fingerprint(open_weights(files.model, "cpu")) == found[0]


def test_generate_decodes_with_the_file_and_adds_the_lora(files: Files, tmp_path: Path) -> None:
    clips = []
    for index, more in enumerate(([], ["--lora", f"{files.lora}:0.5"], ["--decoder", files.decoder])):
        out = tmp_path / f"{index}.mp4"
        args = ["--prompt", "a red star", "--model", files.model, "--frames", "13", "--steps", "1", "-o", str(out)]
        assert finish(generate.app, "farcast generate", *args, *more) in (0, None)
        clips.append(frames_in(out).astype(int))
    for other in clips[1:]:
        assert other.shape == clips[0].shape
        assert np.abs(other - clips[0]).max() > 8


def test_render_needs_what_the_take_was_made_with(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", files.model, "--decoder", files.decoder, "--lora", f"{files.lora}:0.5"]
    bundle = open_weights(files.model, "cpu", decoder=files.decoder, lora=[f"{files.lora}:0.5"])
    score = tmp_path / "take.json"
    entries = [{"chunk": 0, "prompt": "a red circle"}, {"chunk": 0, "steps": 1, "sigmas": [1.0, 0.0]}]
    document = {
        "score": 1, "model": bundle.name, "weights": fingerprint(bundle), "seed": 1, "guidance": 1.0,
        "width": bundle.width, "height": bundle.height, "fps": float(bundle.fps), "chunks": 2, "entries": entries,
    }  # fmt: skip
    score.write_text(json.dumps(document))
    out = str(tmp_path / "take.mp4")
    assert finish(render.app, "farcast render", str(score), "-o", out, *options) in (0, None)
    assert len(frames_in(Path(out))) == 13
    assert finish(render.app, "farcast render", str(score), "-o", out, *options[:4]) not in (0, None)
    assert "another model: its version of the model" in capsys.readouterr().err


def test_serve_passes_them_on(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[ServerConfig] = []

    async def instead(config: ServerConfig, level: int) -> None:
        configs.append(config)

    monkeypatch.setattr(serve, "run", instead)
    args = ["--decoder", files.decoder, "--lora", files.lora, "--lora", f"{files.lora}:0.5"]
    assert finish(serve.app, "farcast serve", *args) in (0, None)
    assert (configs[0].decoder, configs[0].lora) == (files.decoder, (files.lora, f"{files.lora}:0.5"))


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_server_renders_a_take_with_what_made_it(files: Files) -> None:
    lora = (f"{files.lora}:0.5",)
    with running(
        files.model, engine=REAL_ENGINE, renderer=REAL_RENDERER, decoder=files.decoder, lora=lora, engine_threads=1
    ) as server:
        async with farcast.connect(server.url, prompt="a red star", dial=farcast.Dial(steps=1)) as live:
            async for event in live.events():
                if isinstance(event, events.Chunk) and event.index >= 2:
                    break
            await live.pause()
            score = await live.score()
            bundle = open_weights(files.model, "cpu", decoder=files.decoder, lora=[f"{files.lora}:0.5"])
            assert score["weights"] == fingerprint(bundle)
            assert (await live.render(steps=None)).exact is True
