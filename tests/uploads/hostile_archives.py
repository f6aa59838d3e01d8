"""Archives made to do harm, or broken, and images inside that are."""

from __future__ import annotations

import io
import random
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

Case = tuple[str, str, bytes]  # what it is, the file's name, its bytes


def image(form: str = "png", side: int = 6, level: int = 90) -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.full((side, side), level, np.uint8)).save(made, form)
    return made.getvalue()


PNG = image()
CLASSES = {"cat/1.png": PNG, "dog/1.png": PNG}


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return packed.getvalue()


def _special(kind: int, system: int = 3) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in CLASSES.items():
            archive.writestr(name, data)
        info = zipfile.ZipInfo("cat/2.png")
        info.create_system = system
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, PNG)
    return packed.getvalue()


def _twice(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (*CLASSES, *names):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile minds the same name, and writes it
                archive.writestr(zipfile.ZipInfo(name), PNG)
    return packed.getvalue()


def _table(data: bytes, at: int, form: str, value: int, entry: int = 0) -> bytes:
    """`data` with one number in its table of contents changed; `at` counts from the entry's beginning."""
    changed, begin = bytearray(data), -1
    for _ in range(entry + 1):
        begin = data.index(b"PK\x01\x02", begin + 1)
    struct.pack_into(form, changed, begin + at, value)
    return bytes(changed)


def _end(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, data.rindex(b"PK\x05\x06") + at, value)
    return bytes(changed)


def _many(count: int) -> bytes:
    """A table of `count` entries that all name one empty file."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", b"")
    one = packed.getvalue()
    begin, end = one.index(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    rows = one[begin:end] * count
    return one[:begin] + rows + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, len(rows), begin, 0)


def archives() -> Iterator[Case]:
    for name in (
        "../cat/2.png", "../../../../tmp/2.png", "/etc/2.png", "cat/../../2.png", "cat/./2.png", "cat//2.png", "..\\2.png", "C:\\2.png", "C:2.png",
        "\\\\host\\share\\2.png", "cat/2\n.png", "cat/\x1b[31m2.png", "cat/" + "a" * 600 + ".png", "/".join("abcdefghijklmnopqrst") + "/2.png", "cat/2.png:stream", "~/../2.png",
    ):  # fmt: skip
        yield f"the name {name[:40]!r}", "d.zip", zipped(CLASSES | {name: PNG})
    good = zipped(CLASSES)
    other: dict[str, bytes] = {
        "a NUL in a name": zipped(CLASSES | {"cat/2.pngXexe": PNG}).replace(b"2.pngXexe", b"2.png\0exe"),
        "a link": _special(stat.S_IFLNK), "a link that claims to be from Windows": _special(stat.S_IFLNK, 0), "a pipe": _special(stat.S_IFIFO), "a device": _special(stat.S_IFBLK),
        "a socket": _special(stat.S_IFSOCK), "a name twice": _twice("cat/1.png"), "a name twice but for case": _twice("CAT/1.png"),
        "a file and a folder": zipped(CLASSES | {"cat/a": PNG, "cat/a/1.png": PNG}),
        "encrypted": _table(good, 8, "<H", 1), "an unknown method": _table(good, 10, "<H", 99), "bzip2": zipped(CLASSES, zipfile.ZIP_BZIP2), "lzma": zipped(CLASSES, zipfile.ZIP_LZMA),
        "a bomb": zipped(CLASSES | {"cat/2.png": bytes(24 << 20)}), "a bomb beside images": zipped(CLASSES | {"readme.txt": bytes(24 << 20)}),
        "a size of 4 GiB": _table(good, 24, "<L", 0xFFFFFFFE), "a size too small": _table(good, 24, "<L", 3), "a packed size beyond the end": _table(good, 20, "<L", 1 << 30),
        "an entry beyond the end": _table(good, 42, "<L", 1 << 30), "two entries of the same bytes": _table(good, 42, "<L", 0, entry=1),
        "50,001 files": _many(50_001), "a table of 4 GiB": _end(good, 12, "<L", 0xFFFFFFFE), "a table that begins nowhere": _end(good, 16, "<L", 1 << 30),
        "a count that is wrong": _end(good, 10, "<H", 3)[:-1], "a zip in it": zipped(CLASSES | {"cat/2.zip": good}), "a tar in it": zipped(CLASSES | {"cat/more.tar.gz": b"x"}),
        "an installer in it": zipped(CLASSES | {"x.whl": good}), "a zip called image": zipped(CLASSES | {"cat/2.png": good}),
        "empty": zipped({}), "folders alone": zipped({"cat/": b"", "dog/": b""}), "texts alone": zipped({"a.txt": b"x"}), "nothing": b"", "one byte": b"P", "zeros": bytes(1 << 20),
        "one class": zipped({"cat/1.png": PNG, "cat/2.png": PNG}), "images without a folder": zipped({"1.png": PNG, "2.png": PNG}), "an image outside": zipped(CLASSES | {"2.png": PNG}),
        "train and not": zipped(CLASSES | {"train/cat/1.png": PNG}), "val alone": zipped({"val/cat/1.png": PNG, "val/dog/1.png": PNG}),
        "an image without a mask": zipped({"images/1.png": PNG, "images/2.png": PNG, "masks/1.png": PNG}), "a mask as JPEG": zipped({"images/1.png": PNG, "masks/1.jpg": image("jpeg")}),
        "a JPEG called PNG as a mask": zipped({"images/1.png": PNG, "masks/1.png": image("jpeg")}), "two of a stem": zipped({"images/1.png": PNG, "images/1.bmp": PNG, "masks/1.png": PNG}),
        "masks of train alone": zipped({"images/train/1.png": PNG, "masks/train/1.png": PNG}), "classes.txt that is no text": zipped({"images/1.png": PNG, "masks/1.png": PNG, "classes.txt": b"\xff\xfe\x00"}),
    }  # fmt: skip
    for cut in (3, 10, 60, len(good) // 2, len(good) - 20, len(good) - 1):
        other[f"cut after {cut} bytes"] = good[:cut]
    dice = random.Random(0)
    stored = zipped(CLASSES, zipfile.ZIP_STORED)
    begin = stored.index(PNG)
    for number in range(8):
        flipped = bytearray(stored)
        flipped[begin + dice.randrange(len(PNG))] ^= 1 << dice.randrange(8)
        other[f"flipped bit {number}"] = bytes(flipped)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../x.png"))
    other["a tar called zip"] = packed.getvalue()
    for name, data in other.items():
        yield name, "d.zip", data
    for name in ("d.tar.gz", "d.7z", "d", "zip", "d.zip.png", "d.rar"):
        yield f"the archive's name {name!r}", name, good


# Sets to segment, in the layouts that people share -----------------------------------------------------------------------


def ade20k(around: str = "") -> dict[str, bytes]:
    found = {}
    for part, names in (("training", "ab"), ("validation", "c")):
        for name in names:
            found[f"{around}images/{part}/{name}.jpg"] = image("jpeg")
            found[f"{around}annotations/{part}/{name}.png"] = image(level=ord(name) - ord("a") + 1)
    return found


def cityscapes(around: str = "") -> dict[str, bytes]:
    found = {}
    for part, name, level in (("train", "a", 7), ("train", "b", 8), ("val", "c", 33), ("test", "d", 0)):
        found[f"{around}leftImg8bit/{part}/bonn/{name}_leftImg8bit.png"] = image(level=100 + level)
        found[f"{around}gtFine/{part}/bonn/{name}_gtFine_labelIds.png"] = image(level=level)
        found[f"{around}gtFine/{part}/bonn/{name}_gtFine_color.png"] = PNG
    return found


VOC = "VOCdevkit/VOC2012"


def voc() -> dict[str, bytes]:
    found = {f"{VOC}/Annotations/a.xml": b"<x/>", f"{VOC}/JPEGImages/unlisted.jpg": image("jpeg")}
    for part, names in (("train", ("2007_b", "2007_a")), ("val", ("2008_c",))):
        found[f"{VOC}/ImageSets/Segmentation/{part}.txt"] = "".join(f"{name}\n" for name in names).encode()
        for name in names:
            level = ord(name[-1]) - ord("a") + 1
            found |= {f"{VOC}/JPEGImages/{name}.jpg": image("jpeg", level=20 * level), f"{VOC}/SegmentationClass/{name}.png": image(level=level)}
    return found


def without(members: Mapping[str, bytes], *parts: str) -> dict[str, bytes]:
    return {name: data for name, data in members.items() if not any(part in name for part in parts)}


def sets() -> Iterator[Case]:
    ade, city, pascal = ade20k("ade/"), cityscapes("cs/"), voc()
    mask, held = "ade/annotations/training/b.png", f"{VOC}/ImageSets/Segmentation/val.txt"
    wide = io.BytesIO()
    Image.fromarray(np.full((6, 6, 3), 9, np.uint8)).save(wide, "png")
    broken: dict[str, dict[str, bytes]] = {
        "ADE20K without masks": without(ade, "annotations"), "ADE20K without images": without(ade, "images/"), "ADE20K without validation": without(ade, "validation"),
        "ADE20K, a mask missing": without(ade, mask), "ADE20K, a mask of another size": ade | {mask: image(side=7)}, "ADE20K, a mask in colours": ade | {mask: wide.getvalue()},
        "ADE20K, a mask as JPEG": without(ade, mask) | {mask.replace("png", "jpg"): image("jpeg")}, "ADE20K, a JPEG called PNG": ade | {mask: image("jpeg")}, "ADE20K, a mask cut short": ade | {mask: PNG[:50]},
        "ADE20K, a class too many": ade | {"ade/objectInfo150.txt": b"Idx\tName\n1\twall\n2\tsky\n"}, "ADE20K, names that are no text": ade | {"ade/objectInfo150.txt": b"\xff\xfe\x00"},
        "ADE20K, a mask that is vast": ade | {mask: png(60_000, 60_000)}, "ADE20K, one class": without(ade, "b.", "c.") | {f"ade/{k}/validation/c.png": image(level=1) for k in ("images", "annotations")},
        "Cityscapes without masks": without(city, "gtFine"), "Cityscapes without images": without(city, "leftImg8bit"), "Cityscapes, coloured masks alone": without(city, "labelIds"),
        "Cityscapes without val": without(city, "/val/"), "Cityscapes, a mask missing": without(city, "b_gtFine_labelIds"), "Cityscapes, a mask that is HTML": city | {"cs/gtFine/train/bonn/b_gtFine_labelIds.png": b"<html>"},
        "VOC without lists": without(pascal, "ImageSets"), "VOC without val": without(pascal, "val.txt"), "VOC without masks": without(pascal, "SegmentationClass"), "VOC, a mask missing": without(pascal, "Class/2008_c"),
        "VOC from inside": {name.removeprefix(f"{VOC}/"): data for name, data in pascal.items()}, "VOC, an empty list": pascal | {held: b"\n"}, "VOC, a list that is no text": pascal | {held: b"\xff\xfe\x00"},
        "VOC, a list that leads out": pascal | {held: b"../../../../../etc/passwd\n"}, "VOC, an absolute name in a list": pascal | {held: b"/etc/passwd\n"}, "VOC, one image a thousand times": pascal | {held: b"2008_c\n" * 1000},
        "VOC, an image in both lists": pascal | {held: b"2007_a\n"}, "VOC, a number beyond its classes": pascal | {f"{VOC}/SegmentationClass/2008_c.png": image(level=77)},
        "VOC, a list that is a bomb": pascal | {held: b"2008_c\n" * (3 << 20)}, "VOC, a mask of another size": pascal | {f"{VOC}/SegmentationClass/2008_c.png": image(side=5)},
    }  # fmt: skip
    for name, members in broken.items():
        yield name, "d.zip", zipped(members)


# Images -----------------------------------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, bits: int = 8, colour: int = 0, data: bytes = b"") -> bytes:
    head = struct.pack(">2L5B", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(extra) + _chunk(b"IDAT", data or zlib.compress(bytes(8))) + _chunk(b"IEND", b"")


def _tiff(*tags: tuple[int, int, int, int]) -> bytes:
    """Little endian, one directory at 8; a tag is (number, type, count, value)."""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", *tag) for tag in tags) + bytes(4)


def _tiff_of(width: int, height: int, strip: int = 8, count: int = 4) -> bytes:
    return _tiff((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, strip), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, count))


def images() -> Iterator[Case]:
    big = zlib.compress(bytes((7001 // 8 + 1) * 7001))  # a real image of 49 million black points
    jpeg, gif, bmp, webp = (image(form) for form in ("jpeg", "gif", "bmp", "webp"))
    size = jpeg.index(b"\xff\xc0") + 5
    broken: dict[str, bytes] = {
        "PNG of 60,000 x 60,000": png(60_000, 60_000), "PNG of 2**31 points": png(0x7FFFFFFF, 1), "PNG without size": png(0, 0), "PNG that unpacks to 49 million": png(7001, 7001, bits=1, data=big),
        "PNG with 24 MiB of text": png(6, 6, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(24 << 20)))), "PNG with international text": png(6, 6, _chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(24 << 20)))),
        "PNG with an odd depth": png(6, 6, bits=7), "PNG of too few points": png(6000, 6000), "PNG that is not deflate": png(6, 6, data=b"\xff" * 40),
        "PNG cut short": PNG[:45], "PNG of its first bytes": PNG[:8], "PNG with a chunk of 2 GiB": PNG[:33] + b"\x7f\xff\xff\xffIDAT",
        "GIF of 65,535 x 65,535": b"GIF89a" + struct.pack("<2H", 65535, 65535) + gif[10:], "GIF cut short": gif[:15], "GIF of its first bytes": gif[:7],
        "TIFF of 60,000 x 60,000": _tiff_of(60_000, 60_000), "TIFF with numbers elsewhere": _tiff_of(6, 6, strip=1 << 30, count=36), "TIFF of 2**32 tags": _tiff((256, 4, 0xFFFFFFFF, 8)),
        "TIFF that goes round": b"II*\0\x08\0\0\0\0\0" + struct.pack("<L", 8), "TIFF of its first bytes": b"II*\0", "TIFF without strips": _tiff((256, 4, 1, 6), (257, 4, 1, 6)),
        "BMP of 2**31 points": bmp[:18] + struct.pack("<2l", 0x7FFFFFFF, 1) + bmp[26:], "BMP upside down and vast": bmp[:18] + struct.pack("<2l", 30_000, -30_000) + bmp[26:], "BMP cut short": bmp[:60],
        "JPEG of 65,500 x 65,500": jpeg[:size] + struct.pack(">2H", 65500, 65500) + jpeg[size + 4 :], "JPEG cut short": jpeg[: len(jpeg) // 2], "JPEG of its first bytes": jpeg[:3],
        "WebP cut short": webp[:20], "WebP of zeros": webp[:12] + bytes(40), "PPM of 100,000 x 100,000": b"P6\n100000 100000\n255\n" + bytes(99), "PPM of letters": b"P6\nx y\n255\n",
        "PPM without end": b"P6\n" + b"1" * 1000, "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/mark) (w) file", "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "HTML": b"<html><script>alert(1)</script>", "a pickle": b"\x80\x04\x95\x10cposix\nsystem\n.", "a program": b"\x7fELF" + bytes(64), "empty": b"", "ICO": b"\0\0\1\0\1\0" + bytes(16),
        "PSD": b"8BPS\0\1" + bytes(20), "FITS": b"SIMPLE  =  T" + bytes(99), "a numpy array": b"\x93NUMPY\1\0v\0{'descr': '|O'}", "letters": b"hello " * 99,
    }  # fmt: skip
    for name, data in broken.items():
        yield f"an image: {name}", "d.zip", zipped(CLASSES | {"cat/2.png": data}, zipfile.ZIP_STORED)
