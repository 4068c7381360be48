"""A device written with paho, for the clients of the management side: publishes telemetry with times of its own, repeats
every call as its answer, and tells each update of a shared attribute back. Runs until it is ended or refused.

Arguments: its access token, how the topics of its profile begin, and the secret that it may be claimed with, if any."""
import json
import os
import sys

import paho.mqtt.client as paho

START = 1_700_000_000_000
token, own, *secret = sys.argv[1:]
telemetry, attributes = f"{own}/telemetry", f"{own}/attributes"
client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=token)
client.username_pw_set(token)


def on_connect(client, data, flags, reason, properties):
    if reason != 0:
        sys.exit(f"refused: {reason}")
    client.subscribe([("v1/devices/me/rpc/request/+", 1), ("v1/devices/me/attributes", 1)])


def on_subscribe(client, data, packet, reasons, properties):
    for minute in range(10):
        row = {"ts": START + 60_000 * minute, "values": {"temperature": 20.5 + minute, "on": minute % 2 == 0}}
        client.publish(telemetry, json.dumps(row), qos=1)
    client.publish(attributes, '{"model": "T-1"}', qos=1)
    for key in secret:
        client.publish("v1/devices/me/claim", json.dumps({"secretKey": key, "durationMs": 3_600_000}), qos=1)
        client.publish(telemetry, '{"claimable": true}', qos=1)
    client.publish(telemetry, '{"ready": true}', qos=1)


def on_message(client, data, message):
    body = json.loads(message.payload)
    if message.topic == "v1/devices/me/attributes":
        client.publish(telemetry, json.dumps({"told": body}), qos=1)
        return
    answer = {"method": body["method"], "params": body["params"]}
    client.publish(message.topic.replace("request", "response"), json.dumps(answer), qos=1)
    client.publish(telemetry, json.dumps({"called": body["method"]}), qos=1)


client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
# Whoever has taken the credentials away from it has ended it.
client.on_disconnect = lambda client, data, flags, reason, properties: os._exit(0)
client.connect(os.environ["THINGSBOARD_HOST_NAME"], int(os.environ["MQTT_PORT"]))
client.loop_forever()
