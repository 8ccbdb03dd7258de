"""moto's DynamoDB for tests: python moto_server.py PORT

It differs from `moto_server` in two things. It takes one request at a time, because
moto tests a condition and writes in two steps. And a transaction keeps a copy of the
items that it writes, where moto copies the whole tables each time.
"""

import copy
import io
import logging
import sys
import threading

from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.models.table import Table
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

logging.getLogger("werkzeug").setLevel(logging.ERROR)
# Keeps connections open, as DynamoDB does.
WSGIRequestHandler.protocol_version = "HTTP/1.1"

app, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()
transact = DynamoDBBackend.transact_write_items


def transact_write_items(self, transact_items):
    before = []
    for entry in transact_items:
        ((_, operation),) = entry.items()
        table = self.tables.get(operation.get("TableName"))
        key = operation.get("Key") or operation.get("Item")
        if table is not None:
            hash_key = DynamoType(key[table.hash_key_attr])
            kept = table.items.get(hash_key)
            before.append((table, hash_key, copy.deepcopy(kept)))
    try:
        return transact(self, transact_items)
    except BaseException:
        for table, hash_key, kept in reversed(before):
            table.items.pop(hash_key, None)
            if kept is not None:
                table.items[hash_key] = kept
        raise


DynamoDBBackend.transact_write_items = transact_write_items
Table.__deepcopy__ = lambda self, memo: self


def serve(environ, start_response):
    # Read first: a slow client keeps nobody else waiting.
    length = int(environ.get("CONTENT_LENGTH") or 0)
    environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    with one_at_a_time:
        return [b"".join(app(environ, start_response))]


run_simple("127.0.0.1", int(sys.argv[1]), serve, threaded=True)
