"""An edge node of pysparkplug with a device behind it: births, data, commands, deaths. Prints what it was commanded."""

import json
import os
import sys
import threading

import pysparkplug as psp

group, node = sys.argv[1:3]
heard = {}
events = {kind: threading.Event() for kind in ("node", "device")}


def metric(name, datatype, value, alias=None):
    return psp.Metric(timestamp=psp.get_current_timestamp(), name=name, datatype=datatype, value=value, alias=alias)


def note(kind):
    def command(_, message):
        heard[kind] = [[m.name, m.alias, m.datatype.name, m.value] for m in message.payload.metrics]
        events[kind].set()

    return command


client = psp.Client(username=os.environ["ACCESS_TOKEN"], password="")
edge = psp.EdgeNode(
    group,
    node,
    [
        metric("Node Control/Rebirth", psp.DataType.BOOLEAN, False),
        metric("small", psp.DataType.INT8, -5),
        metric("ratio", psp.DataType.DOUBLE, 3.7),
        metric("large", psp.DataType.UINT64, 2**64 - 1),
        metric("by alias", psp.DataType.INT16, -300, alias=7),
        metric("word", psp.DataType.STRING, "äöü"),
    ],
    client=client,
    cmd_callback=note("node"),
)
device = psp.Device(
    "D1",
    [metric("temperature", psp.DataType.FLOAT, 20.5), metric("Outputs/0", psp.DataType.BOOLEAN, False)],
    cmd_callback=note("device"),
)
edge.register(device)
edge.connect(os.environ["THINGSBOARD_HOST_NAME"], port=int(os.environ["MQTT_PORT"]), blocking=False)
# Its births go out from another thread, when the connection is there.
while not edge._connected:
    threading.Event().wait(0.01)
edge.update([metric("small", psp.DataType.INT8, -6)])
edge.update_device("D1", [metric("temperature", psp.DataType.FLOAT, 21.5)])
for kind, event in events.items():
    if not event.wait(20):
        sys.exit(f"no command for the {kind}: {heard}")
edge.deregister("D1")
edge.disconnect()
print(json.dumps(heard))
