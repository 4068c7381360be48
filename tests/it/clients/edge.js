// An edge node of sparkplug-client with a device behind it: it is born, asked to be born again, commanded, and dies.
// Prints how often it was born and what it was commanded.
const sparkplug = require("sparkplug-client");

const [groupId, edgeNode] = process.argv.slice(2);
const client = sparkplug.newClient({
  serverUrl: `mqtt://${process.env.THINGSBOARD_HOST_NAME}:${process.env.MQTT_PORT}`,
  username: process.env.ACCESS_TOKEN,
  password: "",
  groupId,
  edgeNode,
  clientId: "edge",
  version: "spBv1.0",
  publishDeath: true,
});
const told = { births: 0, commands: [] };

function born() {
  told.births += 1;
  client.publishNodeBirth({
    timestamp: Date.now(),
    metrics: [
      { name: "Node Control/Rebirth", type: "Boolean", value: false },
      { name: "births", type: "Int32", value: told.births },
      { name: "negative", type: "Int32", value: -7 },
      { name: "exact", type: "Double", value: 3.7 },
      { name: "bytes", type: "Bytes", value: new Uint8Array([1, 255]) },
      {
        name: "table",
        type: "DataSet",
        value: { numOfColumns: 2, types: ["String", "Int32"], columns: ["a", "b"], rows: [["x", 1], ["y", 2]] },
      },
    ],
  });
  client.publishDeviceBirth("D1", {
    timestamp: Date.now(),
    metrics: [{ name: "level", type: "Float", value: 1.1 }, { name: "set point", type: "Int16", value: -5 }],
  });
}

client.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
client.on("birth", born);
client.on("ncmd", (payload) => {
  if (payload.metrics.some((metric) => metric.name === "Node Control/Rebirth" && metric.value === true)) {
    born();
    client.publishDeviceData("D1", { timestamp: Date.now(), metrics: [{ name: "level", type: "Float", value: 2.5 }] });
  }
});
client.on("dcmd", (device, payload) => {
  told.commands.push([device, ...payload.metrics.map((metric) => [metric.name, metric.type, metric.value])]);
  client.publishDeviceDeath("D1", { timestamp: Date.now() });
  client.stop();
});
client.on("close", () => {
  console.log(JSON.stringify(told));
  process.exit(0);
});
setTimeout(() => process.exit(2), 25000).unref();
