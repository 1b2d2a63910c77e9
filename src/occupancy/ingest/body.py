"""What a request carries: its events one by one, whatever form they came in."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec
import zstandard

from occupancy.errors import InvalidInput, TooLarge, UnsupportedMedia
from occupancy.parse import Clock, Parsed, documents, parse_events, parse_messages

_JSON = {"application/json", "application/cloudevents+json", "application/cloudevents-batch+json"}
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_T = TypeVar("_T")
# more than any compressor of events needs; a frame may ask for up to 2 GiB of memory otherwise
_LARGEST_WINDOW = 8 * 2**20
# A body may be several members or frames, one after the other; one of thousands is made to keep the service busy.
_MOST_PARTS = 1_000
_PIECE = 64 * 1024


class _Decompressor(Protocol):
    """Of one member of gzip, or one frame of zstd."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


_Part = TypeVar("_Part", bound=_Decompressor)


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ENVELOPE = msgspec.json.Decoder(_Envelope)


def content_type(header: str) -> str:
    """The type that a Content-Type header names, if events can be of it. Raises UnsupportedMedia."""
    kind = header.partition(";")[0].strip().lower()
    # Required: a browser asks the service first before it sends any of these for a page from elsewhere.
    if kind not in _JSON and kind not in _LINES:
        known = ", ".join(sorted(_JSON | _LINES))
        raise UnsupportedMedia(f"send events as one of {known}", field="Content-Type", value=kind)
    return kind


def decompressed(body: bytes, encoding: str, most: int) -> bytes:
    """The body as it was before it was encoded, at most `most` bytes of it are made.

    `encoding` is the Content-Encoding header: gzip, zstd, identity or nothing. Raises UnsupportedMedia for another,
    InvalidInput where the body is not what the header says, TooLarge where there is more.
    """
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    decoder = _DECODERS.get(encoding)
    if decoder is None:
        raise UnsupportedMedia(
            "a body may be encoded as gzip or zstd", field="Content-Encoding", value=encoding
        )
    try:
        plain = decoder(body, most)
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise InvalidInput(f"the body is not {encoding}: {error}", field="body") from error
    if len(plain) > most:
        raise TooLarge(
            f"the body is larger than {most} bytes when it is decoded: send it in parts", field="body"
        )
    return plain


def parse_body(body: bytes, kind: str, clock: Clock, most: int) -> Parsed:
    """The events of a body of type `kind` (see `content_type`).

    JSON is one event or CloudEvent, an array of them, or an object that holds the array as `events`; or one of them a
    line. Raises InvalidInput for what is not JSON as a whole (a line that is none is rejected by itself), TooLarge for
    more than `most` events.
    """
    if kind in _LINES:
        lines = [line for line in body.splitlines() if line and not line.isspace()]
        return parse_messages(_limited(lines, most), clock)
    try:
        parsed = parse_messages(_limited(_elements(body), most), clock)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    else:
        if all(event.code != "invalid_json" for event in parsed.rejected):
            return parsed
    # Not JSON, or JSON that msgspec does not read: the error for people, or a close look at each event.
    return parse_events(_limited(documents(body), most), clock)


def _elements(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    start = body.lstrip()
    if start.startswith(b"["):
        return _ARRAY.decode(body)
    if b'"events"' in body:
        return _ENVELOPE.decode(body).events
    if not start:
        raise ValueError
    return [body]


def _limited(events: Sequence[_T], most: int) -> Sequence[_T]:
    if len(events) > most:
        raise TooLarge(f"{len(events)} events are more than {most}: send them in parts", field="events")
    return events


def _gunzip(body: bytes, most: int) -> bytes:
    plain: list[bytes] = []
    size = 0
    # 31: the format of gzip, with its checksum
    for member, piece in _parts(body, lambda: zlib.decompressobj(wbits=31)):
        plain.append(member.decompress(piece, most + 1 - size))
        size += len(plain[-1])
        if size > most:
            break
    return b"".join(plain)


def _unzstd(body: bytes, most: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    with decoder.stream_reader(body, read_across_frames=True) as reader:
        plain: bytes = reader.read(most + 1)
    # The reader does not mind a frame that ends too early; lines would be lost.
    if len(plain) <= most:
        for frame, piece in _parts(body, decoder.decompressobj):
            frame.decompress(piece)
    return plain


def _parts(body: bytes, begin: Callable[[], _Part]) -> Iterator[tuple[_Part, bytes]]:
    """The members or frames of a body, each made by `begin`, with a piece for it to decompress before the next.

    Raises EOFError where the last one ends too early, or where there are too many.
    """
    part = begin()
    parts = 1
    # What follows a part is copied with it: of small pieces, little.
    for start in range(0, len(body), _PIECE):
        rest = body[start : start + _PIECE]
        while rest:
            if part.eof:
                if parts == _MOST_PARTS:
                    raise EOFError(f"it has more than {_MOST_PARTS} parts")
                parts += 1
                part = begin()
            yield part, rest
            rest = part.unused_data
    if not part.eof:
        raise EOFError("it ends too early")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}
