"""Blobs in an S3 bucket: ``s3://bucket/prefix`` and below it ``sha256/ab/cdef…``; not the bucket's policy.

A blob is written under a condition (``If-None-Match: *``, so that nothing is ever replaced) and with its SHA-256 and
its MD5, which the server compares; from a server that knows none of them no wrong byte is taken either, because a blob
is read against its digest. A large one goes in parts, and a broken upload of it is gone on with
(:mod:`dre_core.store.s3_parts`). What is read is spooled to a temporary file and given out only when its digest is
right.
Credentials, region and retries are boto3's own. Only commands that were asked to talk to a store load this module.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
"""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any, BinaryIO

from dre_core.errors import (
    DREError,
    IntegrityError,
    LimitError,
    MissingExtraError,
    NotFoundError,
    StorageError,
    UsageError,
)
from dre_core.model import digest as digests
from dre_core.store.s3_parts import is_large, md5_of, send_parts

_CHUNK_BYTES = 1 << 20
_SPOOL_BYTES = 8 << 20
# The largest object that parts can make (userguide/qfacts).
_OBJECT_BYTES = 5 << 40
_DOCUMENT_BYTES = 16 << 20
_TIMEOUT_SECONDS = 30
_ATTEMPTS = 4
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9!_.*'()/-]*))?")


