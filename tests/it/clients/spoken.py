"""A device written with the Python SDK that speaks HTTP: makes itself known and lives its life. Prints what it got."""
import json
import os
import queue
import sys
import time

from tb_device_http import TBHTTPDevice

url, key, secret, name = sys.argv[1:]
device = TBHTTPDevice.provision(url, name, key, secret)
calls, updates = queue.Queue(), queue.Queue()


def on_call(call):
    device.send_rpc(call["method"], call["params"], rpc_id=call["id"] or "0")
    calls.put(call["method"])


def on_update(update):
    if "interval" in update:
        updates.put(update)


assert device.connect()
device.send_attributes({"model": "sdk"})
device.send_telemetry({"temperature": 41.5, "ready": True}, queued=False)
device.subscribe("rpc", on_call)
device.subscribe("attributes", on_update)
told = {"call": calls.get(timeout=25), "update": updates.get(timeout=25)}
told["attributes"] = device.request_attributes(client_keys=["model"])
told["now"] = device.send_rpc("getCurrentTime")
while "fw_size" not in device.request_attributes().get("shared", {}):
    time.sleep(0.1)
device.chunk_size = 4_096
# By the SDK's own code, but not by the one around it, which sleeps for ten seconds.
told["image"] = len(device._TBHTTPDevice__get_firmware(device._TBHTTPDevice__get_firmware_info()))
print(json.dumps(told), flush=True)
# The SDK has threads that nobody ends.
os._exit(0)
