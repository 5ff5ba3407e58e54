"""Which container bytes are, decided from the bytes and never from a name.

What is not on the list never reaches FFmpeg, which reads some hundred formats and guesses:
playlists (HLS, DASH), lists of files (concat) and scripts name further files and addresses.
"""

from pipeline.modalities.image.sniff import described, is_image

# FFmpeg's names of the demuxers, one of which is forced.
MOV, MATROSKA, AVI, FLV, ASF, OGG, TS, PS = (
    *("mov", "matroska", "avi", "flv", "asf", "ogg", "mpegts", "mpeg"),
)
ADTS, AMR = "aac", "amr"
# libsndfile's.
WAV, FLAC, AIFF, AU, CAF, W64, MP3 = "WAV", "FLAC", "AIFF", "AU", "CAF", "W64", "MP3"

EXPECTED_VIDEO = "MP4/QuickTime, Matroska/WebM, AVI, FLV, ASF/WMV, Ogg, MPEG-TS or MPEG-PS"
EXPECTED_AUDIO = "WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, W64, AAC, AMR, or the sound of a film"

_FIRST = {
    b"\x1aE\xdf\xa3": MATROSKA,
    b"FLV\x01": FLV,
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): ASF,
    b"OggS": OGG,
    b"\x00\x00\x01\xba": PS,
    b"fLaC": FLAC,
    b".snd": AU,
    b"caff": CAF,
    b"#!AMR": AMR,
    b"ID3": MP3,
    bytes.fromhex("726966662e91cf11a5d628db04c10000"): W64,
}
_QUICKTIME = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_AUDIO_BRANDS = {b"M4A ", b"M4B ", b"M4P "}
_PACKET, _SYNC = 188, 0x47
_NAMES = (
    (b"#EXTM3U", "a playlist"),
    (b"ffconcat", "a list of files"),
    (b";FFMETADATA", "metadata for FFmpeg"),
    (b"%PDF-", "a PDF"),
    (b"RIFF", "a RIFF file that is neither AVI nor WAV"),
)


def container(data: bytes) -> str | None:
    """The format of sound or film that ``data`` claims with its first bytes; None: none of ours."""
    for magic, name in _FIRST.items():
        if data.startswith(magic):
            return name
    if data[:4] in (b"RIFF", b"RF64", b"RIFX") and data[8:12] in (b"AVI ", b"WAVE"):
        return AVI if data[8:12] == b"AVI " else WAV
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if data[4:8] in _QUICKTIME and not is_image(data):
        return MOV
    if _is_transport_stream(data):
        return TS
    return _by_sync(data)


def _is_transport_stream(data: bytes) -> bool:
    """Packets of 188 bytes, or of 192 with a clock before each."""
    return any(
        len(data) > start + 2 * size and all(data[start + size * n] == _SYNC for n in range(3))
        for start, size in ((0, _PACKET), (4, _PACKET + 4))
    )


def _by_sync(data: bytes) -> str | None:
    """Frames of MPEG audio begin with eleven bits, a version and a layer; 0 is AAC's."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    if layer == 0:
        return ADTS if data[1] & 0xF0 == 0xF0 else None
    bit_rate, rate = data[2] >> 4, data[2] >> 2 & 3
    return MP3 if version != 1 and bit_rate != 15 and rate != 3 else None


FILMS = frozenset({MOV, MATROSKA, AVI, FLV, ASF, OGG, TS, PS})


def is_film(head: bytes) -> bool:
    """Whether content that begins so may be a film, as far as its beginning tells."""
    name = container(head)
    if name == MOV:
        return head[8:12] not in _AUDIO_BRANDS
    if name == OGG:
        return b"\x80theora" in head[:4096]
    if name == MATROSKA:
        return b"V_" in head[:4096] or b"A_" not in head[:4096]
    return name in FILMS


def is_sound(head: bytes) -> bool:
    """Whether content that begins so is sound without a film, as far as its beginning tells."""
    return container(head) is not None and not is_film(head)


def name_of(data: bytes) -> str:
    """What else it is, for the person who reads the error; never its bytes."""
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((name for magic, name in _NAMES if text.startswith(magic)), described(data))


# Of those that browsers play, what follows video/ or audio/ in their media type.
_PLAYED = {MOV: "mp4", MATROSKA: "webm", OGG: "ogg", WAV: "wav", FLAC: "flac", MP3: "mpeg"} | {
    ADTS: "aac"
}


def played_as(data: bytes) -> str | None:
    """The media type of a film or a sound that browsers play; None: it is no such."""
    subtype = _PLAYED.get(container(data) or "")
    if subtype is None:
        return None
    return f"{'video' if is_film(data) else 'audio'}/{subtype}"
