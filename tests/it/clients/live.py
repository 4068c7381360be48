"""Follows a device over the WebSocket of telemetry with websocket-client, or says nothing and waits for the end."""

import json
import os
import sys

import websocket

url = os.environ["WIREGLOT_URL"].replace("http", "ws", 1) + "/api/ws"
socket = websocket.create_connection(url, timeout=25)

if sys.argv[1] == "silent":
    opcode, data = socket.recv_data()
    print(json.dumps({"opcode": opcode, "code": int.from_bytes(data[:2], "big"), "reason": data[2:].decode()}))
    sys.exit()

device = {"entityType": "DEVICE", "entityId": sys.argv[1]}
socket.send(json.dumps({
    "authCmd": {"cmdId": 0, "token": os.environ["WIREGLOT_TOKEN"]},
    "cmds": [
        {"type": "TIMESERIES", "cmdId": 1, "scope": "LATEST_TELEMETRY", "keys": "temperature", **device},
        {"type": "ATTRIBUTES", "cmdId": 2, "scope": "CLIENT_SCOPE", "keys": "model", **device},
        {"type": "TIMESERIES_HISTORY", "cmdId": 3, "keys": "old", "startTs": 0, "endTs": 10, "limit": 5, **device},
        {"type": "ENTITY_DATA", "cmdId": 4, "query": {}},
    ],
}))
told = {}
# The answers, then a change of what each subscription is about.
while len(told.get(1, [])) < 2 or len(told.get(2, [])) < 2:
    message = json.loads(socket.recv())
    told.setdefault(message["subscriptionId"], []).append(message)
socket.ping()
socket.close()
print(json.dumps(told))