class S3Writer:
    """A blob being written. Made by :meth:`S3Store.writer`; nothing is sent before the commit."""

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - closed at the end
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            LimitError: More than 5 TiB.
            StorageError: No room for the temporary file.
        """
        if self._spool.closed:
            raise StorageError("the blob is already committed or aborted")
        self._hash.update(chunk)
        self.size_bytes += len(chunk)
        if self.size_bytes > _OBJECT_BYTES:
            raise LimitError(f"more than {_OBJECT_BYTES} bytes in one object")
        self._spool.write(chunk)

    def commit(self) -> str:
        """Send the blob, unless the bucket has it already.

        Returns:
            Its digest.

        Raises:
            StorageError: The server refuses; nothing is stored.
        """
        if self._spool.closed:
            raise StorageError("the blob is already committed or aborted")
        digest = f"sha256:{self._hash.hexdigest()}"
        with self._spool as spool:
            spool.seek(0)
            self._store.send(digest, spool, self.size_bytes)
        return digest

    def abort(self) -> None:
        """Throw it away; nothing happens after a commit or a second time."""
        self._spool.close()

    def __enter__(self) -> S3Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class S3Store:
    """Blobs in a bucket; see :class:`dre_core.store.backend.Backend`.

    Args:
        url: ``s3://bucket/prefix``.
        endpoint: Address of the server; empty for Amazon's.

    Raises:
        UsageError: The URL is none.
        MissingExtraError: The extra ``s3`` is not installed.
    """

    def __init__(self, url: str, endpoint: str = "") -> None:
        match = _URL.fullmatch(url)
        if match is None:
            raise UsageError(f"not a bucket: {url!r}", hint="such as s3://bucket/prefix")
        self._bucket = match[1]
        self._prefix = f"{match[2].strip('/')}/" if (match[2] or "").strip("/") else ""
        self._client = _client(endpoint)
        self.url = url

    def writer(self) -> S3Writer:
        """Begin a blob."""
        return S3Writer(self)

    def put(self, data: bytes) -> str:
        """Store bytes at hand; gives their digest."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def send(self, digest: str, source: IO[bytes], size: int) -> int:
        """Send a blob under the condition that it is not there yet.

        Returns:
            How many of its bytes were there already, whole or left by a broken upload.
        """
        if is_large(size):
            if self.has(digest):
                return size
            with self._errors(digest):
                return send_parts(self._client, self._bucket, self._key(digest), source, size)
        data = source.read(size)
        arguments = {
            "Bucket": self._bucket,
            "Key": self._key(digest),
            "Body": data,
            "ChecksumSHA256": base64.b64encode(bytes.fromhex(digests.hex_of(digest))).decode("ascii"),
            "ContentMD5": md5_of(data),
            "IfNoneMatch": "*",
        }
        with self._errors(digest):
            try:
                self._client.put_object(**arguments)
            except Exception as error:
                if _status(error) == 412:
                    return size  # it is there already
                if _status(error) != 501:
                    raise
                # A server without conditional writes: the name is the digest, so the same bytes are written again.
                del arguments["IfNoneMatch"]
                self._client.put_object(**arguments)
        return 0

    def open(self, digest: str) -> BinaryIO:
        """A blob's bytes, compared with the digest before they are given out; the caller closes the stream.

        Raises:
            NotFoundError: Not here.
            IntegrityError: The bytes are not those of the digest.
            StorageError: The server can't be asked, or no room.
        """
        hasher = hashlib.sha256()
        spool: Any = tempfile.SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
        try:
            with self._errors(digest):
                body = self._client.get_object(Bucket=self._bucket, Key=self._key(digest))["Body"]
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    hasher.update(chunk)
                    spool.write(chunk)
            if f"sha256:{hasher.hexdigest()}" != digest:
                raise IntegrityError("the stored bytes are not those of the digest", path=digest)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        stream: BinaryIO = spool
        return stream

    def read(self, digest: str, limit_bytes: int) -> bytes:
        """A blob's bytes, checked against the digest.

        Raises:
            NotFoundError: Not here.
            LimitError: Larger than ``limit_bytes``.
            IntegrityError: The bytes are not those of the digest.
        """
        if self.size(digest) > limit_bytes:
            raise LimitError(f"blob of more than {limit_bytes} bytes", path=digest)
        with self.open(digest) as stream:
            data = stream.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise LimitError(f"blob of more than {limit_bytes} bytes", path=digest)
        return data

    def size(self, digest: str) -> int:
        """A blob's size in bytes.

        Raises:
            NotFoundError: Not here.
        """
        with self._errors(digest):
            return int(self._client.head_object(Bucket=self._bucket, Key=self._key(digest))["ContentLength"])

    def has(self, digest: str) -> bool:
        """Whether the blob is here; its bytes are not read."""
        try:
            self.size(digest)
        except NotFoundError:
            return False
        return True

    def delete(self, digest: str) -> bool:
        """Remove a blob; gives whether it was here."""
        if not self.has(digest):
            return False
        with self._errors(digest):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(digest))
        return True

    def digests(self) -> Iterator[str]:
        """The digests of all blobs, in rising order; other objects are passed over."""
        head = f"{self._prefix}sha256/"
        for key in self._keys(head):
            try:
                yield digests.parse("sha256:" + key[len(head) :].replace("/", "", 1))
            except DREError:
                continue

    def check(self, digest: str) -> bool:
        """Whether the blob is here and its bytes are those of the digest."""
        try:
            self.open(digest).close()
        except (NotFoundError, IntegrityError):
            return False
        return True

    def put_document(self, name: str, data: bytes) -> None:
        """Write a small document; an older one of the name is replaced."""
        with self._errors(name):
            self._client.put_object(Bucket=self._bucket, Key=f"{self._prefix}operations/{name}", Body=data)

    def document(self, name: str) -> bytes:
        """A document's bytes, at most 16 MiB of them.

        Raises:
            NotFoundError: There is none.
        """
        with self._errors(name):
            found = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}operations/{name}")
            data: bytes = found["Body"].read(_DOCUMENT_BYTES)
        return data

    def documents(self) -> Iterator[str]:
        """Names of all documents, in rising order."""
        head = f"{self._prefix}operations/"
        yield from (key[len(head) :] for key in self._keys(head))

    def _keys(self, head: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=head)
        with self._errors(head):
            for page in pages:
                yield from (entry["Key"] for entry in page.get("Contents", ()))

    def _key(self, digest: str) -> str:
        name = digests.hex_of(digest)
        return f"{self._prefix}sha256/{name[:2]}/{name[2:]}"

    def _errors(self, what: str) -> _Translated:
        return _Translated(what, self.url)


class _Translated:
    """Turns boto3's errors into ours."""

    def __init__(self, what: str, url: str) -> None:
        self._what = what
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, DREError) or not isinstance(error, Exception):
            return
        if _status(error) == 404:
            raise NotFoundError("no such blob", path=self._what) from None
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"the store can't be used: {reason}", path=self._url) from None


def _status(error: Exception) -> int:
    """The HTTP status of boto3's error; 0 where there was no answer."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return 0
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _client(endpoint: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise MissingExtraError(
            "stores on S3 need the extra s3", hint="pip install 'development-reality-engine[s3]'"
        ) from None
    settings = Config(
        connect_timeout=_TIMEOUT_SECONDS,
        read_timeout=_TIMEOUT_SECONDS,
        retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        # A bucket as a host name needs a name server; a server on an address of its own has none.
        s3={"addressing_style": "path"} if endpoint else {},
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint or None, config=settings)
