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
 * @property {number} [chunk_frames]
 * @property {boolean} [picture_strength]  a picture may be given with a strength
 * @property {number | null} [steps]  the default ceiling of the dial
 * @property {[number, number]} [guidance_range]
 * @property {{words: Record<string, string[]>, caption: string} | null} [vocabulary]
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
 * A prompt, a dial move or a picture, and the chunk where it takes effect.
 * @typedef {{chunk: number, prompt?: PromptRequest, dial?: Partial<Dial>, image?: Blob}} ReplayStep
 */

/**
 * A chunk made before this page joined, from the score. `image`: the picture that a shot begins with.
 * @typedef {{index: number, frame: number, frames: number, steps: number, prompt: string, dial: Dial | null, image: Blob | null}} PastChunk
 */

/** @typedef {{chunks: PastChunk[], steps: ReplayStep[]}} Past */

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

/**
 * @typedef {object} SessionEvents
 * @property {Status} status
 * @property {SessionInfo} info
 * @property {MediaStream} stream
 * @property {PromptEvent} prompt
 * @property {Chunk} chunk
 * @property {Shot} shot         a new shot began from a picture
 * @property {Past} past         what happened before this page joined
 * @property {Message} message
 * @property {string} notice     a message for the user, not fatal
 * @property {number} roundtrip
 */

export {};
