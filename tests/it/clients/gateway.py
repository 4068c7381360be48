"""A gateway written with the Python SDK: speaks for two devices, and does what the documents show. Prints what it got."""
import json
import os
import queue
import sys

from tb_gateway_mqtt import TBGatewayMqttClient

host, port, token = (os.environ[name] for name in ("THINGSBOARD_HOST_NAME", "MQTT_PORT", "ACCESS_TOKEN"))
first, second, profile = sys.argv[1:]
gateway = TBGatewayMqttClient(host, int(port), token)
calls, own_calls, updates, answers = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()


def on_call(_, content):
    data = content["data"]
    gateway.gw_send_rpc_reply(content["device"], data["id"], {"method": data["method"], "params": data["params"]})
    calls.put(content)


gateway.gw_set_server_side_rpc_request_handler(on_call)
gateway.set_server_side_rpc_request_handler(lambda _, content: own_calls.put(content))
gateway.connect()
gateway.gw_connect_device(first, profile).get()
gateway.gw_connect_device(second).get()
gateway.gw_subscribe_to_all_attributes(updates.put)
gateway.gw_send_attributes(first, {"model": "sdk"}).get()
gateway.gw_send_telemetry(first, [{"ts": 1451649600512, "values": {"past": 1}}, {"temperature": 41.5}]).get()
gateway.gw_send_telemetry(second, {"temperature": 20}).get()
gateway.gw_claim(second, "secret-of-the-box", 3_600_000).get()
gateway.gw_request_client_attributes(first, ["model"], lambda content, _: answers.put(content))
told = {"client": answers.get(timeout=20)}
gateway.gw_request_shared_attributes(first, ["interval", "mode"], lambda content, _: answers.put(content))
told["shared"] = answers.get(timeout=20)
gateway.send_telemetry({"ready": 1}).get()
told["call"] = calls.get(timeout=20)
told["update"] = updates.get(timeout=20)
told["renamed"] = own_calls.get(timeout=20)
renamed = told["renamed"]["params"][second]
gateway.gw_disconnect_device(second).get()
gateway.gw_send_telemetry(renamed, {"temperature": 21}).get()
gateway.send_telemetry({"ready": 2}).get()
told["deleted"] = own_calls.get(timeout=20)
gateway.gw_disconnect_device(first).get()
gateway.send_telemetry({"ready": 3}).get()
print(json.dumps(told), flush=True)
# The SDK has threads that nobody ends.
os._exit(0)
