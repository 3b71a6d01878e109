// The STUN and TURN servers that the server names in its answers, for peers made from then on.

/** @type {RTCIceServer[]} */
let known = [];

/** The newest ones: credentials are short-lived, so what came last counts. */
export const iceServers = () => known;

/** @param {string | null} header  the Link headers of an answer */
export function learn(header) {
  const named = header ? parseLinks(header) : [];
  if (named.length) known = named;
}

/**
 * ICE servers from Link headers: `<turn:host>; rel="ice-server"; username="u"; credential="c"`.
 * @param {string} header
 * @returns {RTCIceServer[]}
 */
export function parseLinks(header) {
  return [...header.matchAll(/<((?:stun|turns?):[^>]+)>([^<]*)/g)]
    .filter(([, , rest]) => /rel="?ice-server"?/.test(rest))
    .map(([, urls, rest]) => {
      const username = /username="([^"]*)"/.exec(rest)?.[1];
      const credential = /credential="([^"]*)"/.exec(rest)?.[1];
      return username === undefined ? { urls } : { urls, username, credential };
    });
}
