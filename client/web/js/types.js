// Types of the messages between page and server, as JSDoc. No code.

/** @typedef {{latency_ms: number, floor: number, ceiling: number, steps: number | null}} Dial */

/**
 * GET /v1/model: the loaded model. A limit that is missing is not shown.
 * @typedef {object} ModelCard
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {string[]} examples
 * @property {number} [max_steps]
 * @property {string} [licence]
 */

/**
 * A session as created or joined. `token` allows to steer, or only to watch.
 * @typedef {object} SessionInfo
 * @property {string} id
 * @property {string} token
 * @property {string} [view_token]
 * @property {"steer" | "watch"} [role]  what `token` allows
 * @property {string} state
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {string} model
 * @property {string} prompt
 * @property {number} seed
 * @property {Dial} dial
 * @property {number} [viewers]
 * @property {Record<string, string | null>} urls  addresses of its parts; what the server does not offer is missing
 */

/**
 * What a new session starts from.
 * @typedef {object} Start
 * @property {string} prompt
 * @property {number} [seed]
 * @property {Partial<Dial>} [dial]
 * @property {number} [guidance]
 * @property {File | Blob} [image]
 * @property {File | Blob} [clip]
 */

/**
 * A prompt, or a mix of prompts with weights (then `text` is the mix as text).
 * @typedef {object} PromptRequest
 * @property {string} text
 * @property {[string, number][]} [mix]
 * @property {number} [transition]  chunks to blend over; 0 or missing = cut
 */

/**
 * A shot that began from a picture; null if another client sent it.
 * @typedef {{chunk: number, picture: Blob | null}} Shot
 */

/**
 * GET /v1/renders/{id}: a render of a session.
 * @typedef {object} Render
 * @property {string} id
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {number} progress  0..1
 * @property {number | null} steps  null = the live steps
 * @property {number} [frames]
 * @property {string | null} [url]
 * @property {string | null} [error]
 * @property {boolean | null} [exact]  every chunk is equal to the live one
 */

/**
 * A `chunk` message: one finished chunk.
 * @typedef {object} Chunk
 * @property {number} index
 * @property {number} frame
 * @property {number} frames
 * @property {number} steps
 * @property {number} took_ms
 * @property {number} deadline_ms
 * @property {number} lead_ms
 * @property {number} fps
 * @property {number} realtime_factor
 * @property {string} prompt
 */

/**
 * Any message of the control socket; `type` decides the other fields.
 * @typedef {{type: string, re?: string} & Record<string, any>} Message
 */

/**
 * A change in the state of one prompt.
 * @typedef {object} PromptEvent
 * @property {string} id
 * @property {string} text
 * @property {"pending" | "live" | "replaced" | "refused"} status
 * @property {number} [frame]
 * @property {number} [chunk]
 * @property {number} [latencyMs]
 * @property {string} [message]
 */

/** @typedef {"connecting" | "warming" | "live" | "paused" | "reconnecting" | "refused" | "lost" | "ended"} State */

/** @typedef {{state: State, detail: string}} Status */

export {};
