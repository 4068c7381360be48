// A device written with MQTT.js: telemetry at every QoS, an attribute, an attribute request. Prints the answer.
const mqtt = require("mqtt");

async function main() {
  const client = await mqtt.connectAsync({
    host: process.env.THINGSBOARD_HOST_NAME,
    port: Number(process.env.MQTT_PORT),
    username: process.env.ACCESS_TOKEN,
    protocolVersion: Number(process.argv[2]),
    reconnectPeriod: 0,
  });
  const answer = new Promise((resolve) => client.on("message", (topic, payload) => resolve(payload.toString())));
  await client.subscribeAsync("v1/devices/me/attributes/response/+", { qos: 1 });
  for (const qos of [0, 1, 2]) {
    await client.publishAsync("v1/devices/me/telemetry", JSON.stringify({ ["q" + qos]: qos }), { qos });
  }
  await client.publishAsync("v1/devices/me/attributes", '{"model":"M1"}', { qos: 1 });
  const wanted = '{"clientKeys":"model","sharedKeys":"interval"}';
  await client.publishAsync("v1/devices/me/attributes/request/1", wanted, { qos: 1 });
  console.log(await answer);
  await client.endAsync();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
