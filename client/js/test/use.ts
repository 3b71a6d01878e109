// Compiled, never run: the declarations say what a user of the package may do, and what not.

import { connect, getModel, join, play, Problem, Session, type Chunk, type Status } from "farcast";

export async function right(video: HTMLVideoElement): Promise<void> {
  const session: Session = await connect("http://127.0.0.1:8000", { prompt: "a red circle", seed: 1, dial: { latency_ms: 500 } }, video);
  const off: () => void = session.on("chunk", (chunk: Chunk) => console.log(chunk.index, chunk.steps));
  session.on("status", ({ state, detail }: Status) => console.log(state, detail));
  session.on("prompt", ({ text, status, latencyMs }) => console.log(text.length, status === "live", latencyMs?.toFixed(0)));
  session.prompt({ text: "a blue star", transition: 2 });
  session.prompt({ text: "both", mix: [["a", 0.5], ["b", 0.5]] });
  session.setDial({ steps: 4 });
  const sent: boolean = session.rewind(3);
  const { re }: { re: string } = await session.image(new Blob());
  session.leave({ end: true });
  play(await join("http://127.0.0.1:8000", { id: "a", token: "b" }), video);
  const frames: number | undefined = (await getModel()).chunk_frames;
  console.log(off, sent, re, frames, new Problem("x").status.toFixed());
}

export async function wrong(session: Session): Promise<void> {
  // @ts-expect-error a prompt has a text
  session.prompt("a blue star");
  // @ts-expect-error chunks are numbers
  session.rewind("three");
  // @ts-expect-error there is no such event
  session.on("chunks", () => {});
  // @ts-expect-error a session starts from a prompt
  await connect("http://127.0.0.1:8000", { seed: 1 });
}
