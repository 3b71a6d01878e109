"""What the server counts, for Prometheus. One registry a server, so that two in one process do not mix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
JITTER = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5)
LOSS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 50)


class Metrics:
    """Names begin with farcast_; base units."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.sessions = Gauge("farcast_sessions", "Sessions by state", ["state"], registry=registry)
        self.viewers = Gauge("farcast_viewers", "Connected viewers", registry=registry)
        self.refused = Counter("farcast_refused_total", "Requests refused, by code", ["code"], registry=registry)
        self.chunks = Counter("farcast_chunks_total", "Chunks made", registry=registry)
        self.frames = Counter("farcast_frames_shown_total", "Frames shown", registry=registry)
        self.steps = Histogram("farcast_chunk_steps", "Steps a chunk got", buckets=STEPS, registry=registry)
        self.took = Histogram("farcast_chunk_seconds", "Time to make a chunk", buckets=SECONDS, registry=registry)
        self.late = Counter("farcast_deadlines_missed_total", "Chunks later than planned", registry=registry)
        self.underruns = Counter("farcast_underruns_total", "Times the picture stood still", registry=registry)
        self.dropped_frames = Counter(
            "farcast_frames_dropped_total", "Frames that were made and not sent", ["why"], registry=registry
        )
        self.stale_packets = Counter(
            "farcast_stale_packets_total", "Packets dropped for viewers that do not read", registry=registry
        )
        self.prompt = Histogram(
            "farcast_prompt_to_pixel_seconds",
            "From a prompt's arrival to its first frame",
            buckets=SECONDS,
            registry=registry,
        )
        self.unit = Histogram(
            "farcast_unit_seconds", "Cost of one unit of work", ["kind"], buckets=SECONDS, registry=registry
        )
        self.tasks = Gauge("farcast_tasks", "Tasks of the event loop", registry=registry)
        self.restarts = Counter(
            "farcast_engine_restarts_total",
            "Engine processes started again: after a fault, hung, killed from outside, or load (no model)",
            ["cause"],
            registry=registry,
        )
        self.engine_heartbeat = Gauge(
            "farcast_engine_heartbeat_age_seconds", "Since the engine began its present work", registry=registry
        )
        self.ready = Gauge("farcast_engine_ready", "1 when the model is loaded", registry=registry)
        self.encode = Counter("farcast_encode_seconds_total", "Time spent encoding video", registry=registry)
        self.encoded_bytes = Counter(
            "farcast_encoded_bytes_total",
            "Video encoded, once for all viewers",
            ["codec", "encoding"],
            registry=registry,
        )
        self.keyframes = Counter("farcast_keyframes_total", "Keyframes made", ["codec", "encoding"], registry=registry)
        self.keyframe_requests = Counter(
            "farcast_keyframe_requests_total", "Keyframes asked for, many at a time answered by one", ["why"],
            registry=registry,
        )  # fmt: skip
        self.encoder_rebuilds = Counter(
            "farcast_encoder_rebuilds_total", "Encoders made anew for another rate", registry=registry
        )
        self.encodings = Gauge("farcast_encodings", "Encodings running, full and low", ["encoding"], registry=registry)
        self.viewers_gone = Counter(
            "farcast_viewers_gone_total",
            "Viewers that are gone: left, closed, silent, failed, no_ice, no_dtls, replaced, over or shutdown",
            ["why"],
            registry=registry,
        )
        self.viewer_connect = Histogram(
            "farcast_viewer_connect_seconds", "From offer to connection", buckets=SECONDS, registry=registry
        )
        self.viewer_loss = Histogram(
            "farcast_viewer_loss_ratio", "Packets lost, by viewers' reports", buckets=LOSS, registry=registry
        )
        self.viewer_jitter = Histogram(
            "farcast_viewer_jitter_seconds", "Jitter of packets, by viewers' reports", buckets=JITTER, registry=registry
        )
        self.frame_lateness = Histogram(
            "farcast_frame_lateness_seconds", "From when a frame was due to when it left", buckets=JITTER,
            registry=registry,
        )  # fmt: skip
        self.recorded_bytes = Counter("farcast_recorded_bytes_total", "Bytes written to recordings", registry=registry)
        self.recording_dropped = Counter(
            "farcast_recording_packets_dropped_total",
            "Packets missing in recordings because the disk was too slow",
            registry=registry,
        )
        self.recordings_stopped = Counter(
            "farcast_recordings_stopped_total",
            "Recordings that ended before their session: size, time, disk or space",
            ["why"],
            registry=registry,
        )
        self.upload_bytes = Gauge(
            "farcast_upload_bytes", "Uploads being received or waiting to be decoded", registry=registry
        )
        self.uploads_decoding = Gauge("farcast_uploads_decoding", "Uploads being decoded", registry=registry)
        self.uploads_waiting = Gauge("farcast_uploads_waiting", "Uploads waiting to be decoded", registry=registry)
        self.control = Counter(
            "farcast_control_messages_total", "Control messages, by type", ["type"], registry=registry
        )

    def chunk_made(self, *, steps: int, seconds: float, late: bool, dropped: int) -> None:
        """One chunk came after `seconds` of work; `dropped` frames of the queue had to make room for it."""
        self.chunks.inc()
        self.steps.observe(steps)
        self.took.observe(seconds)
        self.dropped_frames.labels("queue").inc(dropped)
        if late:
            self.late.inc()

    def encoded(self, codec: str, encoding: str, seconds: float, size: int, keyframe: bool) -> None:
        """One frame went through an encoder."""
        self.encode.inc(seconds)
        self.encoded_bytes.labels(codec, encoding).inc(size)
        if keyframe:
            self.keyframes.labels(codec, encoding).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
