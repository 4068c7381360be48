// A device written with MQTT.js: calls the server, then answers what it is asked, as the documents show. Prints both.
const mqtt = require("mqtt");

async function main() {
  const client = await mqtt.connectAsync({
    host: process.env.THINGSBOARD_HOST_NAME,
    port: Number(process.env.MQTT_PORT),
    username: process.env.ACCESS_TOKEN,
    protocolVersion: Number(process.argv[2]),
    reconnectPeriod: 0,
  });
  const arrived = [];
  let wake = () => {};
  client.on("message", (topic, payload) => {
    arrived.push([topic, JSON.parse(payload.toString())]);
    wake();
  });
  const next = async () => {
    while (arrived.length === 0) await new Promise((resolve) => (wake = resolve));
    return arrived.shift();
  };
  await client.subscribeAsync("v1/devices/me/rpc/response/+", { qos: 1 });
  const call = '{"method":"getCurrentTime","params":{}}';
  await client.publishAsync("v1/devices/me/rpc/request/1", call, { qos: 1 });
  const [answered, time] = await next();
  await client.subscribeAsync("v1/devices/me/rpc/request/+", { qos: 1 });
  const [asked, request] = await next();
  await client.publishAsync(asked.replace("request", "response"), JSON.stringify({ did: request.method }), { qos: 1 });
  await client.endAsync();
  console.log(JSON.stringify({ answered, time, asked, request }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
