"""Streamed integrations of REST APIs, which the emulator answers in one piece: what a function writes goes out as it comes."""
import asyncio
import contextvars
import json
import queue
import threading

from ministack.core import lambda_runtime
from ministack.core.responses import StreamingResponse
from ministack.services import apigateway_v1, lambda_svc

STREAMED = "/response-streaming-invocations"
SEPARATOR = b"\0" * 8  # between the prelude and the body
# Where the pieces of the invocation under way go; None where it is answered in one piece.
sink = contextvars.ContextVar("sink", default=None)


def chunks(stream):
    """The pieces of a body in chunked encoding, its trailers passed over."""
    while size := int(stream.readline().split(b";")[0].strip() or b"0", 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass


def handler_class(worker, generation, pending):
    """The emulator's Runtime API, with one more way to take a response."""
    base = plain_handler_class(worker, generation, pending)

    class Handler(base):
        def do_POST(self):
            pieces = getattr(worker, "sink", None)
            found = lambda_runtime._INVOCATION_RESULT_RE.search(self.path)
            mode = self.headers.get("Lambda-Runtime-Function-Response-Mode", "").lower()
            if not (pieces and found and found.group(2) == "response" and mode == "streaming"):
                return super().do_POST()
            for piece in chunks(self.rfile):
                pieces.put(piece)
            worker._record_result(generation, found.group(1), "response", {"streamed": True})
            self._respond(202)

    return Handler


def invoke(worker, *arguments, **options):
    worker.sink = sink.get()
    try:
        return plain_invoke(worker, *arguments, **options)
    finally:
        worker.sink = None


def begin(integration, event, options):
    """Invokes the function in a thread; its pieces, then None."""
    reference = apigateway_v1._extract_lambda_ref_from_integration_uri(integration["uri"])
    function, config, _ = lambda_svc._get_func_record_for_ref_in_scope(
        reference, account_id=options.get("owner_account_id"), region=options.get("owner_region")
    )
    pieces = queue.Queue()

    def run():
        sink.set(pieces)
        try:
            record = lambda_svc._execution_record_for_config(function, config)
            lambda_svc._execute_function_with_config_scope(record, event)
        finally:
            pieces.put(None)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True).start()
    return pieces


async def proxy(integration, api_id, stage_name, stage, resource, path, method, headers, body, query, params, **options):
    request = (api_id, stage_name, stage, resource, path, method, headers, body, query, params)
    if STREAMED not in (integration.get("uri") or ""):
        return await plain_proxy(integration, *request, **options)
    known = ("binary_media_types", "authorizer_context", "caller_identity")
    event = apigateway_v1._build_lambda_event_v1(*request, **{name: options.get(name) for name in known})
    pieces = begin(integration, event, options)
    loop = asyncio.get_running_loop()

    async def following():
        while (piece := await loop.run_in_executor(None, pieces.get)) is not None:
            yield piece

    stream, head = following(), b""
    async for piece in stream:
        head += piece
        if SEPARATOR in head:
            break
    else:
        return 502, {"Content-Type": "application/json"}, b'{"message": "Internal server error"}'
    prelude, rest = head.split(SEPARATOR, 1)
    prelude = json.loads(prelude)
    answered = dict(prelude.get("headers") or {}) | dict(prelude.get("multiValueHeaders") or {})
    if prelude.get("cookies"):
        answered["set-cookie"] = list(prelude["cookies"])

    async def send_all(send, receive):
        await send({"type": "http.response.body", "body": rest, "more_body": True})
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return prelude.get("statusCode", 200), answered, StreamingResponse(send_all)


def install():
    global plain_handler_class, plain_invoke, plain_proxy
    worker = lambda_runtime.ProvidedWorker
    plain_handler_class, worker._build_handler_class = worker._build_handler_class, handler_class
    plain_invoke, worker.invoke = worker.invoke, invoke
    plain_proxy, apigateway_v1._invoke_lambda_proxy_v1 = apigateway_v1._invoke_lambda_proxy_v1, proxy
    reference = apigateway_v1._extract_lambda_ref_from_integration_uri
    apigateway_v1._extract_lambda_ref_from_integration_uri = lambda uri: reference((uri or "").replace(STREAMED, "/invocations"))
