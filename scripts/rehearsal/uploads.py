"""Uploads in a stack: what turning them on makes, what visitors do with them, and what stays when they are turned off or the
stack goes (docs/operations.md, "Uploads").

The emulator keeps a bucket's CORS, its block of public access and its policy. Encryption and ownership are S3's defaults there,
whatever a template says, and unfinished uploads have no end: tests/snapshots/template.json and checkov hold these."""
import json
import sys
import urllib.request

from botocore.config import Config
from workplace import FUNCTIONS, check

ACTIONS = {
    "chats": {"s3:PutObject", "s3:GetObject"}, "chat": {"s3:GetObject", "s3:ListBucket"},
    "jobs": {"s3:DeleteObject"}, "maintenance": {"s3:DeleteObject"},
}
SITE = "http://localhost:3000"
DATA = b"kept in a bucket"
BY_PATH = Config(s3={"addressing_style": "path"})  # no name is resolved below localhost


def allowed(stack, name):
    """The actions that a function's role allows, each a string."""
    iam, role = stack.client("iam"), stack.resource(f"{name.capitalize()}Role")
    policies = [iam.get_role_policy(RoleName=role, PolicyName=policy) for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]]
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    return {action for statement in statements for action in listed(statement["Action"])}


def listed(value):
    return value if isinstance(value, list) else [value]


def given(stack):
    """The bucket that each function was given, and the actions of S3 that it may call."""
    client, found = stack.client("lambda"), {}
    for name in FUNCTIONS:
        physical = stack.resource(f"{name.capitalize()}Function")
        variables = client.get_function_configuration(FunctionName=physical)["Environment"]["Variables"]
        found[name] = (variables.get("UPLOADS_BUCKET"), {action for action in allowed(stack, name) if action.startswith("s3:")})
    return found


class Uploads:
    """The bucket of a stack with `Uploads`, which outlives the parameter and the stack."""

    def __init__(self, stack):
        self.stack, self.bucket = stack, stack.outputs["UploadsBucket"]
        self.s3 = stack.client("s3", config=BY_PATH)

    def check_made(self):
        expected = {name: (self.bucket if name in ACTIONS else None, ACTIONS.get(name, set())) for name in FUNCTIONS}
        check(given(self.stack) == expected, "Uploads is turned on: the functions that need it have the bucket, and its actions")
        rule = self.s3.get_bucket_cors(Bucket=self.bucket)["CORSRules"][0]
        is_for_the_site = rule["AllowedOrigins"] == [SITE] and sorted(rule["AllowedMethods"]) == ["GET", "PUT"]
        blocked = self.s3.get_public_access_block(Bucket=self.bucket)["PublicAccessBlockConfiguration"]
        check(is_for_the_site and len(blocked) == 4 and all(blocked.values()), "the bucket is for pages of the site, and not public")

    def check_used(self, visitor, chat):
        """A page's whole use of it. What is uploaded stays in the chat; its path."""
        from stack import Refused, put

        def is_refused(status, action, *arguments):
            try:
                action(*arguments)
            except Refused as refused:
                return f": {status} " in str(refused)
            return False

        stack, token = self.stack, self.stack.token(visitor)
        made = stack.announce(token, "text/plain", DATA)
        parts = [{"type": "file", "mediaType": "text/plain", "filename": "note.txt", "url": made["url"]}]
        early = is_refused(422, stack.say, token, chat, parts)
        open_headers = made["upload"]["headers"] | {"x-forwarded-proto": "http"}
        without_tls = is_refused(403, put, {"upload": made["upload"] | {"headers": open_headers}}, DATA)
        larger = is_refused(403, put, made, DATA + b".")
        asked = self.asked(made["upload"]["url"])
        put(made, DATA)
        again = is_refused(412, put, made, DATA)
        found = {"early": early, "without TLS": without_tls, "larger": larger, "CORS": asked == SITE, "again": again}
        if not all(found.values()):
            sys.exit(f"an upload is not refused as it should be, or its page not answered: {found}")
        stack.say(token, chat, [{"type": "text", "text": "What does it say?"}, *parts])
        check(is_refused(404, stack.uploaded, stack.token("a-stranger"), made["url"]), "an upload is not given to a stranger")
        check(stack.uploaded(token, made["url"]) == DATA, "it is put, shown to the model and read by its owner")
        return made["url"]

    def asked(self, url):
        """The origin that a page of the site is told it may send from."""
        headers = {"Origin": SITE, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,if-none-match"}
        with urllib.request.urlopen(urllib.request.Request(url, method="OPTIONS", headers=headers), timeout=20) as answer:
            return answer.headers["Access-Control-Allow-Origin"]

    def check_off(self, stack, visitor, chat):
        """The parameter is turned off: nothing reaches the bucket, which stays with what is in it."""
        from stack import Refused

        try:
            stack.announce(stack.token(visitor), "text/plain", DATA)
            answer = "accepted"
        except Refused as refused:
            answer = str(refused)
        is_off = ": 404 " in answer and "UploadsBucket" not in stack.outputs
        check(is_off and given(stack) == {name: (None, set()) for name in FUNCTIONS}, "Uploads is turned off, in functions and roles")
        said = stack.call("GET", f"/api/chats/{chat}", token=stack.token(visitor))
        check("note.txt" in json.dumps(said) and self.keys(), "its bucket is left with what is in it, and so are the chat's parts")

    def keys(self):
        """What is in the bucket, also after the stack is gone."""
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def check_adopted(self, stack, visitor, path):
        """Another stack on the same cluster has a bucket of its own, to which the objects are copied."""
        from stack import Refused

        other, token = Uploads(stack), stack.token(visitor)
        try:
            stack.uploaded(token, path)
            before = "found"
        except Refused as refused:
            before = str(refused)
        for key in self.keys():
            other.s3.copy_object(Bucket=other.bucket, Key=key, CopySource={"Bucket": self.bucket, "Key": key})
        is_own = other.bucket != self.bucket and before.startswith("GET ")
        check(is_own and stack.uploaded(token, path) == DATA, "its uploads are there when they are copied from the bucket that was left")
