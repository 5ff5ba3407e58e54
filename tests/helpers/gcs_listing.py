"""The listing of Google's XML API, which obstore asks for and gcp-storage-emulator lacks.

As https://cloud.google.com/storage/docs/xml-api/get-bucket-list has it, version 2.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

PATH = r"^/(?P<bucket_name>[-.\w]+)$"
MOST = 2  # objects of a page, so that a few make several


def list_objects(request: Any, response: Any, storage: Any) -> None:
    """Answer a page of a listing, in the order of the keys' bytes."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(request.full_url).query).items()}
    bucket = request.params["bucket_name"]
    if bucket not in storage.buckets:
        response.status = HTTPStatus.NOT_FOUND
        return
    after = asked.get("continuation-token") or asked.get("start-after", "")
    found = storage.get_file_list(bucket, asked.get("prefix"))[0]
    left = sorted(
        (one for one in found if one["name"].encode() > after.encode()),
        key=lambda one: str(one["name"]).encode(),
    )
    page, goes_on = left[:MOST], len(left) > MOST
    objects = "".join(
        f"<Contents><Key>{escape(one['name'])}</Key><Size>{one['size']}</Size>"
        f"<LastModified>{one['updated']}</LastModified><ETag>&quot;{one['etag']}&quot;</ETag>"
        "</Contents>"
        for one in page
    )
    token = f"<NextContinuationToken>{escape(page[-1]['name'])}</NextContinuationToken>" * goes_on
    response["Content-Type"] = "application/xml"
    response.write(
        f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{bucket}</Name>'
        f"<IsTruncated>{str(goes_on).lower()}</IsTruncated>{token}{objects}</ListBucketResult>"
    )
