"""A device written with the Python SDK: fetches its firmware by the SDK's own code. Prints its length and version."""
import os
import queue
import sys

from tb_device_mqtt import TBDeviceMqttClient

received = queue.Queue()

host, port, token = (os.environ[name] for name in ("THINGSBOARD_HOST_NAME", "MQTT_PORT", "ACCESS_TOKEN"))
client = TBDeviceMqttClient(host, int(port), token, chunk_size=int(sys.argv[1]))
client.set_on_firmware_received_callback(lambda _, image, version: received.put((image, version)))
client.connect()
client.get_firmware_update()
image, version = received.get(timeout=25)
# What it has said before has arrived when this is acknowledged.
client.send_telemetry({"ended": True}).get()
print(len(image), version, flush=True)
# The SDK has threads that nobody ends.
os._exit(0)
