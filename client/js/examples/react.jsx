// A live, steerable video as a React component: <Farcast server="http://127.0.0.1:8000" prompt="a red circle" />
import { connect } from "farcast";
import { useEffect, useRef, useState } from "react";

export function Farcast({ server, prompt }) {
  const video = useRef(null);
  const session = useRef(null);
  const [status, setStatus] = useState("connecting");
  const [text, setText] = useState(prompt);

  useEffect(() => {
    let over = false;
    connect(server, { prompt }, video.current).then(
      (opened) => {
        if (over) return opened.leave({ end: true });
        session.current = opened;
        opened.on("status", ({ state, detail }) => setStatus(detail || state));
        opened.on("prompt", ({ status, text }) => status === "refused" && setStatus(`refused: ${text}`));
      },
      (problem) => setStatus(problem.message),
    );
    return () => {
      over = true;
      session.current?.leave({ end: true });
    };
  }, [server, prompt]);

  const send = (event) => (event.preventDefault(), session.current?.prompt({ text }));
  return <form onSubmit={send}><video ref={video} /><p>{status}</p><input value={text} onChange={(e) => setText(e.target.value)} /></form>;
}
