// The shapes that travel between the page and its server, as JSDoc types. Nothing here runs.

/** @typedef {{latency_ms: number, floor: number, ceiling: number, steps: number | null}} Dial */

/**
 * What the server says about the loaded model. Limits it does not name are simply not shown.
 * @typedef {object} ModelCard
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {string[]} examples
 * @property {number} [max_steps]
 * @property {number | null} [steps]  the default ceiling of the dial
 * @property {[number, number]} [guidance_range]
 * @property {{words: Record<string, string[]>, caption: string} | null} [vocabulary]
 * @property {string} [licence]
 */

/**
 * A session as created or joined. `token` may be the right to steer or only the right to watch.
 * @typedef {object} SessionInfo
 * @property {string} id
 * @property {string} token
 * @property {string} [view_token]
 * @property {"steer" | "watch"} [role]  what the token allows
 * @property {string} state
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {string} model
 * @property {string} prompt
 * @property {number} seed
 * @property {Dial} dial
 * @property {number} [viewers]
 * @property {Record<string, string | null>} urls  where its parts are; what the server does not have is missing
 */

/**
 * What a new take starts from.
 * @typedef {object} Start
 * @property {string} prompt
 * @property {number} [seed]
 * @property {Partial<Dial>} [dial]
 * @property {number} [guidance]
 * @property {File | Blob} [image]
 * @property {File | Blob} [clip]
 */

/**
 * What the user asks to see: words, or several with weights (then `text` is the mix as people read it).
 * @typedef {object} Wish
 * @property {string} text
 * @property {[string, number][]} [mix]
 * @property {number} [transition]  blend over so many chunks; 0 or missing = cut
 */

/**
 * A shot that began from a picture; null where someone else gave it.
 * @typedef {{chunk: number, picture: Blob | null}} Shot
 */

/**
 * A take being rendered again.
 * @typedef {object} Render
 * @property {string} id
 * @property {"queued" | "running" | "done" | "failed" | "cancelled"} state
 * @property {number} progress  0..1
 * @property {number | null} steps  null = as it was live
 * @property {number} [frames]
 * @property {string | null} [url]
 * @property {string | null} [error]
 * @property {boolean | null} [exact]  every chunk equals the live one
 */

/**
 * One finished chunk, as the server reports it.
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
 * Any control message from the server; `type` says which fields are there.
 * @typedef {{type: string, re?: string} & Record<string, any>} Message
 */

/**
 * The life of one prompt on this page.
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
