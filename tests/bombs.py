"""Small files that claim, or grow, to be enormous: decodes each and prints name | outcome | MiB grown | seconds."""

import io
import resource
import struct
import time
import zlib

import numpy as np
import tifffile
from PIL import Image

from corpus import chunk, png
from nextpatch.data.decode import BadImage, decode


def packed(size):
    """So many zeros, compressed: the block of a million of them again and again, and their Adler-32 by its formula."""
    squeeze = zlib.compressobj(wbits=-15)
    block = squeeze.compress(bytes(10**6)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + block * (size // 10**6) + b"\x03\x00" + struct.pack(">HH", size % 65521, 1)


def text(kind, size):
    return png(4, 4, 8, 0, bytes(20), chunk(kind, b"a\0\0" + packed(size)))


def small(kind):
    out = io.BytesIO()
    Image.new("RGB", (40, 24)).save(out, kind)
    return out.getvalue()


def grown(data, old, new):
    assert old in data
    return data.replace(old, new, 1)


def hidden_frame():
    """A progressive frame of 60,000 x 60,000 where some readers see no marker, before the small one."""
    plain = small("JPEG")
    frame = plain[plain.index(b"\xff\xc0") :][:19]
    large = b"\xff\xc2" + frame[2:5] + b"\xea\x60\xea\x60" + frame[9:]
    return plain[:2] + b"\xff\x00" + large + plain[2:]


def large_tile():
    """16 x 16 pixels in a deflated tile of 20,000 x 20,000."""
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((16, 16, 3), np.uint8), tile=(16, 16), photometric="rgb", compression="zlib")
    data = out.getvalue()
    for tag in (322, 323):  # its width and its length
        at = min(at for kind in (3, 4) if (at := data.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
        data = data[:at] + struct.pack("<HHII", tag, 4, 1, 20_000) + data[at + 12 :]
    return data


def large_part(*shape, **options):
    """Of 16 x 16 pixels, in tiles that are JPEGs of 9,000 x 9,000 each."""
    coded = io.BytesIO()
    Image.new("L", (16, 16)).save(coded, "JPEG", progressive=True)
    part = grown(coded.getvalue(), struct.pack(">HH", 16, 16), struct.pack(">HH", 9000, 9000))
    parts = iter([part] * (shape[0] if len(shape) == 3 else 1))
    out = io.BytesIO()
    tifffile.imwrite(
        out, parts, shape=shape, dtype=np.uint8, photometric="minisblack", tile=(16, 16), compression="jpeg", **options
    )
    return out.getvalue()


def bombs():
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    lie = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000, 3), }".ljust(117) + b"\n"
    sides = struct.pack(">HH", 24, 40)
    return {
        "png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed(10**9)) + chunk(b"IEND", b""),
        "png text": text(b"zTXt", 3 * 10**8),
        "png profile": text(b"iCCP", 3 * 10**8),
        "jpeg": grown(small("JPEG"), sides, b"\xff\xff\xff\xff"),
        "gif": grown(small("GIF"), struct.pack("<HH", 40, 24), b"\xff\xff\xff\xff"),
        "bmp": grown(small("BMP"), struct.pack("<ii", 40, 24), struct.pack("<ii", 60_000, 60_000)),
        "tiff": grown(small("TIFF"), struct.pack("<HHII", 256, 4, 1, 40), struct.pack("<HHII", 256, 4, 1, 10**7)),
        "jpeg, hidden frame": hidden_frame(),
        "tiff, large tile": large_tile(),
        "tiff, large part": large_part(16, 16),
        "tiff, large parts of 7 bands": large_part(7, 16, 16, planarconfig="separate"),
        "npy": b"\x93NUMPY\x01\x00v\x00" + lie + bytes(1000),
    }


def main():
    """Decode them all, after one good image of each decoder."""
    made = bombs()
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "BMP"):
        decode(small(kind), 3)
    for name, data in made.items():
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            decode(data, 3)
            said = "pixels"
        except BadImage as error:
            said = error.kind
        grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{name}|{said}|{grew:.1f}|{time.perf_counter() - start:.2f}")


if __name__ == "__main__":
    main()
