"""A device written with paho: telemetry at every QoS, an attribute, an attribute request. Prints the answer."""
import json
import os
import queue
import sys

import paho.mqtt.client as paho

answers = queue.Queue()
connected = queue.Queue()
granted = queue.Queue()

version = int(sys.argv[1])
client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
client.username_pw_set(os.environ["ACCESS_TOKEN"])
client.on_connect = lambda client, data, flags, reason, properties: connected.put(reason)
client.on_subscribe = lambda client, data, packet, reasons, properties: granted.put(reasons)
client.on_message = lambda client, data, message: answers.put(message.payload.decode())
client.connect(os.environ["THINGSBOARD_HOST_NAME"], int(os.environ["MQTT_PORT"]))
client.loop_start()
reason = connected.get(timeout=10)
assert reason == 0, reason
client.subscribe("v1/devices/me/attributes/response/+", qos=1)
assert [code.value for code in granted.get(timeout=10)] == [1]
for qos in (0, 1, 2):
    message = client.publish("v1/devices/me/telemetry", json.dumps({f"q{qos}": qos}), qos=qos)
    message.wait_for_publish(10)
client.publish("v1/devices/me/attributes", '{"model":"M1"}', qos=1).wait_for_publish(10)
wanted = '{"clientKeys":"model","sharedKeys":"interval"}'
client.publish("v1/devices/me/attributes/request/1", wanted, qos=1).wait_for_publish(10)
print(answers.get(timeout=10))
client.disconnect()
client.loop_stop()
