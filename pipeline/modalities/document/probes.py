"""The documents that a space of a model with an encoder of documents is probed with."""

import io

from PIL import Image

from pipeline.modalities.image.probes import images


def documents() -> list[bytes]:
    """A page of text and lines drawn by the PDF itself, and images as pages, one on its side."""
    first, second, _, scene = images()
    return [_drawn(), _of_images([scene, first]), _of_images([second.rotate(90, expand=True)])]


def _of_images(pages: list[Image.Image]) -> bytes:
    file = io.BytesIO()
    pages[0].save(file, "PDF", save_all=True, append_images=pages[1:])
    return file.getvalue()


def _drawn() -> bytes:
    """By hand: a standard font, a turned page, colours and curves."""
    text = "BT /F 28 Tf 40 700 Td (Harbour at dawn) Tj 0 -40 Td (small boats, one window) Tj ET"
    shapes = (
        "0.8 0.2 0.1 rg 60 300 200 160 re f "
        "0.1 0.3 0.8 RG 9 w 300 320 m 380 520 470 200 560 480 c S"
    )
    stream = f"{text}\n{shapes}".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Rotate 90 /Contents 4 0 R"
        b" /Resources << /Font << /F"
        b" << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % size
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    return data + head + table + end
