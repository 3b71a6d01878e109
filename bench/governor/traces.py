"""Synthetic devices: what every unit of work costs, and how fast the device runs at every moment.

A trace fixes both before anybody decides anything, so each controller, and the clairvoyant, meets the same world.
Work is in seconds on the undisturbed device; `rate` (0..1) is the share of its speed that is left for us.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CHUNK_S = 0.75  # 12 frames at 16 frames a second
MAX_STEPS = 50
STOPPED = 1e-3  # rate during a stall; not 0, so that time and work map one to one


@dataclass(frozen=True)
class Profile:
    """Seconds of a step, a decode and an append on the undisturbed device, and of a new prompt's encode and context."""

    name: str
    step: float
    decode: float
    append: float
    prompt: float
    encode: float


PROFILES = (
    Profile("embedded", step=0.015, decode=0.140, append=0.028, prompt=0.005, encode=0.024),  # measured, guided, 1 core
    Profile("fine", step=0.035, decode=0.200, append=0.060, prompt=0.010, encode=0.080),  # its first version, 2 cores
    Profile("medium", step=0.050, decode=0.060, append=0.090, prompt=0.010, encode=0.180),  # 1.3B, one large GPU
    Profile("coarse", step=0.110, decode=0.100, append=0.150, prompt=0.020, encode=0.300),  # few steps fit
)


@dataclass(frozen=True)
class Trace:
    """steps (chunks, MAX_STEPS), decode, append (chunks,): work in seconds. times, done: the device's cumulative work.

    `done[i]` seconds of work fit between 0 and `times[i]`; linear in between and strictly increasing.
    """

    name: str
    profile: Profile
    seed: int
    steps: Array
    decode: Array
    append: Array
    times: Array
    done: Array

    @property
    def chunks(self) -> int:
        return len(self.decode)

    def finish(self, start: float, work: float) -> float:
        """Clock time at which `work` begun at `start` is through."""
        return float(np.interp(np.interp(start, self.times, self.done) + work, self.done, self.times))


def make(name: str, profile: Profile, seed: int, chunks: int = 400) -> Trace:
    """The trace called `name` (a key of TRACES); the same arguments give the same trace."""
    rng = np.random.default_rng([zlib.crc32(f"{name}/{profile.name}".encode()), seed])
    span = chunks * CHUNK_S * 3.0  # room for runs that fall behind
    noise, rate = TRACES[name](rng, span)
    work = np.exp(rng.normal(-0.5 * noise**2, noise, (chunks, MAX_STEPS + 2)))
    if name == "noisy":
        work *= np.where(rng.random(work.shape) < 0.01, 3.0, 1.0)  # a hiccup now and then
    times = np.array([at for at, _ in rate] + [span])
    speed = np.array([max(STOPPED, value) for _, value in rate])
    done = np.concatenate([[0.0], np.cumsum(np.diff(times) * speed)])
    return Trace(
        name,
        profile,
        seed,
        steps=work[:, :MAX_STEPS] * profile.step,
        decode=work[:, MAX_STEPS] * profile.decode,
        append=work[:, MAX_STEPS + 1] * profile.append,
        times=times,
        done=done,
    )


Rate = list[tuple[float, float]]  # (from this moment on, rate)


def _steady(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    return 0.01, [(0.0, 1.0)]


def _noisy(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    return 0.15, [(0.0, 1.0)]


def _bursty(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    """Every 12 s or so something takes a third to a half of the device for 1 to 4 s."""
    rate, at = [(0.0, 1.0)], 0.0
    while (at := at + 4.0 + float(rng.exponential(12.0))) < span - 5.0:
        rate.append((at, float(rng.uniform(0.5, 0.67))))
        at += float(rng.uniform(1.0, 4.0))
        rate.append((at, 1.0))
    return 0.05, rate


def _drift(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    """The clock of the device wanders between full and 60 % speed over minutes."""
    period, phase = rng.uniform(100.0, 200.0), rng.uniform(0.0, 2.0 * np.pi)
    at = np.arange(0.0, span, 0.25)
    return 0.05, list(zip(at.tolist(), (0.8 + 0.2 * np.cos(2.0 * np.pi * at / period + phase)).tolist(), strict=True))


def _neighbour(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    """Somebody moves in, takes 40 to 50 % of the device, stays for a minute or so, and leaves."""
    rate, at = [(0.0, 1.0)], 0.0
    while (at := at + float(rng.uniform(30.0, 70.0))) < span - 70.0:
        rate.append((at, float(rng.uniform(0.5, 0.6))))
        at += float(rng.uniform(30.0, 70.0))
        rate.append((at, 1.0))
    return 0.05, rate


def _stall(rng: np.random.Generator, span: float) -> tuple[float, Rate]:
    """Every 25 s or so the device stands still for 0.2 to 0.6 s."""
    rate, at = [(0.0, 1.0)], 0.0
    while (at := at + 8.0 + float(rng.exponential(17.0))) < span - 2.0:
        rate.append((at, 0.0))
        at += float(rng.uniform(0.2, 0.6))
        rate.append((at, 1.0))
    return 0.05, rate


TRACES: dict[str, Callable[[np.random.Generator, float], tuple[float, Rate]]] = {
    "steady": _steady,
    "noisy": _noisy,
    "bursty": _bursty,
    "drift": _drift,
    "neighbour": _neighbour,
    "stall": _stall,
}
