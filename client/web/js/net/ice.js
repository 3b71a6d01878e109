// STUN and TURN servers from the Link headers of the server's answers; used by peers made after that.

/** @type {RTCIceServer[]} */
let known = [];

/** The newest ones: credentials are short-lived. */
export const iceServers = () => known;

/** @param {string | null} header  the Link header of an answer */
export function updateIceServers(header) {
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
