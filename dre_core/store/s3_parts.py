"""A large object sent to S3 in parts, and taken up again where an earlier upload of it broke.

The bucket itself remembers: an upload of the same key that was never completed is found, and its parts are listed.
A part is kept only if its checksum there (SHA-256, or the MD5 that is its ETag on servers that know no other) is that
of the bytes here, and an upload with any other part is left to whoever began it. Nothing is remembered on this side, so
a killed process loses nothing but the part that it was sending. An upload that nobody takes up again stays until the
bucket's lifecycle rule removes it. Every part goes with both checksums for the server to compare, because some servers
compare the MD5 only.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import IO, Any

PART_BYTES = 8 << 20
_PARTS_LIMIT = 10_000


def is_large(size: int) -> bool:
    """Whether a file is worth being sent in parts."""
    return size > 2 * PART_BYTES


def part_size(size: int) -> int:
    """How many bytes each part of a file has, but for the last one."""
    return max(PART_BYTES, -(-size // _PARTS_LIMIT))


def md5_of(data: bytes) -> str:
    """The ``Content-MD5`` of bytes, which guards them on their way and nothing else (RFC 1864)."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode("ascii")


def send_parts(client: Any, bucket: str, key: str, source: IO[bytes], size: int) -> int:
    """Sends an object in parts, under the condition that it is not there yet.

    Args:
        client: boto3's.
        bucket: Name of the bucket.
        key: Name of the object.
        source: Its bytes, from the start.
        size: In bytes.

    Returns:
        How many bytes an earlier upload had left there.

    Raises:
        Exception: boto3's own; what was sent stays for the next try.
    """
    place = {"Bucket": bucket, "Key": key}
    upload, found = _unfinished(client, place)
    if upload:
        kept = _send(client, {**place, "UploadId": upload}, source, size, found)
        if kept is not None:
            return kept
        source.seek(0)
    upload = client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
    _send(client, {**place, "UploadId": upload}, source, size, {})
    return 0


def _send(
    client: Any,
    place: Mapping[str, str],
    source: IO[bytes],
    size: int,
    found: Mapping[int, Mapping[str, Any]],
) -> int | None:
    """Sends what is missing; None where a part that is there is of something else, as in somebody's own upload."""
    part_bytes = part_size(size)
    parts: list[dict[str, Any]] = []
    kept = 0
    for number, start in enumerate(range(0, size, part_bytes), 1):
        data = source.read(min(part_bytes, size - start))
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
        if number in found:
            tag = _tag_of(found[number], data, checksum)
            if not tag:
                return None
            kept += len(data)
        else:
            sums = {"ChecksumSHA256": checksum, "ContentMD5": md5_of(data)}
            tag = client.upload_part(**place, PartNumber=number, Body=data, **sums)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum})
    _complete(client, place, parts)
    return kept


def _unfinished(client: Any, place: Mapping[str, str]) -> tuple[str, dict[int, Mapping[str, Any]]]:
    """The newest upload of a key that was not completed, and its parts; nothing where that can't be asked."""
    from botocore.exceptions import ClientError

    try:
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=place["Bucket"], Prefix=place["Key"]
        )
        uploads = [each for page in pages for each in page.get("Uploads", ()) if each["Key"] == place["Key"]]
        if not uploads:
            return "", {}
        upload = str(max(uploads, key=lambda each: str(each.get("Initiated", "")))["UploadId"])
        listed = client.get_paginator("list_parts").paginate(**place, UploadId=upload)
        return upload, {int(part["PartNumber"]): part for page in listed for part in page.get("Parts", ())}
    except ClientError:  # not allowed to list, or the server knows no such request
        return "", {}


def _tag_of(part: Mapping[str, Any], data: bytes, checksum: str) -> str:
    """The tag of a part that is there with these very bytes; else empty."""
    if int(part.get("Size", -1)) != len(data):
        return ""
    tag = str(part.get("ETag", ""))
    if listed := part.get("ChecksumSHA256"):
        return tag if listed == checksum else ""
    same = tag.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
    return tag if same else ""


def _complete(client: Any, place: Mapping[str, str], parts: list[dict[str, Any]]) -> None:
    from botocore.exceptions import ClientError

    whole = {**place, "MultipartUpload": {"Parts": parts}}
    try:
        client.complete_multipart_upload(**whole, IfNoneMatch="*")
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 412:  # somebody else's upload of the same bytes was faster
            client.abort_multipart_upload(**place)
        elif status == 501:
            client.complete_multipart_upload(**whole)
        else:
            raise
