"""One frame decoded, or encoded and checked. A transfer syntax has one codec: the same bytes come out everywhere.

  - JPEG (T.81): decoded by GDCM.          - JPEG-LS: by CharLS (pyjpegls).
  - JPEG 2000: by OpenJPEG (pylibjpeg).    - RLE Lossless: by pylibjpeg-rle.

A decoded frame is native, little endian, colour by pixel. What colours its bytes are is what `native_image` says, not
always what the data set said: of JPEG the luminance and colour differences are kept, at full size (YBR_FULL); JPEG
2000 gives RGB where it had transformed it.

`encode` decodes again what it has encoded and compares, as a wrong image is worse than a slow one.

:raises ValueRefused: the standard does not allow it, the codec cannot do it, or it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.transform.names import label
from gateway.transform.pixels import samples
from gateway.transform.pixels.image import COLUMNS, PIXEL_DATA, ROWS, Image
from gateway.transform.pixels.profiles import (
    J2K,
    J2K_LOSSLESS,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR_LOSSLESS,
    RLE,
    check_profile,
)
from gateway.transform.pixels.streams import Stream, bare, check_stream, stream_of_j2k, stream_of_jpeg
from gateway.transform.values import ValueRefused

EXPLICIT = "1.2.840.10008.1.2.1"
AMPLE_FRAME_BYTES = 64 * 1024 * 1024  # for which the memory that a worker has by default is enough
_SRGB, _UNSPECIFIED = 1, 0  # OpenJPEG's names of colour spaces
_BY_PIXEL = 0
_MIN_J2K = 32  # of the encoder, which always makes five halvings


def native_image(image: Image, frame: bytes) -> Image:
    """What the frames of an encapsulated image are once they are decoded.

    :param frame: the first of them.
    """
    colour, syntax = image.photometric_interpretation, image.transfer_syntax_uid
    if image.samples_per_pixel == 3:
        if syntax in JPEG:
            said = stream_of_jpeg(frame).colour or ("YBR" if colour.startswith("YBR") else colour)
            colour = "YBR_FULL" if said == "YBR" else said
        elif syntax in JPEG_2000 and colour in ("YBR_RCT", "YBR_ICT"):
            colour = "RGB"
    return image.but(transfer_syntax_uid=EXPLICIT, photometric_interpretation=colour, planar_configuration=0)


def decode(image: Image, frame: bytes, transfer_syntax_uid: str = "") -> bytes:
    """A native frame from an encapsulated one.

    :param transfer_syntax_uid: that of the frame, where it is not the image's.
    """
    syntax = transfer_syntax_uid or image.transfer_syntax_uid
    decoder = _DECODERS.get(syntax)
    if decoder is None:
        raise ValueRefused(f"{label(PIXEL_DATA)}: no codec decodes transfer syntax {syntax}")
    decoded = decoder(image.but(transfer_syntax_uid=syntax), frame)
    if len(decoded) != image.samples * image.sample_bytes:
        raise ValueRefused(f"{label(PIXEL_DATA)}: a decoded frame has another size than the data set says")
    return decoded


def _decode_rle(image: Image, frame: bytes) -> bytes:
    rle = samples.codec("rle")
    options = {"rows": image.rows, "columns": image.columns, "bits_allocated": image.bits_allocated}
    planes = _called("decode", image, rle.decode_pixel_data, frame, version=2, **options)
    return _by_pixel(image, bytes(planes))


def _decode_jpeg_ls(image: Image, frame: bytes) -> bytes:
    stream = stream_of_jpeg(frame)
    check_stream(stream, image)
    decoded, _ = _called("decode", image, samples.codec("jpeg_ls").decode_pixel_data, frame)
    fitted = samples.fitted(image, bytes(decoded), stream.precision)
    return _by_pixel(image, fitted) if stream.is_by_plane else fitted


def _decode_j2k(image: Image, frame: bytes) -> bytes:
    stream = stream_of_j2k(frame)
    check_stream(stream, image)
    decoded = _called("decode", image, samples.codec("openjpeg.utils").decode_pixel_data, frame, version=2)
    return samples.fitted(image, bytes(decoded), stream.precision)


def _decode_jpeg(image: Image, frame: bytes) -> bytes:
    stream = stream_of_jpeg(frame)
    check_stream(stream, image)
    return samples.fitted(image, _called("decode", image, _by_gdcm, image, frame, stream), stream.precision)


def _by_gdcm(image: Image, frame: bytes, stream: Stream) -> bytes:
    gdcm = samples.codec("gdcm")
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(bare(frame))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    writer = gdcm.ImageWriter()  # the owner of an image that a converter takes
    source = writer.GetImage()
    source.SetNumberOfDimensions(2)
    source.SetDimensions((image.columns, image.rows, 1))
    # Told that it is RGB, GDCM converts nothing: the components come out as they were compressed.
    kind = gdcm.PhotometricInterpretation.GetPIType("RGB" if image.samples_per_pixel == 3 else "MONOCHROME2")
    source.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    if image.samples_per_pixel > 1:
        source.SetPlanarConfiguration(_BY_PIXEL)
    source.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(image.transfer_syntax_uid)))
    bits, sign = 8 * samples.container(stream.precision), image.pixel_representation
    source.SetPixelFormat(gdcm.PixelFormat(image.samples_per_pixel, bits, stream.precision, stream.precision - 1, sign))
    source.SetDataElement(element)
    converter = gdcm.ImageChangeTransferSyntax()
    converter.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    converter.SetInput(source)
    value = converter.GetOutput().GetDataElement().GetByteValue() if converter.Change() else None
    if value is None:
        raise ValueRefused(f"{label(PIXEL_DATA)}: the codec cannot decode a frame{_perhaps(image)}")
    # Padded to an even length.
    return bytes(value.GetBuffer().encode("utf-8", "surrogateescape"))[: image.samples * bits // 8]


_DECODERS: dict[str, Callable[[Image, bytes], bytes]] = {
    RLE: _decode_rle,
    **dict.fromkeys(JPEG, _decode_jpeg),
    **dict.fromkeys(JPEG_LS, _decode_jpeg_ls),
    **dict.fromkeys(JPEG_2000, _decode_j2k),
}
CODECS = {  # the modules that a transfer syntax needs
    RLE: ("rle",),
    **dict.fromkeys(JPEG, ("gdcm", "numpy")),
    **dict.fromkeys(JPEG_LS, ("jpeg_ls", "numpy")),
    **dict.fromkeys(JPEG_2000, ("openjpeg.utils", "numpy")),
}


# ── encoding ──────────────────────────────────────────────────────────────────────────────────────────────────


def encoded_image(image: Image, transfer_syntax_uid: str) -> Image:
    """What a native image becomes in an encapsulated transfer syntax.

    :raises ValueRefused: it cannot be encoded so.
    """
    check_profile(image, transfer_syntax_uid)
    for tag, size in ((ROWS, image.rows), (COLUMNS, image.columns)):
        if transfer_syntax_uid in JPEG_2000 and size < _MIN_J2K:
            raise ValueRefused(f"{label(tag)}: fewer than the {_MIN_J2K} that the JPEG 2000 codec needs")
    colour, planar = image.photometric_interpretation, 0
    if colour == "RGB" and transfer_syntax_uid in (J2K, J2K_LOSSLESS):
        colour = "YBR_RCT" if transfer_syntax_uid == J2K_LOSSLESS else "YBR_ICT"
    if transfer_syntax_uid == RLE and image.samples_per_pixel > 1:
        planar = 1  # PS3.5 G.2: a segment holds a byte of one sample of all pixels
    return image.but(
        transfer_syntax_uid=transfer_syntax_uid, photometric_interpretation=colour, planar_configuration=planar
    )


def encode(image: Image, frame: bytes, transfer_syntax_uid: str, *, ratio: float = 0, error: int = 0) -> bytes:
    """An encapsulated frame from a native one (without the padding to an even length), seen to be the same image.

    :param image: what the native frame is.
    :param ratio: of JPEG 2000 that may lose something: how much smaller it shall become.
    :param error: of JPEG-LS Near-lossless: by how much a sample may differ.
    """
    encoded_image(image, transfer_syntax_uid)
    if transfer_syntax_uid == RLE:
        return _encode_rle(image, frame)
    wanted = samples.canonical(image, _by_pixel(image, frame) if image.planar_configuration else frame)
    image = image.but(planar_configuration=0)
    if transfer_syntax_uid in JPEG_LS:
        encoded = _encode_jpeg_ls(image, wanted, error)
    else:
        encoded = _encode_j2k(image, wanted, ratio if transfer_syntax_uid == J2K else 0)
    found = decode(image, encoded, transfer_syntax_uid)
    if transfer_syntax_uid == JPEG_LS_NEAR_LOSSLESS:
        if samples.greatest_difference(image, wanted, found) > error:
            raise ValueRefused(f"{label(PIXEL_DATA)}: the encoded frame differs by more than the error allowed")
    elif transfer_syntax_uid in (JPEG_LS_LOSSLESS, J2K_LOSSLESS) and found != wanted:
        raise ValueRefused(f"{label(PIXEL_DATA)}: the encoded frame is not the same image")
    return encoded


def _encode_rle(image: Image, frame: bytes) -> bytes:
    encode_frame = samples.codec("rle").encode_pixel_data
    options = {
        "rows": image.rows,
        "columns": image.columns,
        "samples_per_pixel": image.samples_per_pixel,
        "bits_allocated": image.bits_allocated,
        "byteorder": "<",
    }
    wanted = _by_pixel(image, frame) if image.planar_configuration else frame
    encoded = bytes(_called("encode", image, encode_frame, wanted, **options))
    if decode(image, encoded, RLE) != wanted:
        raise ValueRefused(f"{label(PIXEL_DATA)}: the encoded frame is not the same image")
    return encoded


def _encode_jpeg_ls(image: Image, frame: bytes, error: int) -> bytes:
    encoded = _called(
        "encode",
        image,
        samples.codec("jpeg_ls").encode_pixel_data,
        samples.contained(image, frame, is_masked=True),
        lossy_error=error,
        rows=image.rows,
        columns=image.columns,
        samples_per_pixel=image.samples_per_pixel,
        bits_stored=image.bits_stored,
        planar_configuration=0,
    )
    return bytes(encoded)


def _encode_j2k(image: Image, frame: bytes, ratio: float) -> bytes:
    is_rgb = image.photometric_interpretation == "RGB"
    encoded = _called(
        "encode",
        image,
        samples.codec("openjpeg.utils").encode_buffer,
        samples.contained(image, frame, is_masked=False),
        image.columns,
        image.rows,
        image.samples_per_pixel,
        image.bits_stored,
        image.is_signed,
        photometric_interpretation=_SRGB if is_rgb else _UNSPECIFIED,
        use_mct=is_rgb,
        compression_ratios=[ratio] if ratio else None,
    )
    return bytes(encoded)


def _by_pixel(image: Image, frame: bytes) -> bytes:
    count = image.samples_per_pixel
    return samples.by_pixel(frame, count, image.sample_bytes) if count > 1 else frame


def _called(what: str, image: Image, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a codec, whose errors are of many kinds, and whose texts are not repeated.

    Not every codec tells a lack of memory apart: of a large frame it is said that it may be that.

    :raises ValueRefused: it fails.
    """
    try:
        return function(*arguments, **options)
    except ValueRefused:
        raise
    except MemoryError:
        raise ValueRefused(f"{label(PIXEL_DATA)}: no room to {what} a frame: is worker.memory too small?") from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no Exception, and must end no worker
        reason = f"the codec cannot {what} a frame ({type(error).__name__})"
        raise ValueRefused(f"{label(PIXEL_DATA)}: {reason}{_perhaps(image)}") from None


def _perhaps(image: Image) -> str:
    return ": is it damaged, or worker.memory too small?" if image.frame_bytes > AMPLE_FRAME_BYTES else ""
