#!/bin/sh
# What the tests need besides Python and a Chromium: players that are not ours (npm: whip-whep on libwebrtc) and a TURN
# server (Debian: coturn). Where they cannot be had, those tests say so and are left out; everything else runs.
set -u
cd "$(dirname "$0")/.."

say() { printf 'farcast: %s\n' "$*" >&2; }

if ! command -v npm >/dev/null 2>&1; then
    say "npm is not installed, so the tests with players of other makers are left out"
elif ! (cd tests/players && npm install --silent --no-fund --no-audit >/dev/null 2>&1 && touch node_modules/.installed); then
    say "npm cannot install tests/players, so the tests with players of other makers are left out"
fi

if ! command -v turnserver >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
        say "installing Debian's coturn for the tests of relaying"
        log=$(mktemp)
        if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends coturn \
            iproute2; } >"$log" 2>&1; then
            tail -5 "$log" >&2
            say "coturn cannot be installed, so the tests of relaying are left out"
        fi
        rm -f "$log"
    else
        say "coturn is not installed (Debian: sudo apt-get install coturn), so the tests of relaying are left out"
    fi
fi
exit 0
