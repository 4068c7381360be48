"""A device written with the Python SDK: makes itself known, and does what the documents show. Prints what it got."""
import json
import os
import queue
import sys

from tb_device_mqtt import TBDeviceMqttClient

host, port = os.environ["THINGSBOARD_HOST_NAME"], int(os.environ["MQTT_PORT"])
key, secret, name = sys.argv[1:]
found = TBDeviceMqttClient.provision(host, key, secret, port=port, device_name=name)

client = TBDeviceMqttClient(host, port, found["credentialsValue"])
calls, updates, answers = queue.Queue(), queue.Queue(), queue.Queue()


def on_call(request_id, body):
    client.send_rpc_reply(request_id, {"method": body["method"], "params": body["params"]})
    calls.put(body["method"])


client.set_server_side_rpc_request_handler(on_call)
client.connect()
client.subscribe_to_all_attributes(lambda content, _: updates.put(content))
client.send_attributes({"model": "sdk"}).get()
client.send_telemetry([{"ts": 1451649600512, "values": {"past": 1}}, {"temperature": 41.5}]).get()
client.claim("secret-of-the-box", 3_600_000).get()
client.request_attributes(["model"], ["interval"], callback=lambda content, _: answers.put(content))
attributes = answers.get(timeout=20)
client.send_rpc_call("getCurrentTime", {}, lambda _, content, __: answers.put(content))
now = answers.get(timeout=20)
client.send_telemetry({"ready": True}).get()
told = {"call": calls.get(timeout=20), "update": updates.get(timeout=20), "attributes": attributes, "now": now}
client.send_telemetry({"ready": False}).get()
print(json.dumps(told), flush=True)
# The SDK has threads that nobody ends.
os._exit(0)
