"""Every action of the queue, by a client we did not write. It checks the digests of all answers by itself."""
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

sqs = boto3.client(
    "sqs", region_name="eu-central-1", aws_access_key_id="any", aws_secret_access_key="any",
    config=Config(retries={"total_max_attempts": 1}),
)
assert sqs.meta.endpoint_url == os.environ["AWS_ENDPOINT_URL_SQS"]


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response["Error"]["Message"]
    sys.exit(f"{code} did not come")


url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
assert sqs.list_queues()["QueueUrls"] == [url]
sent = sqs.send_message(
    QueueUrl=url, MessageBody="naïve \U0001f600",
    MessageAttributes={
        "kind": {"DataType": "String", "StringValue": "title"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    },
)
received = sqs.receive_message(
    QueueUrl=url, MessageAttributeNames=["All"], AttributeNames=["All"], MaxNumberOfMessages=10, WaitTimeSeconds=20,
)["Messages"]
[message] = received
assert message["MessageId"] == sent["MessageId"] and message["Body"] == "naïve \U0001f600"
assert message["MessageAttributes"]["raw"]["BinaryValue"] == b"\x00\xff"
assert message["Attributes"]["ApproximateReceiveCount"] == "1"
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
[message] = sqs.receive_message(QueueUrl=url)["Messages"]
sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
assert "Messages" not in sqs.receive_message(QueueUrl=url)

batch = sqs.send_message_batch(QueueUrl=url, Entries=[
    {"Id": "one", "MessageBody": "1"}, {"Id": "two", "MessageBody": "\x01"}, {"Id": "three", "MessageBody": "3"},
])
assert [entry["Id"] for entry in batch["Successful"]] == ["one", "three"]
assert [entry["Code"] for entry in batch["Failed"]] == ["InvalidMessageContents"]
received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
entries = [{"Id": str(place), "ReceiptHandle": m["ReceiptHandle"]} for place, m in enumerate(received)]
changed = sqs.change_message_visibility_batch(QueueUrl=url, Entries=[e | {"VisibilityTimeout": 5} for e in entries])
assert len(changed["Successful"]) == 2 and not changed.get("Failed")
deleted = sqs.delete_message_batch(QueueUrl=url, Entries=entries)
assert len(deleted["Successful"]) == 2 and not deleted.get("Failed")

sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=900)
attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
sqs.purge_queue(QueueUrl=url)
attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesDelayed"])
assert attributes["Attributes"] == {"ApproximateNumberOfMessagesDelayed": "0"}

refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="absent")
refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=url, ReceiptHandle="none")
refused("InvalidParameterValue", sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
message = refused("AWS.SimpleQueueService.UnsupportedOperation", sqs.create_queue, QueueName="new")
assert "template" in message, message
