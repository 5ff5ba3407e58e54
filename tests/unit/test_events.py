"""Events of object stores, as each of them and the queues between write them."""

import base64
import json
from typing import Any

import pytest

from pipeline.sources.events import UnknownMessage, references_of

S3 = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "awsRegion": "us-east-1",
    "eventName": "ObjectCreated:Put",
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "all",
        "bucket": {"name": "photos", "arn": "arn:aws:s3:::photos"},
        "object": {"key": "2026/%C3%BC+%23%3F%2B.png", "size": 5, "eTag": "x"},
    },
}
KEY = "s3://photos/2026/\u00fc #?+.png"
REMOVED = S3 | {
    "eventName": "ObjectRemoved:Delete",
    "s3": {"bucket": {"name": "photos"}, "object": {"key": "a.png"}},
}
RECORDS = {"Records": [S3, REMOVED]}
BOTH = [KEY, "s3://photos/a.png"]
SNS = {
    "Type": "Notification",
    "MessageId": "1",
    "TopicArn": "arn:aws:sns:us-east-1:1:t",
    "Message": json.dumps(RECORDS),
    "Signature": "x",
}
TEST = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}
MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "photos/a.png",
    "Records": [REMOVED | {"eventSource": "minio:s3"}],
}
BRIDGE = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "photos"}, "object": {"key": "a+b%20.png"}},
}
RESOURCE = {"kind": "storage#object", "bucket": "photos", "name": "dir/a+b.png", "size": "5"}
PUBSUB = {
    "message": {
        "attributes": {
            "eventType": "OBJECT_FINALIZE",
            "bucketId": "photos",
            "objectId": "dir/a+b.png",
        },
        "data": base64.b64encode(json.dumps(RESOURCE).encode()).decode(),
        "messageId": "1",
    },
    "subscription": "projects/p/subscriptions/s",
}
GRID = {
    "topic": "/subscriptions/x",
    "subject": "/blobServices/default/containers/photos/blobs/dir/a b.png",
    "eventType": "Microsoft.Storage.BlobCreated",
    "data": {"url": "https://account.blob.core.windows.net/photos/dir/a%20b.png"},
}
CLOUD_EVENT = {
    "type": "Microsoft.Storage.BlobRenamed",
    "specversion": "1.0",
    "subject": "/blobServices/default/containers/photos/blobs/new.png",
    "data": {"sourceUrl": "https://account.dfs.core.windows.net/photos/dir/old%20one.png"},
}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (RECORDS, BOTH),
        ({"MessageId": "1", "ReceiptHandle": "x", "Body": json.dumps(RECORDS)}, BOTH),
        ({"Messages": [{"Body": json.dumps(RECORDS)}]}, BOTH),
        ({"Records": [{"eventSource": "aws:sqs", "body": json.dumps(RECORDS)}]}, BOTH),
        (SNS, BOTH),
        ({"Body": json.dumps(SNS)}, BOTH),
        ({"Records": [{"EventSource": "aws:sns", "Sns": SNS}]}, BOTH),
        ({"Records": [S3, S3]}, [KEY]),
        (MINIO, ["s3://photos/a.png"]),
        (BRIDGE, ["s3://photos/a+b%20.png"]),
        ({"Body": json.dumps(BRIDGE)}, ["s3://photos/a+b%20.png"]),
        (PUBSUB, ["gs://photos/dir/a+b.png"]),
        ([{"ackId": "x"} | PUBSUB], ["gs://photos/dir/a+b.png"]),
        ({"message": {"data": PUBSUB["message"]["data"]}}, ["gs://photos/dir/a+b.png"]),  # type: ignore[index]
        (RESOURCE, ["gs://photos/dir/a+b.png"]),
        ([GRID], ["az://photos/dir/a b.png"]),
        (GRID, ["az://photos/dir/a b.png"]),
        (CLOUD_EVENT, ["az://photos/new.png", "az://photos/dir/old one.png"]),
        (TEST, []),
        ({"Body": json.dumps(TEST)}, []),
        ({"Type": "Notification", "Message": json.dumps(TEST)}, []),
    ],
)
def test_the_objects_that_a_message_names_are_found(message: Any, found: list[str]) -> None:
    assert references_of(json.dumps(message)) == found


DEEP: Any = RECORDS
for _ in range(20):
    DEEP = {"Body": json.dumps(DEEP)} if len(json.dumps(DEEP)) < 2**17 else {"data": DEEP}


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "",
        "[" * 100_000,
        "1",
        "null",
        '"text"',
        "{}",
        "[]",
        '{"Records": "secret"}',
        '{"Records": [{"s3": "secret"}]}',
        '{"Records": [{"s3": {"bucket": {"name": 1}, "object": {"key": ["secret"]}}}]}',
        '{"message": {"attributes": {"bucketId": "b"}, "data": "secret"}}',
        '{"subject": "/blobServices/default/containers/secret", "eventType": "Microsoft.x"}',
        '{"type": "com.secret", "subject": "/blobServices/default/containers/a/blobs/b"}',
        '{"Event": "s3:OtherEvent"}',
        pytest.param(json.dumps(DEEP), id="deep"),
    ],
)
def test_a_message_that_is_not_known_is_told_without_what_is_in_it(line: str) -> None:
    with pytest.raises(UnknownMessage) as failure:
        references_of(line)
    assert "secret" not in str(failure.value)
